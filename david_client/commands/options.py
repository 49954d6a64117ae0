"""Options that several commands of `david` take."""

from pathlib import Path
from typing import Annotated

import typer

from common.program.options import (
    Config,
    Device,
    Dtype,
    Insecure,
    Json,
    LogFormat,
    Panel,
    Threads,
    Verbose,
    given,
)

__all__ = [
    "Certify",
    "Config",
    "Context",
    "Contrast",
    "Device",
    "Dtype",
    "Every",
    "Goliath",
    "Insecure",
    "Json",
    "Lag",
    "LogFormat",
    "MaxTokens",
    "Model",
    "Panel",
    "Seed",
    "ServerCa",
    "ServerName",
    "Steps",
    "Temperature",
    "Threads",
    "TlsCert",
    "TlsKey",
    "Verbose",
    "Weight",
    "given",
]

Goliath = Annotated[
    str | None,
    typer.Option(
        "--goliath",
        help="HOST:PORT of a server (default: :embedded:, this process).",
        rich_help_panel=Panel.CONNECTION,
    ),
]
TlsCert = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert",
        help="Your certificate, PEM (default: none).",
        rich_help_panel=Panel.CONNECTION,
    ),
]
TlsKey = Annotated[
    Path | None,
    typer.Option(
        "--tls-key", help="Its private key, PEM (default: none).", rich_help_panel=Panel.CONNECTION
    ),
]
ServerCa = Annotated[
    Path | None,
    typer.Option(
        "--server-ca",
        help="The authority that signs servers, PEM (default: none).",
        rich_help_panel=Panel.CONNECTION,
    ),
]
ServerName = Annotated[
    str | None,
    typer.Option(
        "--server-name",
        help="Host that the server's certificate must name, behind a tunnel (default: the "
        "address's).",
        rich_help_panel=Panel.CONNECTION,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Small model, folder or name (default: david-recipes, bundled).",
        rich_help_panel=Panel.PRIVATE_MODEL,
    ),
]
Context = Annotated[
    Path | None,
    typer.Option(
        "--context",
        help="Private text file; only David reads it (default: none).",
        rich_help_panel=Panel.PRIVATE_MODEL,
    ),
]
Weight = Annotated[
    float | None,
    typer.Option(
        "--weight",
        help="David's share, 0 to 1 (default: 0.75).",
        rich_help_panel=Panel.COLLABORATION,
    ),
]
Contrast = Annotated[
    float | None,
    typer.Option(
        "--contrast",
        help="How much the context is stressed (default: 0).",
        rich_help_panel=Panel.COLLABORATION,
    ),
]
Certify = Annotated[
    bool,
    typer.Option(
        "--certify",
        help="Let Goliath ask David for logits that he left out, where they could change a token.",
        rich_help_panel=Panel.COLLABORATION,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps", help="Denoising steps of a block (default: 32).", rich_help_panel=Panel.ANSWER
    ),
]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens",
        help="Longest answer in tokens (default: one block).",
        rich_help_panel=Panel.ANSWER,
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        "--temperature", help="0 is greedy (default: 0.7).", rich_help_panel=Panel.SAMPLING
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", help="Seed of all noise (default: drawn, and told).", rich_help_panel=Panel.ANSWER
    ),
]
Lag = Annotated[
    int | None,
    typer.Option(
        "--lag",
        help="Steps that David may lag behind, so that both compute at once (default: 0).",
        rich_help_panel=Panel.COLLABORATION,
    ),
]
Every = Annotated[
    str | None,
    typer.Option(
        "--every",
        metavar="FIRST:PERIOD:LAST",
        help="David computes at the first steps, at multiples of the period and at the last ones "
        "(default: at all).",
        rich_help_panel=Panel.COLLABORATION,
    ),
]
