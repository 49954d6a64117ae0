"""A tiny random pair with a vocabulary of its own: no weights, no network, predictable shapes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from common.denoising.process import View
from common.evaluation.pair import Question
from common.models.simplex_lm import SimplexPredictor
from common.models.simplex_network import SimplexDiffusionConfig, SimplexDiffusionLM
from common.processes.simplex.state import SimplexState
from common.text.wordpiece import SPECIAL, WordPieceVocabulary

WORDS = [
    *("how", "do", "i", "make", "a", "the", "soup", "cake", "bread", "with", "of", "and", "in"),
    *("to", "add", "heat", "stir", "bake", "mix", "salt", "water", "flour", "sugar", "butter"),
    *("egg", "milk", "oil", "pan", "pot", "bowl", "oven", "until", "for", "minutes", "then"),
    *("serve", "hot", "cold", "what", "is", "are", "you", "it", "##s", "##ing", "##ed"),
]

QUESTIONS = [
    Question(f"how do i make {a}?", "", f"stir the {a}, add {b} to it. heat until hot. serve.")
    for a, b in (("soup", "salt"), ("cake", "egg"), ("bread", "oil"), ("milk", "sugar"))
]
"""Of the words that the tiny pair knows."""


def tiny_vocabulary() -> WordPieceVocabulary:
    """About 150 pieces: template tokens, letters, digits, some kitchen words."""
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"]
    pieces = [*SPECIAL, *letters, *(f"##{c}" for c in letters[:36]), *WORDS]
    unique = list(dict.fromkeys(pieces))
    tokenizer = Tokenizer(
        models.WordPiece(
            {p: i for i, p in enumerate(unique)}, unk_token="[UNK]", max_input_chars_per_word=100
        )
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return WordPieceVocabulary(tokenizer)


def tiny_model(
    vocabulary: WordPieceVocabulary,
    *,
    seed: int,
    width: int = 32,
    layers: int = 2,
    sharpness: float = 6.0,
    **config: object,
) -> SimplexDiffusionLM:
    """A random model in eval mode; `sharpness` scales its head: its logits differ clearly."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        settings = {"block_length": 16, "noise_m": 8, "noise_r": 4} | config
        model = SimplexDiffusionLM(
            SimplexDiffusionConfig(
                backbone={
                    "model_type": "bert",
                    "vocab_size": vocabulary.size,
                    "hidden_size": width,
                    "num_hidden_layers": layers,
                    "num_attention_heads": 2,
                    "intermediate_size": 2 * width,
                    "max_position_embeddings": 256,
                    "type_vocab_size": 1,
                    "hidden_dropout_prob": 0.0,
                    "attention_probs_dropout_prob": 0.0,
                    "initializer_range": 0.2,
                },
                tokenizer_sha256=vocabulary.fingerprint.hex(),
                **settings,
            )
        )
        model.head_map[0].weight.data *= sharpness
    return model.eval()


def view_at(state: SimplexState, prefix: tuple[int, ...], **known: Any) -> View:
    """What a model looks at, all positions open."""
    return View(prefix, state, np.arange(state.positions), **known)


def predict(model: SimplexDiffusionLM, views: Sequence[View]) -> torch.Tensor:
    """Rows (views, open, V) of views with as many open positions."""
    return torch.cat(list(SimplexPredictor(model).predict(views)))


def save_tiny(folder: Path, *, seed: int, **config: object) -> Path:
    """A model folder that `common.models.registry.load` reads."""
    vocabulary = tiny_vocabulary()
    folder.mkdir(parents=True, exist_ok=True)
    tiny_model(vocabulary, seed=seed, **config).save_pretrained(folder)
    vocabulary.save(folder)
    return folder


ROWS = [
    {"instruction": f"how do i make {dish}?", "response": "stir the soup and add salt. " * times}
    for dish, times in (("soup", 1), ("cake", 3), ("bread", 6), ("butter", 2))
] + [{"text": "heat the water in a pot until hot then serve it with bread. " * 8}]


def save_rows(path: Path) -> Path:
    """A file of training records in the tiny vocabulary: answers of one block or more, and text."""
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS * 6))
    return path
