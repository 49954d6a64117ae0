"""A tiny random masked language model of transformers, with a tokenizer and a chat template that
are none of this project's.
"""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from common.models.masked_lm import MaskedPredictor
from common.models.registry import LanguageModel
from common.text.hub import HubVocabulary
from common.text.templates import ChatTemplate

SPECIAL = ["<|pad|>", "<|mask|>", "<|start|>", "<|end|>"]
CHATML = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
TEXT = "how do i make soup? stir the soup, add salt to it. heat until hot. serve with bread. "


def bpe_tokenizer(template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """Byte-level BPE, 330 pieces; [PAD], [MASK], start and end of a turn come first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT] * 20, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL[0],
        mask_token=SPECIAL[1],
        eos_token=SPECIAL[3],
        additional_special_tokens=SPECIAL[2:3],
        chat_template=template,
    )


def bpe_vocabulary(template: str | None = CHATML) -> HubVocabulary:
    tokenizer = bpe_tokenizer(template)
    return HubVocabulary(tokenizer, (tokenizer.eos_token_id,))


def tiny_masked_lm(kind: str, size: int, *, seed: int, **config: Any) -> PreTrainedModel:
    """A model of a type that transformers knows, in eval mode; its logits differ clearly."""
    settings = {
        "vocab_size": size,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
        "initializer_range": 1.0,
        "pad_token_id": 0,
        "diffusion_block_length": 12,
    }
    own = {
        "distilbert": {"n_layers": 2, "n_heads": 2, "dim": 32, "hidden_dim": 64},
        "modernbert": {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3},
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        chosen = AutoConfig.for_model(kind, **settings | own.get(kind, {}) | config)
        model = AutoModelForMaskedLM.from_config(chosen)
    return model.eval()


def tiny_masked(*, seed: int) -> LanguageModel:
    """All that a session needs, without files."""
    vocabulary = bpe_vocabulary()
    network = tiny_masked_lm("bert", vocabulary.size, seed=seed)
    predictor = MaskedPredictor(network, vocabulary.mask, vocabulary.size)
    return LanguageModel(f"tiny-{seed}", predictor, vocabulary, ChatTemplate(vocabulary))


def save_tiny_masked(
    folder: Path, *, seed: int, template: str | None = CHATML, **config: Any
) -> Path:
    """A model folder that `common.models.registry.open_model` reads."""
    tokenizer = bpe_tokenizer(template)
    tiny_masked_lm("bert", len(tokenizer), seed=seed, **config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
