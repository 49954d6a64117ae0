"""`david batch`."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.denoising.settings import Panel
from common.program.options import Json, Load, with_settings
from david_client.settings import DavidSettings

if TYPE_CHECKING:
    from david_client.chat.pipe import Pipe
    from david_client.reply import Reply


@with_settings(
    DavidSettings,
    Panel.CONNECTION,
    Panel.PROGRAM,
    *("model", "weight", "steps", "max_tokens", "temperature", "seed"),
)
def batch(
    load: Load[DavidSettings],
    file: Annotated[
        str,
        typer.Argument(
            help='Questions, a line each: {"prompt": ...}, with "context", "suffix" and settings '
            "such as steps as wanted; - reads standard input."
        ),
    ],
    resume: Annotated[
        Path | None,
        typer.Option(
            help="JSON Lines file that keeps each answer; the same command goes on after the last "
            "one, and asks no line again (default: none).",
            rich_help_panel=Panel.PROGRAM,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Ask every line of a file; the models are loaded once. The first line that fails ends it."""
    from common.program.console import note, print_json, print_text
    from david_client.resuming import keep, pass_over

    settings = load()
    with _lines(file) as lines:
        passed = 0 if resume is None else pass_over(lines, resume)
        if passed:
            note(f"{resume} has the answers up to line {passed}")
        from david_client.batch import ask_all
        from david_client.conversation import collaborate

        for reply, record in ask_all(collaborate(settings), lines, settings, passed=passed):
            if json:
                print_json(record)
            else:
                print_text(reply.text)
            _check_finished(reply)
            if resume is not None:
                keep(resume, record)


@contextmanager
def _lines(file: str) -> "Iterator[Pipe]":
    from common.errors import BadFileError
    from david_client.chat.pipe import Pipe

    with ExitStack() as stack:
        try:
            source = sys.stdin.buffer if file == "-" else stack.enter_context(Path(file).open("rb"))
        except OSError as error:
            raise BadFileError(
                f"cannot read {file}: {error.strerror}", remedy="Give the path of a JSON Lines file"
            ) from error
        yield Pipe(source)


def _check_finished(reply: "Reply") -> None:
    """Refuse to go on with a server that is shutting down.

    Raises:
        DrainingError: it is so, and the answer is unfinished.
    """
    from common.denoising.plan import FinishReason
    from common.errors import DrainingError

    if reply.finish_reason is FinishReason.DRAINING:
        raise DrainingError(
            f"the server is shutting down: the last answer is unfinished after {reply.steps_run} "
            "steps",
            remedy="Ask the rest again later, or ask another server",
        )
