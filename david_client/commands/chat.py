"""`david chat`."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from david_client.commands import options as o

if TYPE_CHECKING:
    from david_client.chat.conversation import Conversation


def chat(
    command: typer.Context,
    goliath: o.Goliath = None,
    insecure: o.Insecure = None,
    tls_cert: o.TlsCert = None,
    tls_key: o.TlsKey = None,
    server_ca: o.ServerCa = None,
    server_name: o.ServerName = None,
    model: o.Model = None,
    context: o.Context = None,
    weight: o.Weight = None,
    contrast: o.Contrast = None,
    certify: o.Certify = False,
    steps: o.Steps = None,
    max_tokens: o.MaxTokens = None,
    temperature: o.Temperature = None,
    seed: o.Seed = None,
    lag: o.Lag = None,
    every: o.Every = None,
    memory: Annotated[
        int | None,
        typer.Option(
            help="Earlier turns that are sent along with a question (default: 0 turns).",
            rich_help_panel=o.Panel.ANSWER,
        ),
    ] = None,
    no_history: Annotated[
        bool,
        typer.Option(
            "--no-history",
            help="Keep no file of the lines typed here.",
            rich_help_panel=o.Panel.PROGRAM,
        ),
    ] = False,
    device: o.Device = None,
    dtype: o.Dtype = None,
    threads: o.Threads = None,
    config: o.Config = None,
    log_format: o.LogFormat = None,
    json: o.Json = False,
    verbose: o.Verbose = False,
) -> None:
    """Talk with Goliath, with David's help; from a pipe, each line is a question or a command."""
    from common.program.config import load
    from common.program.interrupt import interruptible
    from common.program.logging import start_log
    from david_client.chat.conversation import Conversation
    from david_client.settings import DavidSettings

    with interruptible():
        settings = load(
            DavidSettings,
            program="david",
            given=o.given(command) | {"history": False if no_history else None},
            file=config,
        )
        start_log(form=settings.log_format, verbose=verbose)
        talk = Conversation(settings, context=context)
        if json or not (sys.stdin.isatty() and sys.stderr.isatty()):
            _piped(talk, as_json=json)
        else:
            _typed(talk, history=settings.history)


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
