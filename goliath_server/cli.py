"""The command line of Goliath; commands import what is heavy in their bodies: --help is fast."""

from functools import partial
from typing import Annotated

import typer

from common.program import console
from common.program.commands import make_config, models
from common.training.command import make_train
from goliath_server.commands.bench import bench
from goliath_server.commands.doctor import doctor
from goliath_server.commands.evaluate import evaluate
from goliath_server.commands.quality import quality
from goliath_server.commands.serve import serve
from goliath_server.settings import GoliathSettings

app = typer.Typer(
    name="goliath",
    help="Serve a large diffusion language model that Davids steer at every denoising step.",
    epilog="Example: goliath serve --listen 127.0.0.1:7600 --insecure",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(serve)
app.command("train")(make_train("goliath-mini"))
app.command()(evaluate)
app.command()(quality)
app.command()(bench)
app.command()(models)
app.command()(make_config(GoliathSettings))
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
    console.run(partial(app, standalone_mode=False, prog_name="goliath"), program="goliath")
