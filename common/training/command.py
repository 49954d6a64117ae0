"""The command `train`, the same for both programs but for what it starts from."""

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from common.denoising.settings import Panel
from common.errors import UsageError
from common.program.console import note, print_json
from common.program.progress import training_progress


def _shares(values: list[str]) -> dict[str, float]:
    shares = {}
    for value in values:
        source, _, number = value.partition("=")
        shares[source] = _number(number)
        if not 0 <= shares[source] < math.inf:
            raise UsageError(
                f"--share: expected SOURCE=PASSES, got {value!r}",
                remedy="For example --share wiki=2",
            )
    return shares


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _settings(values: list[str]) -> dict[str, Any]:
    settings = {}
    for value in values:
        name, _, text = value.partition("=")
        if not name or not text:
            raise UsageError(
                f"--setting: expected NAME=VALUE, got {value!r}",
                remedy="For example --setting noise_m=256",
            )
        settings[name] = int(text) if text.isdecimal() else text
    return settings


def make_train(default_start: str) -> Callable[..., None]:
    """The command, with the model that it starts from by default."""

    def train(
        data: Annotated[
            list[Path],
            typer.Argument(
                help='JSONL: {"instruction", "context"?, "response"} or {"text"} a line. Required.'
            ),
        ],
        held_out: Annotated[
            Path,
            typer.Option(
                "--held-out",
                help="JSONL file for the held-out loss; never trained on. Required.",
                rich_help_panel=Panel.MODELS,
            ),
        ],
        out: Annotated[
            Path,
            typer.Option(
                "--out",
                help="Folder of the run; an interrupted run goes on. Required.",
                rich_help_panel=Panel.MODELS,
            ),
        ],
        start: Annotated[
            str,
            typer.Option(
                help="Model (name or folder), or encoder folder, to start from.",
                rich_help_panel=Panel.MODELS,
            ),
        ] = default_start,
        vocabulary: Annotated[
            str | None,
            typer.Option(
                help="Model whose tokenizer an encoder takes on. (default: the start's own)",
                rich_help_panel=Panel.MODELS,
            ),
        ] = None,
        width: Annotated[
            int,
            typer.Option(
                help="Hidden size of a new small model; 0 makes none.",
                rich_help_panel=Panel.MODELS,
            ),
        ] = 0,
        layers: Annotated[
            int, typer.Option(help="Layers of a new small model.", rich_help_panel=Panel.MODELS)
        ] = 3,
        heads: Annotated[
            int,
            typer.Option(
                help="Attention heads of a new small model.", rich_help_panel=Panel.MODELS
            ),
        ] = 4,
        dropout: Annotated[
            float,
            typer.Option(
                help="Dropout of a new small model, a share from 0 to 1.",
                rich_help_panel=Panel.MODELS,
            ),
        ] = 0.0,
        beside: Annotated[
            str | None,
            typer.Option(
                help="Large model that this one learns to help: the loss is that of their fused "
                "logits. The large one stays as it is and sees no context. (default: none)",
                rich_help_panel=Panel.MODELS,
            ),
        ] = None,
        weight: Annotated[
            float,
            typer.Option(
                min=0,
                max=1,
                help="Share in those logits, with --beside.",
                rich_help_panel=Panel.TRAINING,
            ),
        ] = 0.75,
        setting: Annotated[
            list[str] | None,
            typer.Option(
                help="NAME=VALUE of a model's config, such as reading=posterior; of a trained "
                "model only what keeps its weights. (default: none)",
                rich_help_panel=Panel.MODELS,
            ),
        ] = None,
        steps: Annotated[
            int, typer.Option(min=1, help="Optimiser steps in all.", rich_help_panel=Panel.TRAINING)
        ] = 2000,
        batch_size: Annotated[
            int,
            typer.Option(
                "--batch",
                min=1,
                help="Examples of a step, one block each.",
                rich_help_panel=Panel.TRAINING,
            ),
        ] = 24,
        rate: Annotated[
            float, typer.Option(help="Peak learning rate.", rich_help_panel=Panel.TRAINING)
        ] = 4e-4,
        decay: Annotated[
            float,
            typer.Option(
                min=0,
                max=1,
                help="Last share of the steps, over which the rate falls.",
                rich_help_panel=Panel.TRAINING,
            ),
        ] = 0.25,
        seed: Annotated[
            int, typer.Option(help="Seed of every random choice.", rich_help_panel=Panel.TRAINING)
        ] = 0,
        share: Annotated[
            list[str] | None,
            typer.Option(
                help="SOURCE=PASSES an epoch makes over a source. (default: 1 each)",
                rich_help_panel=Panel.MODELS,
            ),
        ] = None,
        mixed: Annotated[
            float,
            typer.Option(
                min=0,
                max=1,
                help="Share of examples with little noise at some positions and much at others.",
                rich_help_panel=Panel.TRAINING,
            ),
        ] = 0.5,
        ramped: Annotated[
            float,
            typer.Option(
                min=0,
                max=1,
                help="Share of examples whose noise rises from position to position. The remaining "
                "examples have the same noise everywhere, as a draft has.",
                rich_help_panel=Panel.TRAINING,
            ),
        ] = 0.2,
        evaluate_every: Annotated[
            int,
            typer.Option(
                min=1, help="Steps between held-out curves.", rich_help_panel=Panel.TRAINING
            ),
        ] = 500,
        save_every: Annotated[
            int,
            typer.Option(min=1, help="Steps between checkpoints.", rich_help_panel=Panel.TRAINING),
        ] = 250,
        skip_damaged: Annotated[
            bool,
            typer.Option(
                "--skip-damaged",
                help="Go on from the newest whole checkpoint; damaged newer ones are renamed. "
                "Default: they end the run.",
                rich_help_panel=Panel.TRAINING,
            ),
        ] = False,
        device: Annotated[
            str, typer.Option(help="Torch device.", rich_help_panel=Panel.PROGRAM)
        ] = "cpu",
        threads: Annotated[
            int,
            typer.Option(help="CPU threads; 0 is torch's choice.", rich_help_panel=Panel.PROGRAM),
        ] = 0,
        as_json: Annotated[
            bool,
            typer.Option(
                "--json",
                help="One JSON object a line on standard output (default: off).",
                rich_help_panel=Panel.PROGRAM,
            ),
        ] = False,
    ) -> None:
        """Train a model, or go on training one. Ctrl-C saves a checkpoint; the same command resumes
        from it.
        """
        import torch

        from common.training.checkpoints import set_damaged_aside
        from common.training.run import Run, Shape
        from common.training.run import train as run_training
        from common.training.trainer import TrainingConfig

        if not 0 < rate < math.inf:
            raise UsageError(
                f"--rate: expected a number above 0, got {rate}", remedy="For example --rate 4e-4"
            )
        if mixed + ramped > 1:
            raise UsageError(
                f"expected --mixed and --ramped to be 1 together at most, got {mixed:g} and "
                f"{ramped:g}",
                remedy="For example --mixed 0.3 --ramped 0.1",
            )
        if threads:
            torch.set_num_threads(threads)
        config = TrainingConfig(
            steps=steps,
            batch_size=batch_size,
            learning_rate=rate,
            decay_share=decay,
            seed=seed,
            weight=weight,
            shares=_shares(share or []),
            mixed=mixed,
            ramped=ramped,
            evaluate_every=evaluate_every,
            save_every=save_every,
        )
        shape = Shape(width, layers, heads, dropout) if width else None
        settings = _settings(setting or [])
        run = Run(data, held_out, out, start, vocabulary, shape, beside, settings)
        for folder in set_damaged_aside(out) if skip_damaged else ():
            note(f"a damaged checkpoint is set aside: {folder}")
        with training_progress(steps, as_json=as_json) as report:
            folder = run_training(
                run, config, device=device, report=lambda progress: report(asdict(progress))
            )
        if as_json:
            print_json({"type": "trained", "model": str(folder)})
        else:
            note(f"trained: {folder}")

    return train
