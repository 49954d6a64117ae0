"""What a typed line is: a question, or a command."""

from dataclasses import dataclass

from common.errors import UsageError

COMMANDS = {
    "weight": ("W", "David's share, 0 to 1"),
    "contrast": ("A", "how much the context is stressed, 0 or more"),
    "context": ("FILE", "private text file, which David alone reads; off for none"),
    "seed": ("N", "seed of all noise; random draws one for each answer"),
    "steps": ("N", "denoising steps of a block"),
    "temperature": ("T", "0 is greedy"),
    "memory": ("N", "turns that are sent along with a question"),
    "save": ("FILE", "write the conversation, without contexts"),
    "retry": ("", "ask the last question again"),
    "new": ("", "forget the conversation"),
    "help": ("", "this list"),
    "quit": ("", "leave; Ctrl-D leaves too"),
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
    shapes = {
        f"/{name} {argument}".rstrip(): meaning for name, (argument, meaning) in COMMANDS.items()
    }
    width = max(map(len, shapes))
    return "\n".join(f"{shape:<{width}}  {meaning}" for shape, meaning in shapes.items())
