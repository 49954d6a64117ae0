"""Options that both programs take."""

from pathlib import Path
from typing import Annotated, Any

import typer


class Panel:
    """Headings under which `--help` lists options."""

    CONNECTION = "Connection"
    PRIVATE_MODEL = "Private model"
    MODELS = "Models and data"
    ANSWER = "Answer"
    SAMPLING = "Sampling"
    GUIDANCE = "Guidance"
    COLLABORATION = "Collaboration"
    TRAINING = "Training"
    MEASUREMENT = "Measurement"
    PROGRAM = "Output and program"


Insecure = Annotated[
    bool | None,
    typer.Option(
        "--insecure", help="Plain text; on loopback only.", rich_help_panel=Panel.CONNECTION
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="auto, cpu, cuda, cuda:1 ... (default: auto).",
        rich_help_panel=Panel.PROGRAM,
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="float32, bfloat16 or float16 (default: float32).",
        rich_help_panel=Panel.PROGRAM,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads", help="CPU threads (default: torch's choice).", rich_help_panel=Panel.PROGRAM
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="TOML file with settings (default: the one in your configuration folder).",
        rich_help_panel=Panel.PROGRAM,
    ),
]
LogFormat = Annotated[
    str | None,
    typer.Option(
        "--log-format", help="text or json (default: text).", rich_help_panel=Panel.PROGRAM
    ),
]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="More on stderr.", rich_help_panel=Panel.PROGRAM)
]
Json = Annotated[
    bool,
    typer.Option("--json", help="One JSON object a line on stdout.", rich_help_panel=Panel.PROGRAM),
]


def given(command: typer.Context) -> dict[str, Any]:
    """What the command line said, by the names of the command's parameters; None where it said
    nothing, as an absent flag does.
    """
    return {name: None if value is False else value for name, value in command.params.items()}
