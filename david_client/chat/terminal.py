"""Lines of a conversation from a person: history, several lines, and ways to stop and to leave."""

import contextlib
import os
import sys
from pathlib import Path

import platformdirs
from prompt_toolkit import PromptSession
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import Output
from prompt_toolkit.output.defaults import create_output

from common.program.console import note
from david_client.chat.lines import COMMANDS

PROMPT = "> "
KEYS = (
    "Enter asks. Alt-Enter, or \\ at the end of a line, begins another line.\n"
    "Ctrl-C stops an answer. /help lists the commands, /quit leaves."
)
"""What a greeting says of the keys."""


def history_file() -> Path:
    """Where the lines that were typed are kept."""
    return platformdirs.user_state_path("goliath-david") / "chat-history"


class Terminal:
    """A prompt on stderr, so that stdout holds answers alone."""

    interactive = True

    def __init__(
        self, *, history: Path | None, source: Input | None = None, screen: Output | None = None
    ) -> None:
        """Ask nothing yet.

        Args:
            history: file of the lines typed so far; None keeps none.
            source: where keys come from; None is the terminal.
            screen: where the prompt is drawn; None is stderr.
        """
        self._leaving = False
        self._session: PromptSession[str] = PromptSession(
            PROMPT,
            multiline=True,
            prompt_continuation=" " * len(PROMPT),
            key_bindings=_keys(),
            history=InMemoryHistory() if history is None else _kept(history),
            reserve_space_for_menu=0,
            input=source,
            output=create_output(stdout=sys.stderr) if screen is None else screen,
        )

    def read(self) -> str | None:
        """What was typed; None when the person leaves.

        Ctrl-D at an empty prompt leaves, and so does a second Ctrl-C there. With text, Ctrl-C drops
        the text.
        """
        while True:
            try:
                line = self._session.prompt()
            except EOFError:
                return None
            except KeyboardInterrupt:
                if self._session.default_buffer.text:
                    self._leaving = False
                elif self._leaving:
                    return None
                else:
                    self._leaving = True
                    note("Ctrl-C again, or Ctrl-D, leaves")
            else:
                self._leaving = False
                return _printable(line)


class _PrivateHistory(FileHistory):
    """A file that only its owner reads. One that cannot be written ends no conversation."""

    def store_string(self, string: str) -> None:
        """Append a line."""
        with contextlib.suppress(OSError):
            super().store_string(_printable(string))


def _kept(path: Path) -> History:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        # One that others can read was not made here, or not left as it was.
        path.chmod(0o600)
    except OSError as error:
        note(f"warning: this conversation has no history: {path}: {error.strerror}")
        return InMemoryHistory()
    return _PrivateHistory(str(path))


def _printable(line: str) -> str:
    """What the terminal could not decode comes as lone surrogates; they become question marks."""
    return line.encode("utf-8", "replace").decode("utf-8")


def _keys() -> KeyBindings:
    keys = KeyBindings()
    typing = has_focus(DEFAULT_BUFFER)

    @keys.add("enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.is_cursor_at_the_end and buffer.text.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    @keys.add("tab", filter=typing)
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        fitting = [f"/{name} " for name in COMMANDS if f"/{name}".startswith(buffer.text)]
        if len(fitting) == 1 and buffer.document.is_cursor_at_the_end:
            buffer.insert_text(fitting[0][len(buffer.text) :])

    return keys
