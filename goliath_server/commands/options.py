"""Options that several commands of `goliath` take."""

from pathlib import Path
from typing import Annotated

import typer

ModelName = Annotated[
    str | None,
    typer.Argument(help="Model folder or name (default: goliath-mini, which is bundled)."),
]
Listen = Annotated[
    str | None,
    typer.Option("--listen", help="HOST:PORT; port 0 takes any (default: 127.0.0.1:7600)."),
]
Insecure = Annotated[bool | None, typer.Option("--insecure", help="Plain text; on loopback only.")]
TlsCert = Annotated[
    Path | None, typer.Option("--tls-cert", help="The server's certificate, PEM (default: none).")
]
TlsKey = Annotated[
    Path | None, typer.Option("--tls-key", help="Its private key, PEM (default: none).")
]
ClientCa = Annotated[
    Path | None,
    typer.Option("--client-ca", help="The authority that signs clients, PEM (default: none)."),
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
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
