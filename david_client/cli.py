"""The command line of David; commands import what is heavy in their bodies: --help is fast."""

from functools import partial
from typing import Annotated

import typer

from common.program import console
from common.program.commands import make_config, models
from common.training.command import make_train
from david_client.commands.ask import ask
from david_client.commands.batch import batch
from david_client.commands.chat import chat
from david_client.commands.doctor import doctor
from david_client.commands.show import show
from david_client.commands.train_guide import train_guide
from david_client.settings import DavidSettings

app = typer.Typer(
    name="david",
    help="Ask a large diffusion language model, steered at every step by your own small one.",
    epilog="Example: david ask 'How do I make tomato soup?' --weight 0.5",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(ask)
app.command()(batch)
app.command()(chat)
app.command("train")(make_train("david-recipes"))
app.command("train-guide")(train_guide)
app.command()(show)
app.command()(models)
app.command()(make_config(DavidSettings))
app.command()(doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("goliath-david"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the program."""
    console.run(partial(app, standalone_mode=False, prog_name="david"), program="david")
