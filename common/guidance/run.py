"""A guide's training run from files to a model folder, which appears complete or not at all."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from common.errors import UsageError
from common.guidance.texts import check_labels, read_texts
from common.guidance.training import DOUBTS, GuideTrainer, GuideTraining
from common.models import registry
from common.program.saving import appearing, making
from common.training.export import write_model

Report = Callable[[int, float], None]
"""Takes the number of steps done and the last one's loss."""


@dataclass(frozen=True, slots=True)
class GuideRun:
    """What to train on, from what, into where."""

    data: Path
    """JSONL file of {"text", "label"}."""
    held_out: Path
    """Such a file for the accuracy; never trained on."""
    start: str
    """Model of this project, name or folder: its encoder, embeddings and vocabulary are used."""
    out: Path
    """Folder of the guide; must not be there yet."""


@dataclass(frozen=True, slots=True)
class TrainedGuide:
    """What came of a run."""

    folder: Path
    labels: tuple[str, ...]
    texts: int
    held_out_texts: int
    accuracy: dict[float, float]
    """Held-out accuracy by doubt, each label counting alike; none comes first."""
    seconds: float

    def record(self) -> dict[str, Any]:
        """The result as a JSON object."""
        sure, *doubted = self.accuracy.items()
        return {
            "model": str(self.folder),
            "labels": list(self.labels),
            "texts": self.texts,
            "held_out_texts": self.held_out_texts,
            "held_out_accuracy": round(sure[1], 4),
            "held_out_accuracy_by_doubt": {f"{d:g}": round(share, 4) for d, share in doubted},
            "chance": round(1 / len(self.labels), 4),
            "seconds": round(self.seconds, 1),
        }


def train_guide(
    run: GuideRun,
    config: GuideTraining,
    *,
    device: str = "cpu",
    report: Report = lambda _step, _loss: None,
    clock: Callable[[], float] = time.monotonic,
) -> TrainedGuide:
    """Train a guide to the end; whatever interrupts it leaves nothing behind.

    Raises:
        UsageError: the folder is there already, or cannot be made.
        BadFileError: it cannot be written, since the disk is full or the like.
        BadDataError: a data file cannot be used.
        BadModelError: the start cannot be loaded.
    """
    began = clock()
    if run.out.exists():
        raise UsageError(
            f"{run.out} is there already", remedy="Give --out a new folder, or delete this one"
        )
    with making(run.out.parent):
        model, vocabulary = registry.load(run.start, device=device)
        texts, held_out = read_texts(run.data, vocabulary), read_texts(run.held_out, vocabulary)
        check_labels(texts, held_out)
        trainer = GuideTrainer(model, vocabulary, texts, config)
        # Gradients of sure answers underflow, and arithmetic on denormals is ten times slower.
        torch.set_flush_denormal(True)
        try:
            while trainer.steps_done < config.steps:
                loss = trainer.step()
                report(trainer.steps_done, loss)
            accuracy = {doubt: trainer.accuracy(held_out, doubt=doubt) for doubt in DOUBTS}
        finally:
            torch.set_flush_denormal(False)
        done = TrainedGuide(
            folder=run.out,
            labels=tuple(trainer.labels),
            texts=len(texts),
            held_out_texts=len(held_out),
            accuracy=accuracy,
            seconds=clock() - began,
        )
        summary = done.record() | {
            "data": run.data.name,
            "held_out": run.held_out.name,
            "start": registry.find(run.start).name,
            "config": asdict(config),
        }
        del summary["model"]
        with appearing(run.out) as folder:
            write_model(folder, trainer.classifier, vocabulary, summary)
    return done
