"""Checkpoints of a run: a model folder, the optimiser's state, and where the run stands.
Safetensors and JSON only.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from common.errors import BadModelError
from common.models.registry import WEIGHTS
from common.models.simplex_network import SimplexDiffusionLM
from common.program.saving import appearing, append, writing
from common.text.wordpiece import WordPieceVocabulary
from common.training.export import SUMMARY as STATE
from common.training.export import write_model

KEPT = 2
METRICS = "metrics.jsonl"
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
    """Write step-N under `folder`, complete or not at all, and drop all but the newest two.

    Raises:
        UsageError, BadFileError: it cannot be written; what was there stays as it is.
    """
    final = folder / f"step-{meta['step']:07d}"
    tensors: dict[str, Tensor] = {}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"{index}.{name}": value for name, value in state.items()}
    with appearing(final) as partial:
        write_model(partial, model, vocabulary, meta)
        save_file(tensors, partial / OPTIMIZER)
        save_file(averaged.state_dict(), partial / AVERAGE)
    for old in _found(folder)[KEPT:]:
        shutil.rmtree(old)
    return final


def _found(folder: Path) -> list[Path]:
    """The checkpoints of a run, the newest first."""
    return sorted(folder.glob("step-*"), reverse=True)


def newest(folder: Path) -> Path | None:
    """The newest checkpoint of a run, None for a new run.

    Raises:
        BadModelError: it is damaged.
    """
    found = _found(folder)
    whole = next((path for path in found if not _damaged_file(path)), None)
    if found and found[0] != whole:
        raise BadModelError(
            f"the newest checkpoint is damaged: {_damaged_file(found[0])} is missing or not whole",
            remedy=f"Add --skip-damaged to go on from {whole.name}, the newest that is whole"
            if whole
            else "No other one is whole: give another --out, to begin anew",
        )
    return whole


def set_damaged_aside(folder: Path) -> list[Path]:
    """Rename the newest checkpoints of a run until one is whole; gives their new places.

    Nothing is renamed where none is whole.

    Raises:
        UsageError, BadFileError: the folder cannot be written to.
    """
    found = _found(folder)
    whole = next((n for n, path in enumerate(found) if not _damaged_file(path)), 0)
    with writing(folder):
        return [path.rename(path.with_name(f"damaged-{path.name}")) for path in found[:whole]]


def _damaged_file(path: Path) -> Path | None:
    """The first file of a checkpoint that is missing or no such file; only headers are read."""
    file = path / STATE
    try:
        json.loads(file.read_text(encoding="utf-8"))["step"]
        for name in (WEIGHTS, OPTIMIZER, AVERAGE):
            file = path / name
            with safe_open(file, "pt"):
                pass
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return file
    return None


@contextmanager
def _fitting(path: Path) -> Iterator[None]:
    """Say that a checkpoint, which is whole, does not fit the model that it is loaded into."""
    try:
        yield
    except (LookupError, ValueError, RuntimeError) as error:
        raise BadModelError(
            f"expected the checkpoint {path} to be of this run's model, and it is of another",
            remedy="Go on with the model that the run was started with, or choose another --out",
        ) from error


def load(path: Path, model: SimplexDiffusionLM, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put a checkpoint's weights and optimiser state in place, and give back its JSON.

    Raises:
        BadModelError: it is of a model of another shape.
    """
    with _fitting(path):
        meta: dict[str, Any] = json.loads((path / STATE).read_text(encoding="utf-8"))
        model.load_state_dict(load_file(path / WEIGHTS))
        state: dict[int, dict[str, Any]] = {}
        for key, value in load_file(path / OPTIMIZER).items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict(
            {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
        )
    return meta


def load_average(path: Path, averaged: SimplexDiffusionLM) -> None:
    """Put a checkpoint's moving average in place.

    Raises:
        BadModelError: it is of a model of another shape.
    """
    with _fitting(path):
        averaged.load_state_dict(load_file(path / AVERAGE))


def append_metrics(folder: Path, row: dict[str, Any]) -> None:
    """One line of metrics.jsonl.

    Raises:
        UsageError, BadFileError: it cannot be written.
    """
    append(folder / METRICS, json.dumps(row) + "\n")


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
    """Drop lines beyond the checkpoint that the run resumes from: those steps are done again.

    Raises:
        UsageError, BadFileError: the file cannot be written.
    """
    path = folder / METRICS
    kept = "".join(json.dumps(row) + "\n" for row in metrics(folder) if row["step"] <= step)
    if path.is_file():
        with writing(path), path.open("r+b") as file:  # in place: that needs no room
            file.write(kept.encode())
            file.truncate()
