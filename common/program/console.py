"""What both programs do at a terminal: streams, exit codes, errors that say what to do."""

import atexit
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, NoReturn, TextIO

import typer

from common.errors import (
    BadFileError,
    CollaborationError,
    ExitCode,
    OutputError,
    ReaderGoneError,
    clean_text,
    spec_of,
)


def print_json(record: dict[str, Any]) -> None:
    """One object on one line of stdout."""
    sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_text(text: str) -> None:
    """Text from a model or a file to stdout, without control characters but newlines."""
    sys.stdout.write("\n".join(clean_line(line) for line in text.split("\n")) + "\n")
    sys.stdout.flush()


def print_parts(parts: Sequence[tuple[str, bool]]) -> None:
    """One text in parts to stdout, as `print_text` does; on a terminal those marked True stand out.

    The parts are text, never markup.
    """
    if not sys.stdout.isatty() or not any(marked for _, marked in parts):
        print_text("".join(text for text, _ in parts))
        return
    from rich.console import Console
    from rich.text import Text

    shown = Text()
    for text, marked in parts:
        clean = "\n".join(clean_line(line) for line in text.split("\n"))
        shown.append(clean, style="bold" if marked else "")
    Console(file=sys.stdout).print(shown, soft_wrap=True)


def clean_line(text: str) -> str:
    """A line without control characters, whatever its length."""
    return "".join(char if char.isprintable() else " " for char in text)


def note(text: str) -> None:
    """A line for people, on stderr; one that cannot be written ends nothing."""
    with suppress(OSError):
        sys.stderr.write(clean_line(text) + "\n")
        sys.stderr.flush()


def run(app: Callable[[], Any], *, program: str) -> NoReturn:
    """Run a command line; errors become a message on stderr and the documented exit code.

    Args:
        app: what to run; gives an exit code, or None for done.
        program: its name in messages.
    """
    signal.signal(signal.SIGTERM, _terminate)
    # At its end Python would look through all objects of torch for garbage, for a second or more.
    atexit.register(gc.freeze)
    try:
        with _streams():
            _check_folder()
            code = app()
    except KeyboardInterrupt:
        note(f"{program}: interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except typer.TyperException as error:
        from common.program.values import usage_error

        if error.message:  # else the help was printed, since nothing was asked for
            _explain(usage_error(error), program)
        sys.exit(ExitCode.USAGE)
    except OutputError as error:
        if sys.stdout is not None:
            # What is left in its buffer would be tried again at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _explain(error, program)
    except CollaborationError as error:
        _explain(error, program)
    except Exception as error:
        if "-v" in sys.argv or "--verbose" in sys.argv:
            traceback.print_exc()
        note(
            f"{program}: a fault in this software: {type(error).__name__}: {clean_text(str(error))}"
        )
        note("  Run again with -v for the trace, and report it")
        sys.exit(ExitCode.BUG)
    sys.exit(code or ExitCode.DONE)


def _explain(error: CollaborationError, program: str) -> NoReturn:
    """End with an error's message and exit code; a reader that is gone gets no message."""
    if not isinstance(error, ReaderGoneError):
        note(f"{program}: {clean_text(error.message)}")
        if error.remedy:
            note(f"  {clean_text(error.remedy)}")
    sys.exit(spec_of(error).exit_code)


class _Output:
    """Standard output, whose failures are errors of this project, whichever library writes: each
    of them ends a program in its own way on a broken pipe.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with _failures():
            return self._stream.write(text)

    def flush(self) -> None:
        with _failures():
            self._stream.flush()


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGoneError("the reader of standard output has ended") from error
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {error.strerror}") from error


@contextmanager
def _streams() -> Iterator[None]:
    """The standard streams: one that is closed is empty, but standard output is needed.

    Raises:
        OutputError: standard output is closed, or something could not be written.
    """
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115, open to the end
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is None:
        raise OutputError("standard output is closed: send it to a file, or to /dev/null")
    output: Any = _Output(sys.stdout)
    with redirect_stdout(output):
        try:
            yield
        finally:
            output.flush()


def _check_folder() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise BadFileError("the working directory is gone: change to one that exists") from error


def _terminate(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
