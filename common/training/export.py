"""A model as a folder; as one to ship with 16-bit weights and 8-bit embeddings."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from common.models.registry import WEIGHTS
from common.models.simplex_network import SimplexDiffusionLM
from common.program.saving import appearing
from common.text.wordpiece import WordPieceVocabulary

SUMMARY = "training.json"


def write_model(
    folder: Path,
    model: PreTrainedModel,
    vocabulary: WordPieceVocabulary,
    summary: dict[str, Any],
    *,
    packed: Callable[[str, Tensor], Tensor] = lambda _, tensor: tensor,
) -> None:
    """Write config, weights, tokenizer and how the model was trained into a folder that is there:
    what `save_pretrained` writes, without its bar on stderr.

    Args:
        folder: where to.
        model: on any device.
        vocabulary: its vocabulary.
        summary: what becomes `SUMMARY`.
        packed: gives the tensor to write for each name and tensor.
    """
    model.config.architectures = [type(model).__name__]
    model.config.dtype = "float32"
    model.config.save_pretrained(folder)
    tensors = {n: packed(n, t.detach().cpu()).contiguous() for n, t in model.state_dict().items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # safetensors leaves it to the owner alone
    vocabulary.save(folder)
    (folder / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


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
    """Write config, weights, tokenizer and how the model was trained, all of it or nothing.

    `from_pretrained` reads the weights back as fp32.

    Raises:
        UsageError, BadFileError: the folder cannot be written.
    """
    with appearing(folder) as partial:
        write_model(partial, model, vocabulary, summary, packed=_packed)
    return folder
