"""What each choice of the training is worth: `python -m common.training.ablate --help`.

Davids are trained from scratch for the same few steps, each with one thing changed, and measured on
the same held-out text. Short runs tell what makes learning fast, not where it ends.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from common.denoising.streams import Words
from common.models.simplex_network import SimplexDiffusionLM
from common.processes.simplex import conditioning
from common.processes.simplex.settings import Reading
from common.processes.simplex.state import model_input
from common.training import start
from common.training.denoising import loss_curve
from common.training.examples import Batch, Crop, Record, collate, epoch_batches, read_records
from common.training.run import Run, Shape, begin
from common.training.trainer import Trainer, TrainingConfig

TIMES = (0.25, 0.3, 0.35, 0.4, 0.5)
HIDDEN = 0.15
"""Share of positions that are hidden where the words around must tell."""
HIDDEN_T, READABLE_T = 1.0, 0.1
SHAPE = Shape(width=160, layers=3, heads=5)
SETTINGS = {"reading": "posterior", "noise_m": 256, "noise_r": 0, "local_width": 7}
"""The bundled pair's."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One thing changed."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Entries of the model's config."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `TrainingConfig`."""
    padding: bool = False
    """Whether the loss counts all padding."""


VARIANTS = (
    Variant("as bundled"),
    Variant("as bundled, another seed", training={"seed": 1}),
    Variant("reading softmax", {"reading": "softmax", "noise_m": 128, "noise_r": 32}),
    Variant(
        "reading softmax, K = 10",
        {"reading": "softmax", "noise_m": 128, "noise_r": 32, "simplex_value": 10.0},
    ),
    Variant("K = 10", {"simplex_value": 10.0}),
    Variant("m = 64", {"noise_m": 64}),
    Variant("m = 512", {"noise_m": 512}),
    Variant("no convolution", {"local_width": 0}),
    Variant("blocks of 32", {"block_length": 32}),
    Variant("times uniform", {"loss_curve": [[0.0, 0.0], [1.0, 1.0]]}),
    Variant("no mixed rows", training={"mixed": 0.0}),
    Variant("no ramped rows", training={"ramped": 0.0}),
    Variant("no self-conditioning", training={"conditioned": 0.0}),
    Variant("self-conditioning always", training={"conditioned": 1.0}),
    Variant("self-conditioning estimate", {"self_conditioning": "estimate"}),
    Variant("all padding in the loss", padding=True),
)


class _Scoring(Trainer):
    """A trainer whose loss counts all padding."""

    def _batch(self, crops: Sequence[Crop]) -> Batch:
        batch = super()._batch(crops)
        return replace(batch, scored=torch.ones_like(batch.scored))


@torch.inference_mode()
def context_loss(model: SimplexDiffusionLM, batches: Sequence[Batch], *, seed: int) -> float:
    """Cross-entropy (nats a token) of hidden tokens among readable ones: what the model knows of
    what stands beside what.

    A share `HIDDEN` of the positions is at t = 1, the others at t = .1; no self-conditioning.
    """
    config, total, count = model.config, 0.0, 0
    generator = torch.Generator().manual_seed(seed)
    for number, batch in enumerate(batches):
        rows, block = batch.target.shape
        hidden = torch.rand(rows, block, generator=generator) < HIDDEN
        t = torch.where(hidden, HIDDEN_T, READABLE_T).double()
        stream = Words(
            [seed + 1000 * number + row for row in range(rows)],
            [0] * rows,
            [0] * rows,
            batch.target.device,
        )
        simplex = model_input(
            stream,
            batch.target.unsqueeze(-1),
            t,
            form=config.form,
            simplex_value=config.simplex_value,
            vocabulary_size=config.vocab_size,
            reading=Reading(config.reading),
        )
        asked = hidden & batch.scored
        none = conditioning.nothing(rows, block, batch.target.device)
        logits = model(
            batch.input_ids,
            batch.block_start,
            simplex,
            t,
            none,
            batch.attention_mask,
            positions=asked,
        ).logits
        targets = batch.target[asked]
        total += torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
        count += len(targets)
    return total / count


def measure(model: SimplexDiffusionLM, batches: Sequence[Batch]) -> dict[str, Any]:
    """The held-out losses of a model, as they are printed."""
    model.eval()
    curve = loss_curve(model, batches, TIMES, seed=23)
    return {"loss": dict(curve), "hidden": context_loss(model, batches, seed=29)}


