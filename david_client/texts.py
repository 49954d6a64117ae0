"""Texts from the command line and from files, checked before anything heavy is loaded."""

import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import BadDataError, BadFileError
from common.text.lines import decoded

MAX_TEXT_BYTES = 2**22
"""Longest text that is read; far above what any model takes."""
_SHOWN = 5


def read_prompt(argument: str) -> str:
    """The prompt; "-" reads standard input.

    Raises:
        BadDataError: it is empty, binary or not UTF-8.
    """
    if argument == "-":
        argument = decoded(sys.stdin.buffer.read(MAX_TEXT_BYTES), "standard input")
    else:
        argument = _typed(argument, "the prompt")
    if not argument.strip():
        raise BadDataError(
            "the prompt is empty: expected some text", remedy="Write a question or an instruction"
        )
    return argument


def read_suffix(argument: str | None) -> str:
    """The text that the answer leads into; empty where none is given.

    Raises:
        BadDataError: one is given and is blank, or not UTF-8.
    """
    if argument is None:
        return ""
    text = _typed(argument, "the suffix")
    if not text.strip():
        raise BadDataError(
            "the suffix is empty: expected some text", remedy="Write some, or leave --suffix out"
        )
    return text


def read_context(path: Path) -> str:
    """The private text of a file.

    Raises:
        BadFileError: it is missing, empty, too large, binary or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise BadFileError(
            f"context: cannot read {path}: {error.strerror}",
            remedy="Give --context the path of a text file",
        ) from error
    if len(data) > MAX_TEXT_BYTES:
        raise BadFileError(
            f"context: expected at most {MAX_TEXT_BYTES} bytes in {path}, got more",
            remedy="Give the part that matters",
        )
    try:
        text = decoded(data, f"the context in {path}")
    except BadDataError as error:
        raise BadFileError(error.message, remedy=error.remedy) from error
    if not text.strip():
        raise BadFileError(
            f"the context in {path} is empty", remedy="Put text into it, or leave --context out"
        )
    return text


def unknown_note(name: str, unknown: Sequence[str]) -> str | None:
    """A warning about what the vocabulary cannot write; None when there is nothing."""
    if not unknown:
        return None
    some = ", ".join(dict.fromkeys(unknown[:_SHOWN]))
    more = ", ..." if len(unknown) > _SHOWN else ""
    return (
        f"warning: {len(unknown)} pieces of the {name} are not in the vocabulary and are read as "
        f"unknown: {some}{more}"
    )


def _typed(argument: str, name: str) -> str:
    # What the shell could not decode comes as lone surrogates.
    return decoded(argument.encode("utf-8", "surrogateescape"), name)
