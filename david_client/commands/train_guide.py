"""`david train-guide`."""

from pathlib import Path
from typing import Annotated

import typer

from common.denoising.settings import Panel


def train_guide(
    data: Annotated[
        Path, typer.Argument(help='JSONL file, {"text", "label"} a line; two labels or more.')
    ],
    held_out: Annotated[
        Path,
        typer.Option(
            "--held-out",
            help="Such a file for the accuracy; never trained on. Required.",
            rich_help_panel=Panel.MODELS,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="Folder of the guide; must be new. Required.",
            rich_help_panel=Panel.MODELS,
        ),
    ],
    start: Annotated[
        str,
        typer.Option(
            help="Model, name or folder: its encoder and vocabulary are used.",
            rich_help_panel=Panel.MODELS,
        ),
    ] = "david-recipes",
    steps: Annotated[
        int,
        typer.Option(
            min=1, max=10**6, help="Optimiser steps in all.", rich_help_panel=Panel.TRAINING
        ),
    ] = 300,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch",
            min=1,
            max=4096,
            help="Examples of a step, one block of a text each.",
            rich_help_panel=Panel.TRAINING,
        ),
    ] = 32,
    rate: Annotated[
        float,
        typer.Option(min=0, max=1, help="Peak learning rate.", rich_help_panel=Panel.TRAINING),
    ] = 1e-3,
    seed: Annotated[
        int,
        typer.Option(min=0, help="Seed of every random choice.", rich_help_panel=Panel.TRAINING),
    ] = 0,
    device: Annotated[
        str,
        typer.Option(
            help="Torch device: cpu, cuda, cuda:1 ...; auto takes a GPU where there is one.",
            rich_help_panel=Panel.PROGRAM,
        ),
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="CPU threads (default: torch's choice).",
            rich_help_panel=Panel.PROGRAM,
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON object a line on standard output (default: off).",
            rich_help_panel=Panel.PROGRAM,
        ),
    ] = False,
) -> None:
    """Train a guide from labelled texts, for --guide. Ctrl-C ends it and leaves nothing."""
    from common.guidance.run import GuideRun
    from common.guidance.run import train_guide as run_training
    from common.guidance.training import GuideTraining
    from common.program.console import note, print_json
    from common.program.device import settle_device
    from common.program.interrupt import interruptible
    from common.program.progress import training_progress

    config = GuideTraining(steps=steps, batch_size=batch_size, learning_rate=rate, seed=seed)
    with interruptible(), training_progress(steps, as_json=as_json) as report:
        done = run_training(
            GuideRun(data, held_out, start, out),
            config,
            device=settle_device(device, threads=threads),
            report=lambda step, loss: report({"step": step, "loss": loss}),
        )
    if as_json:
        print_json({"type": "trained"} | done.record())
        return
    sure, *doubted = done.accuracy.items()
    note(
        f"trained: {done.folder}, labels {', '.join(done.labels)}; held-out accuracy "
        f"{sure[1]:.1%}, " + ", ".join(f"{share:.1%} at doubt {d:g}" for d, share in doubted)
    )