def held_out_batches(records: Sequence[Record], vocabulary: Any, count: int) -> list[Batch]:
    """Batches of whole blocks of 64 positions, the same for every variant."""
    crops = epoch_batches(
        records, vocabulary, shares={}, block_length=64, batch_size=24, seed=17, epoch=0
    )
    return [collate(part, vocabulary) for part in crops if len(part[0].target) == 64][:count]


def ablate(
    variants: Sequence[Variant],
    *,
    data: Path,
    held_out: Path,
    encoder: str,
    vocabulary: str,
    config: TrainingConfig,
) -> Iterator[dict[str, Any]]:
    """Train and measure each variant; the first one also by its moving average.

    Args:
        variants: what is changed.
        data: JSONL of training records.
        held_out: JSONL of records to measure on.
        encoder: folder of the encoder that lends its embeddings.
        vocabulary: model or folder whose tokenizer.json is used.
        config: settings of every run.

    Yields:
        name, loss by t and hidden loss (nats a token), seconds of training.
    """
    for number, variant in enumerate(variants):
        training = replace(config, **variant.training)
        torch.manual_seed(training.seed)
        with tempfile.TemporaryDirectory() as folder:
            settings = SETTINGS | dict(variant.settings)
            run = Run(
                [data], held_out, Path(folder), encoder, vocabulary, SHAPE, model_settings=settings
            )
            model, pieces = begin(run, device="cpu")
            records = read_records(data, pieces)
            model.set_prior(start.unigrams(records, pieces, {}))
            measured_on = read_records(held_out, pieces)
            kind = _Scoring if variant.padding else Trainer
            trainer = kind(
                model,
                pieces,
                training,
                records=records,
                held_out=measured_on,
                folder=Path(folder),
            )
            while trainer.steps_done < training.steps:
                trainer.step()
            batches = held_out_batches(measured_on, pieces, 3)
            seconds = round(trainer.seconds)
            yield {"variant": variant.name, "seconds": seconds, **measure(model, batches)}
            if number == 0:
                averaged = measure(trainer.averaged, batches)
                yield {"variant": "moving average", "seconds": seconds, **averaged}


def _line(row: Mapping[str, Any]) -> str:
    losses = "  ".join(f"{loss:5.2f}" for loss in row["loss"].values())
    return f"{row['variant']:28}{losses}  {row['hidden']:6.2f}  {row['seconds']:7}"


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(prog="ablate", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("runs/data/recipes.train.jsonl"))
    parser.add_argument("--held-out", type=Path, default=Path("runs/data/recipes.valid.jsonl"))
    parser.add_argument("--encoder", required=True, help="folder whose embeddings are cut down")
    parser.add_argument("--vocabulary", default="runs/vocabulary", help="folder of tokenizer.json")
    parser.add_argument("--steps", type=int, default=300, help="of each run (default 300)")
    parser.add_argument("--batch", type=int, default=12, help="blocks a step (default 12)")
    parser.add_argument("--only", help="names of variants, with commas (default: all)")
    parser.add_argument("--json", action="store_true", help="one object a line")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    config = TrainingConfig(
        steps=options.steps,
        batch_size=options.batch,
        learning_rate=1.5e-3,
        warmup=options.steps // 3,
        average=0.98,
        evaluate_every=10 * options.steps,
        save_every=10 * options.steps,
        held_out=24,
    )
    wanted = options.only.split(",") if options.only else [v.name for v in VARIANTS]
    if unknown := set(wanted) - {v.name for v in VARIANTS}:
        sys.exit(f"ablate: expected names of {[v.name for v in VARIANTS]}, got {sorted(unknown)}")
    if not options.json:
        print(
            f"{'held-out loss at t =':28}"
            + "  ".join(f"{t:5}" for t in TIMES)
            + "  hidden  seconds"
        )
    rows = ablate(
        [v for v in VARIANTS if v.name in wanted],
        data=options.data,
        held_out=options.held_out,
        encoder=options.encoder,
        vocabulary=options.vocabulary,
        config=config,
    )
    for row in rows:
        print(json.dumps(row) if options.json else _line(row), flush=True)


if __name__ == "__main__":
    main()
