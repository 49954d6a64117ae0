"""Checkpoints of a run: a model folder, the optimiser's state, and where the run stands.
Safetensors and JSON only.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from common.errors import BadModelError
from common.models.simplex_network import SimplexDiffusionLM
from common.text.wordpiece import WordPieceVocabulary

KEPT = 2
METRICS = "metrics.jsonl"
STATE = "training.json"
OPTIMIZER = "optimizer.safetensors"
AVERAGE = "average.safetensors"


def save(
    folder: Path,
    model: SimplexDiffusionLM,
    averaged: SimplexDiffusionLM,
    optimizer: torch.optim.Optimizer,
    vocabulary: WordPieceVocabulary,
    meta: dict[str, Any],
) -> Path:
    """Write step-N under `folder`, complete or not at all, and drop all but the newest two."""
    final = folder / f"step-{meta['step']:07d}"
    partial = folder / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model.save_pretrained(partial)
    vocabulary.save(partial)
    tensors: dict[str, Tensor] = {}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"{index}.{name}": value for name, value in state.items()}
    save_file(tensors, partial / OPTIMIZER)
    save_file(averaged.state_dict(), partial / AVERAGE)
    (partial / STATE).write_text(json.dumps(meta, indent=1))
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old)
    return final


def newest(folder: Path) -> Path | None:
    """The newest checkpoint of a run, None for a new run."""
    found = sorted(p for p in folder.glob("step-*") if (p / STATE).is_file())
    return found[-1] if found else None


def load(path: Path, model: SimplexDiffusionLM, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put a checkpoint's weights and optimiser state in place, and give back its JSON.

    Raises:
        BadModelError: it is damaged, or of a model of another shape.
    """
    try:
        meta: dict[str, Any] = json.loads((path / STATE).read_text())
        model.load_state_dict(load_file(path / "model.safetensors"))
        state: dict[int, dict[str, Any]] = {}
        for key, value in load_file(path / OPTIMIZER).items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict(
            {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise BadModelError(
            f"expected the checkpoint {path} to be of this run's model: {error}",
            remedy="Go on with the model that the run was started with, or choose another --out",
        ) from error
    return meta


def load_average(path: Path, averaged: SimplexDiffusionLM) -> None:
    """Put a checkpoint's moving average in place."""
    averaged.load_state_dict(load_file(path / AVERAGE))


def append_metrics(folder: Path, row: dict[str, Any]) -> None:
    """One line of metrics.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / METRICS).open("a") as file:
        file.write(json.dumps(row) + "\n")


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, none for a new run; a line that a kill cut short is dropped."""
    path = folder / METRICS
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def forget_metrics_after(folder: Path, step: int) -> None:
    """Drop lines beyond the checkpoint that the run resumes from: those steps are done again."""
    kept = [json.dumps(row) for row in metrics(folder) if row["step"] <= step]
    if kept:
        (folder / METRICS).write_text("".join(line + "\n" for line in kept))
