"""The state of a conversation: its turns, and the settings for the next answer."""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import BadFileError, UsageError
from common.program.console import clean_line
from common.program.files import private
from common.program.values import changed
from david_client.chat.lines import Command, listed
from david_client.chat.prompt import Turn
from david_client.texts import read_context

if TYPE_CHECKING:
    from david_client.settings import DavidSettings

_OFF = "off"
_RANDOM = "random"


class Conversation:
    """What was said, and how the next answer shall be made; a wrong value changes nothing."""

    def __init__(self, settings: "DavidSettings", *, context: Path | None = None) -> None:
        """Nothing was said yet.

        Raises:
            BadFileError: the context cannot be read.
            UsageError: a contrast without a context.
        """
        self.settings = settings
        self.turns: tuple[Turn, ...] = ()
        self.context = ""
        """The private text. It goes to David's contributor and nowhere else."""
        self.context_name = ""
        self._last: str | None = None
        self._last_is_answered = False
        self._saved: set[Path] = set()
        if context is not None:
            self._read(context)
        elif settings.contrast:
            raise _contrast_without_context(settings.contrast)

    def obey(self, command: Command) -> str:
        """Do what a command says, and tell it; without a value, tell the one that holds.

        Raises:
            UsageError: a value that cannot be.
            BadFileError: a file that cannot be read or written.
        """
        special: dict[str, Callable[[str], str]] = {
            "context": self._context,
            "save": self._save,
            "new": self._forget,
            "help": self._help,
        }
        if command.name in special:
            return special[command.name](command.argument)
        if command.argument:
            self._change(command.name, command.argument)
        return self._told(command.name)

    def ask(self, question: str | None) -> tuple[str, tuple[Turn, ...]]:
        """Take up a question; None asks the last one again.

        Returns:
            The question, and the turns before it.

        Raises:
            UsageError: there is no last question.
        """
        if question is None:
            if self._last is None:
                raise UsageError("/retry: expected a question before it, there is none yet")
            return self._last, self.turns[:-1] if self._last_is_answered else self.turns
        self._last, self._last_is_answered = question, False
        return question, self.turns

    def keep(self, turn: Turn) -> None:
        """Keep the answer to the last question; a second one takes the place of the first."""
        before = self.turns[:-1] if self._last_is_answered else self.turns
        self.turns, self._last_is_answered = (*before, turn), True

    def _change(self, name: str, text: str) -> None:
        value = None if name == "seed" and text == _RANDOM else text
        settings = changed(self.settings, {name: value}, "/{}".format)
        if name == "contrast" and settings.contrast and not self.context:
            raise _contrast_without_context(settings.contrast)
        self.settings = settings

    def _told(self, name: str) -> str:
        value = getattr(self.settings, name)
        if value is None:
            return f"{name} {_RANDOM if name == 'seed' else 'default'}"
        return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"

    def _help(self, _: str) -> str:
        names = ("weight", "contrast", "seed", "steps", "temperature", "memory")
        now = textwrap.fill(f"now: {', '.join(map(self._told, names))}", 78)
        return f"{listed()}\n{now}\n{self.told_context()}"

    def _context(self, argument: str) -> str:
        if argument == _OFF:
            self.context = self.context_name = ""
            if self.settings.contrast:
                self._change("contrast", "0")
                return f"{self.told_context()}; contrast 0"
        elif argument:
            self._read(Path(argument).expanduser())
        return self.told_context()

    def _read(self, path: Path) -> None:
        self.context = read_context(path)
        self.context_name = path.name

    def told_context(self) -> str:
        """What is known of the context, for people."""
        if not self.context:
            return "no context"
        return f"context {self.context_name}, {len(self.context)} characters: David alone reads it"

    def _forget(self, _: str) -> str:
        self.turns, self._last, self._last_is_answered = (), None, False
        return "the conversation is forgotten; settings and context stay"

    def _save(self, argument: str) -> str:
        if not argument:
            raise UsageError("/save: expected the name of a new file, got none")
        if not self.turns:
            raise UsageError("/save: expected an answer to save, there is none yet")
        path = Path(argument).expanduser().absolute()
        # What this conversation wrote it may write again; all else stays as it is.
        mode = "w" if path in self._saved else "x"
        try:
            with open(path, mode, encoding="utf-8", opener=private) as file:
                file.write("\n".join(map(_written, self.turns)))
        except FileExistsError as error:
            raise BadFileError(
                f"/save: expected the name of a new file, {argument} exists"
            ) from error
        except OSError as error:
            raise BadFileError(f"/save: cannot write {argument}: {error.strerror}") from error
        self._saved.add(path)
        return f"{len(self.turns)} turns saved in {argument}"


def _written(turn: Turn) -> str:
    asked = "\n".join(f"> {clean_line(line)}" for line in turn.question.splitlines())
    return f"{asked}\n\n{clean_line(turn.answer)}\n\n({turn.how})\n"


def _contrast_without_context(contrast: float) -> UsageError:
    return UsageError(
        f"contrast {contrast:g} needs a context to compare with, and there is none",
        remedy="Give a context first: /context FILE, or --context FILE",
    )
