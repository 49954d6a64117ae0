"""What both programs do at a terminal: streams, exit codes, errors that say what to do."""

import json
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from common.errors import CollaborationError, ExitCode, clean_text, spec_of


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
    """A line for people, on stderr."""
    sys.stderr.write(clean_line(text) + "\n")
    sys.stderr.flush()


def run(app: Callable[[], Any], *, program: str) -> NoReturn:
    """Run a command line; errors become a message on stderr and the documented exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except KeyboardInterrupt:
        note(f"{program}: interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away; nobody is left to tell
        sys.exit(ExitCode.DONE)
    except CollaborationError as error:
        note(f"{program}: {clean_text(error.message)}")
        if error.remedy:
            note(f"  {clean_text(error.remedy)}")
        sys.exit(spec_of(error).exit_code)
    except Exception as error:
        if "-v" in sys.argv or "--verbose" in sys.argv:
            traceback.print_exc()
        note(
            f"{program}: a fault in this software: {type(error).__name__}: {clean_text(str(error))}"
        )
        note("  Run again with -v for the trace, and report it")
        sys.exit(ExitCode.BUG)
    sys.exit(ExitCode.DONE)


def _terminate(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
