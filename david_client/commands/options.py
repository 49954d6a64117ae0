"""Options that several commands of `david` take."""

from pathlib import Path
from typing import Annotated

import typer

Goliath = Annotated[
    str | None,
    typer.Option("--goliath", help="HOST:PORT of a server (default: :embedded:, this process)."),
]
Insecure = Annotated[bool | None, typer.Option("--insecure", help="Plain text; on loopback only.")]
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
Device = Annotated[
    str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1 ... (default: auto).")
]
Dtype = Annotated[
    str | None, typer.Option("--dtype", help="float32, bfloat16 or float16 (default: float32).")
]
Threads = Annotated[
    int | None, typer.Option("--threads", help="CPU threads (default: torch's choice).")
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", help="TOML file with settings (default: the one in your configuration folder)."
    ),
]
LogFormat = Annotated[
    str | None, typer.Option("--log-format", help="text or json (default: text).")
]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="More on stderr.")]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
