"""`david chat`."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from common.denoising.settings import Panel
from common.program.options import Json, Load, with_settings
from david_client.commands.ask import Context
from david_client.settings import DavidSettings

if TYPE_CHECKING:
    from david_client.chat.conversation import Conversation


@with_settings(
    DavidSettings,
    Panel.CONNECTION,
    Panel.PROGRAM,
    *("model", "weight", "contrast", "certify", "steps", "max_tokens", "temperature", "seed"),
    *("lag", "every", "memory"),
)
def chat(
    load: Load[DavidSettings],
    context: Context = None,
    no_history: Annotated[
        bool,
        typer.Option(
            "--no-history",
            help="Keep no file of the lines typed here (default: off).",
            rich_help_panel=Panel.CONVERSATION,
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Talk with Goliath, with David's help; from a pipe, each line is a question or a command."""
    from david_client.chat.conversation import Conversation

    settings = load()
    talk = Conversation(settings, context=context)
    if json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        _piped(talk, as_json=json)
    else:
        _typed(talk, history=settings.history and not no_history)


def _piped(talk: "Conversation", *, as_json: bool) -> None:
    from david_client.chat.answers import Answers
    from david_client.chat.loop import chat
    from david_client.chat.pipe import Pipe
    from david_client.chat.show import OnPipe

    with Answers(talk.settings) as answers:
        chat(Pipe(sys.stdin.buffer), talk, answers, OnPipe(as_json=as_json))


def _typed(talk: "Conversation", *, history: bool) -> None:
    from david_client.chat.answers import Answers
    from david_client.chat.loop import chat
    from david_client.chat.show import OnTerminal
    from david_client.chat.terminal import KEYS, Terminal, history_file

    show, settings = OnTerminal(), talk.settings
    where = "in this process" if settings.embedded else f"at {settings.goliath}"
    show.say(f"A conversation with Goliath {where} and David, {settings.model}.\n{KEYS}")
    if talk.context:
        show.say(talk.told_context())
    lines = Terminal(history=history_file() if history else None)
    # The models come last: while their libraries load, nothing else moves.
    with _sigterm_leaves(), Answers(settings) as answers:
        chat(lines, talk, answers, show)


@contextmanager
def _sigterm_leaves() -> Iterator[None]:
    """Ctrl-C stops an answer; SIGTERM, in this program the same interrupt, shall end it all."""
    from common.errors import ExitCode

    def leave(_number: int, _frame: object) -> NoReturn:
        raise SystemExit(ExitCode.INTERRUPTED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
