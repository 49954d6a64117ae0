"""Answers of `david batch` kept in a file, so that a run that was ended goes on where it was."""

import hashlib
import json
from pathlib import Path
from typing import Any

from common.errors import BadDataError, BadFileError
from common.program.files import private
from david_client.chat.pipe import Pipe

_BEGINNING = b'{"text": '
"""Of every answer: a half-written line that does not begin so was not written here."""


def digest(line: str) -> str:
    """SHA-256, hex, of a line that asks."""
    return hashlib.sha256(line.strip().encode()).hexdigest()


def pass_over(lines: Pipe, path: Path) -> int:
    """Read past the lines that a file has answers to; a half-written last answer is removed.

    Args:
        lines: the questions, from their beginning.
        path: the file, which is made if there is none.

    Returns:
        How many lines were read.

    Raises:
        BadFileError: the file cannot be used, or holds something else.
        BadDataError: a line is not the one that was answered.
    """
    number, line = 0, None
    for answered, asked in _answered(path):
        while number < answered:
            number, line = number + 1, lines.read()
            if line is None:
                break
        if line is None or digest(line) != asked:
            raise BadDataError(
                f"line {answered} of the questions is not the one that {path} has an answer to",
                remedy="Give the same questions again, or another file to --resume",
            )
    return number


def keep(path: Path, record: dict[str, Any]) -> None:
    """Append an answer to the file.

    Raises:
        BadFileError: it cannot be written.
    """
    try:
        with open(path, "ab", opener=private) as file:
            file.write(json.dumps(record).encode() + b"\n")
    except OSError as error:
        raise BadFileError(
            f"cannot write {path}: {error.strerror}",
            remedy="Make room there, then give the same command again",
        ) from error


def _answered(path: Path) -> list[tuple[int, str]]:
    """Number and digest of each line that has an answer."""
    try:
        with open(path, "a+b", opener=private) as file:
            if not path.is_file():
                raise ValueError
            file.seek(0)
            *whole, rest = file.read().split(b"\n")
            if rest[: len(_BEGINNING)] != _BEGINNING[: len(rest)]:
                raise ValueError
            records = [json.loads(line) for line in whole]
            found = [(int(one["line"]), str(one["input_sha256"])) for one in records]
            file.truncate(file.tell() - len(rest))
    except OSError as error:
        raise BadFileError(
            f"cannot use {path}: {error.strerror}", remedy="Give --resume a file of its own"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadFileError(
            f"{path} holds something else than answers of david batch",
            remedy="Give --resume a new file, or one that this command wrote",
        ) from error
    return found
