"""Where a model starts: pretrained encoder layers with a trimmed vocabulary, or small random layers
under its embeddings.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModel, BertConfig

from common.models.simplex_network import SimplexDiffusionConfig, SimplexDiffusionLM
from common.processes.simplex.schedule import PRIOR_CURVE
from common.text.wordpiece import SPECIAL, WordPieceVocabulary
from common.training.examples import Record

LATER_SETTINGS = ("reading", "noise_m", "noise_r", "local_width")
"""Settings that leave a trained model's weights in place: it can learn to live with new ones."""
UNSEEN = 0.1
"""What a piece that the data lack counts, so that none is impossible."""


def reread(model: SimplexDiffusionLM, **settings: Any) -> SimplexDiffusionLM:
    """A trained model's weights under other `LATER_SETTINGS`."""
    config = model.config.to_dict() | {"loss_curve": [list(p) for p in PRIOR_CURVE]} | settings
    changed = SimplexDiffusionLM(SimplexDiffusionConfig(**config))
    weights = {k: v for k, v in model.state_dict().items() if k != "log_prior"}
    changed.load_state_dict(weights, strict=False)
    return changed


def unigrams(
    records: Sequence[Record], vocabulary: WordPieceVocabulary, shares: Mapping[str, float]
) -> Tensor:
    """Log-probabilities (V,) fp32 of the tokens to learn, [END] once an answer."""
    counts = torch.full((vocabulary.size,), UNSEEN)
    for record in records:
        weight = shares.get(record.source, 1.0)
        ids = record.response if record.plain else (*record.response, vocabulary.end)
        ones = torch.full((len(ids),), float(weight))
        counts.index_add_(0, torch.tensor(ids, dtype=torch.int64), ones)
    return (counts / counts.sum()).log()


def rows_for(vocabulary: WordPieceVocabulary, source: Tokenizer, table: Tensor) -> Tensor:
    """Embedding rows of the source's table for each piece, (V, width) fp32.

    Template tokens that the source lacks start from its [SEP], which also ends text.
    """
    ids = [source.token_to_id(piece) for piece in vocabulary.pieces(range(vocabulary.size))]
    fallback = source.token_to_id("[SEP]")
    for i in range(len(SPECIAL)):
        ids[i] = fallback if ids[i] is None or i > 4 else ids[i]
    return table[torch.tensor(ids)].clone()


def from_encoder(
    folder: Path, vocabulary: WordPieceVocabulary, **config: Any
) -> SimplexDiffusionLM:
    """A model around the pretrained encoder in `folder`, its vocabulary cut down to ours."""
    source = Tokenizer.from_file(str(folder / "tokenizer.json"))
    encoder = AutoModel.from_pretrained(folder, dtype=torch.float32)
    backbone = encoder.config.to_dict() | {
        "vocab_size": vocabulary.size,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    model = SimplexDiffusionLM(
        SimplexDiffusionConfig(
            backbone=backbone, tokenizer_sha256=vocabulary.fingerprint.hex(), **config
        )
    )
    rows = rows_for(vocabulary, source, encoder.get_input_embeddings().weight.detach())
    weights = {k: v for k, v in encoder.state_dict().items() if not k.startswith("pooler.")}
    weights["embeddings.word_embeddings.weight"] = rows
    model.encoder.load_state_dict(weights)
    return model


def small(
    folder: Path,
    vocabulary: WordPieceVocabulary,
    *,
    width: int,
    layers: int,
    heads: int,
    dropout: float,
    **config: Any,
) -> SimplexDiffusionLM:
    """A small model with random layers and the pretrained embedding's principal components."""
    source = Tokenizer.from_file(str(folder / "tokenizer.json"))
    encoder = AutoModel.from_pretrained(folder, dtype=torch.float32)
    backbone = BertConfig(
        vocab_size=vocabulary.size,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        max_position_embeddings=512,
        type_vocab_size=1,
    )
    model = SimplexDiffusionLM(
        SimplexDiffusionConfig(
            backbone=backbone, tokenizer_sha256=vocabulary.fingerprint.hex(), **config
        )
    )
    rows = rows_for(vocabulary, source, encoder.get_input_embeddings().weight.detach())
    centred = rows - rows.mean(0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    model.get_input_embeddings().weight.data.copy_(centred @ axes[:width].T)
    return model
