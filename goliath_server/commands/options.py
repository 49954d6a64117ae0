"""Options that several commands of `goliath` take."""

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
    "ClientCa",
    "Config",
    "Device",
    "Dtype",
    "Insecure",
    "Json",
    "Listen",
    "LogFormat",
    "ModelName",
    "Panel",
    "Threads",
    "TlsCert",
    "TlsKey",
    "Verbose",
    "given",
]

ModelName = Annotated[
    str | None,
    typer.Argument(help="Model folder or name (default: goliath-mini, which is bundled)."),
]
Listen = Annotated[
    str | None,
    typer.Option(
        "--listen",
        help="HOST:PORT; port 0 takes any (default: 127.0.0.1:7600).",
        rich_help_panel=Panel.CONNECTION,
    ),
]
TlsCert = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert",
        help="The server's certificate, PEM (default: none).",
        rich_help_panel=Panel.CONNECTION,
    ),
]
TlsKey = Annotated[
    Path | None,
    typer.Option(
        "--tls-key", help="Its private key, PEM (default: none).", rich_help_panel=Panel.CONNECTION
    ),
]
ClientCa = Annotated[
    Path | None,
    typer.Option(
        "--client-ca",
        help="The authority that signs clients, PEM (default: none).",
        rich_help_panel=Panel.CONNECTION,
    ),
]
