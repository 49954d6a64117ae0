"""What a typed line is: a question, or a command."""

from dataclasses import dataclass
from textwrap import fill

from common.denoising.settings import settings_of
from common.errors import UsageError
from david_client.settings import DavidSettings

_KNOWN = {one.name: f"{known.help}, {known.range}" for one, known in settings_of(DavidSettings)}

COMMANDS = {
    "weight": ("W", _KNOWN["weight"]),
    "contrast": ("A", _KNOWN["contrast"]),
    "context": ("FILE", "Private text file, which David alone reads; off for none"),
    "seed": ("N", f"{_KNOWN['seed']}; random draws one for each answer"),
    "steps": ("N", _KNOWN["steps"]),
    "temperature": ("T", _KNOWN["temperature"]),
    "memory": ("N", _KNOWN["memory"]),
    "save": ("FILE", "Write the conversation, without contexts"),
    "retry": ("", "Ask the last question again"),
    "new": ("", "Forget the conversation"),
    "help": ("", "This list"),
    "quit": ("", "Leave; Ctrl-D leaves too"),
}
"""Name of each command: its argument, and what it does."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question."""

    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """One of the commands."""

    name: str
    argument: str
    """Without blanks around it; empty where none was typed."""


def parse(line: str) -> Asked | Command | None:
    """What a line says; None for a blank one. `//text` asks the question `/text`.

    Raises:
        UsageError: a command that is none, or an argument where none belongs.
    """
    text = line.strip()
    if not text:
        return None
    if text.startswith("//"):
        return Asked(text[1:])
    if not text.startswith("/"):
        return Asked(text)
    name, argument = (*text[1:].split(maxsplit=1), "", "")[:2]
    if name not in COMMANDS:
        raise UsageError(
            f"expected a command, got /{name}",
            remedy="/help lists them; a question that begins with / is written //",
        )
    if argument and not COMMANDS[name][0]:
        raise UsageError(f"/{name} takes nothing after it, got {argument!r}")
    return Command(name, argument)


def listed() -> str:
    """All commands, a line each."""
    shapes = {f"/{name} {argument}".rstrip(): does for name, (argument, does) in COMMANDS.items()}
    width = max(map(len, shapes))
    return "\n".join(
        fill(does, 78, initial_indent=f"{shape:<{width}}  ", subsequent_indent=" " * (width + 2))
        for shape, does in shapes.items()
    )
