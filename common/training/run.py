"""A training run from files to a model folder: start, vocabulary, data, loop, export."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from common.collaboration.compatibility import check_process, check_vocabulary
from common.errors import BadModelError, UsageError
from common.models import registry
from common.models.simplex_lm import SimplexPredictor
from common.models.simplex_network import SimplexDiffusionLM
from common.program.saving import making
from common.text.wordpiece import WordPieceVocabulary
from common.training import checkpoints, start
from common.training.examples import Record, read_records
from common.training.export import export
from common.training.trainer import Progress, Trainer, TrainingConfig


@dataclass(frozen=True, slots=True)
class Shape:
    """A new small model; its embedding comes from the start's principal components."""

    width: int
    layers: int
    heads: int
    dropout: float = 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """What to train, on what, from what, into where."""

    data: Sequence[Path]
    """JSONL files of training records."""
    held_out: Path
    """JSONL file that the held-out curve is measured on; never trained on."""
    out: Path
    """Folder of the run: checkpoints, metrics.jsonl, and `model` when it is done."""
    start: str
    """A model of this project (name or folder), or a folder with a transformers encoder and its
    tokenizer.json.
    """
    vocabulary: str | None = None
    """Model or folder whose tokenizer.json is used; None for the start's own."""
    shape: Shape | None = None
    """None to train the start's own layers."""
    beside: str | None = None
    """A large model that this one learns to help, name or folder; None: it learns alone."""
    model_settings: Mapping[str, Any] = field(default_factory=dict)
    """Entries of the model's config for a new model, such as block_length or self_conditioning."""


def _vocabulary_of(name: str) -> WordPieceVocabulary:
    folder = registry.find(name).folder
    registry.check_downloads(folder)
    return WordPieceVocabulary.load(folder)


def begin(run: Run, *, device: str) -> tuple[SimplexDiffusionLM, WordPieceVocabulary]:
    """The model and vocabulary that a run starts from.

    Raises:
        BadModelError: the start cannot be read.
        UsageError: an encoder was given without a vocabulary, or a model of ours with another one.
    """
    folder = Path(run.start)
    if folder.is_dir() and not registry.is_simplex_model(folder):
        if run.vocabulary is None:
            raise UsageError(
                f"{run.start} is an encoder, so the vocabulary of the new model must be given",
                remedy="Add --vocabulary with the model that this one shall pair with",
            )
        vocabulary = _vocabulary_of(run.vocabulary)
        try:
            if run.shape is None:
                model = start.from_encoder(folder, vocabulary, **run.model_settings)
            else:
                shape = run.shape
                model = start.small(
                    folder,
                    vocabulary,
                    width=shape.width,
                    layers=shape.layers,
                    heads=shape.heads,
                    dropout=shape.dropout,
                    **run.model_settings,
                )
        except (OSError, ValueError, RuntimeError) as error:
            raise BadModelError(
                f"the encoder in {folder} cannot be read",
                remedy="Give a folder with config.json and model.safetensors of an encoder",
            ) from error
        return registry.placed(model, device), vocabulary
    model, vocabulary = registry.load(run.start, device=device)
    if (
        run.vocabulary is not None
        and _vocabulary_of(run.vocabulary).fingerprint != vocabulary.fingerprint
    ):
        raise UsageError(
            f"{run.start} has a vocabulary of its own, not that of {run.vocabulary}",
            remedy="Leave --vocabulary out, or start from an encoder",
        )
    fixed = sorted(set(run.model_settings) - set(start.LATER_SETTINGS))
    if run.shape is not None or fixed:
        raise UsageError(
            f"{run.start} is a trained model: its shape and settings stay"
            + (f", {', '.join(fixed)} too" if fixed else ""),
            remedy="Leave the shape and model options out, or start from an encoder",
        )
    if run.model_settings:
        model = registry.placed(start.reread(model, **run.model_settings), device)
    return model, vocabulary


def _helped(
    run: Run, model: SimplexDiffusionLM, vocabulary: WordPieceVocabulary, device: str
) -> SimplexDiffusionLM | None:
    """The large model that the run's model learns to help.

    Raises:
        VocabularyMismatchError, ProcessMismatchError: they cannot work together.
    """
    if run.beside is None:
        return None
    large, its_own = registry.load(run.beside, device=device)
    check_vocabulary(its_own.summary, vocabulary.summary)
    check_process(SimplexPredictor(large).process, SimplexPredictor(model).process)
    return large


def _check_sources(shares: Mapping[str, float], records: Sequence[Record]) -> None:
    known = {record.source for record in records}
    if unknown := sorted(set(shares) - known):
        raise UsageError(
            f"expected shares of sources in the data, got {', '.join(unknown)}",
            remedy=f"A line's source, or its file's name: {', '.join(sorted(known))}",
        )


def train(
    run: Run,
    config: TrainingConfig,
    *,
    device: str = "cpu",
    report: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Train to the end, resuming from the run's newest checkpoint; gives the folder of the finished
    model.

    An interrupt (KeyboardInterrupt) between steps saves a checkpoint and goes on upwards.

    Raises:
        UsageError: the folder cannot be written, or a share is of no source.
        BadDataError: too few examples for a batch.
        BadModelError: a model or checkpoint cannot be read.
        BadFileError: something cannot be written, since the disk is full or the like. What the run
            saved before stays, and the same run goes on from it.
    """
    with making(run.out):
        trainer = _trainer(run, config, device)
        # Gradients of sure tokens underflow, and arithmetic on denormals is ten times slower.
        torch.set_flush_denormal(True)
        try:
            while trainer.steps_done < config.steps:
                report(trainer.step())
        except KeyboardInterrupt:
            trainer.optimizer.zero_grad(set_to_none=True)
            trainer.save()
            raise
        finally:
            torch.set_flush_denormal(False)
        model = trainer.averaged
        return export(model, trainer.vocabulary, run.out / "model", _summary(run, trainer))


def _trainer(run: Run, config: TrainingConfig, device: str) -> Trainer:
    """The state of the run: where it begins, or where its newest checkpoint is."""
    torch.manual_seed(config.seed)
    model, vocabulary = begin(run, device=device)
    records: list[Record] = [
        record for path in run.data for record in read_records(path, vocabulary)
    ]
    _check_sources(config.shares, records)
    model.set_prior(start.unigrams(records, vocabulary, config.shares).to(model.device))
    return Trainer(
        model,
        vocabulary,
        config,
        records=records,
        held_out=read_records(run.held_out, vocabulary),
        folder=run.out,
        beside=_helped(run, model, vocabulary, device),
    )


def _summary(run: Run, trainer: Trainer) -> dict[str, Any]:
    """How the model came about: for its card."""
    rows = checkpoints.metrics(run.out)
    return {
        "data": [path.name for path in run.data],
        "held_out": run.held_out.name,
        "beside": run.beside,
        "seconds": round(trainer.seconds),
        "tokens": sum(row["tokens"] for row in rows),
        "config": asdict(trainer.config),
        "curves": [
            {"step": row["step"], "held_out_loss_by_t": row["curve"]}
            for row in rows
            if row["curve"]
        ],
    }
