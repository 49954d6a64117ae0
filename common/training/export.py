"""A trained model as a folder to ship: 16-bit weights, 8-bit embeddings, tokenizer."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from common.models.simplex_network import SimplexDiffusionLM
from common.text.wordpiece import WordPieceVocabulary

WEIGHTS = "model.safetensors"
SUMMARY = "training.json"


def _packed(name: str, tensor: Tensor) -> Tensor:
    # The table is half of a small model; its entries lie far inside e4m3's range, and 3 bits of
    # mantissa cost it little
    # (the card says how little). Everything that is multiplied layer upon layer keeps 16 bits.
    return tensor.to(
        torch.float8_e4m3fn if name.endswith("word_embeddings.weight") else torch.float16
    )


def export(
    model: SimplexDiffusionLM,
    vocabulary: WordPieceVocabulary,
    folder: Path,
    summary: dict[str, Any],
) -> Path:
    """Write config, weights, tokenizer and how the model was trained.

    `from_pretrained` reads the weights back as fp32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.config.architectures = [type(model).__name__]
    model.config.dtype = "float32"
    model.config.save_pretrained(folder)
    tensors = {
        name: _packed(name, t.detach().cpu()).contiguous() for name, t in model.state_dict().items()
    }
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # safetensors leaves it to the owner alone
    vocabulary.save(folder)
    (folder / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return folder
