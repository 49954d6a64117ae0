"""Options that several commands of `david` take."""

from pathlib import Path
from typing import Annotated

import typer

from common.options import Config, Device, Dtype, Insecure, Json, LogFormat, Threads, Verbose

__all__ = [
    "Config",
    "Device",
    "Dtype",
    "Goliath",
    "Insecure",
    "Json",
    "LogFormat",
    "Model",
    "ServerCa",
    "Threads",
    "TlsCert",
    "TlsKey",
    "Verbose",
]

Goliath = Annotated[
    str | None,
    typer.Option("--goliath", help="HOST:PORT of a server (default: :embedded:, this process)."),
]
TlsCert = Annotated[
    Path | None, typer.Option("--tls-cert", help="Your certificate, PEM (default: none).")
]
TlsKey = Annotated[
    Path | None, typer.Option("--tls-key", help="Its private key, PEM (default: none).")
]
ServerCa = Annotated[
    Path | None,
    typer.Option("--server-ca", help="The authority that signs servers, PEM (default: none)."),
]
Model = Annotated[
    str | None,
    typer.Option("--model", help="Small model, folder or name (default: david-recipes, bundled)."),
]
