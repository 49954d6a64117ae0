"""The answers of a quality run, with their scores: kept in a file, so that a run can go on."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.errors import BadFileError, UsageError
from common.program.saving import append


@dataclass(frozen=True, slots=True)
class Cell:
    """One line of the table."""

    data: str
    """Name of the questions."""
    system: str
    """"goliath", "david", "pair", "contrast", "real" or "shuffled"."""
    steps: int
    """Denoising steps of a block; 0 for texts that nothing was generated for."""


@dataclass(frozen=True, slots=True)
class Row:
    """One answer."""

    data: str
    system: str
    steps: int
    question: str
    """Hash that names the question."""
    text: str
    nats: float
    """The judge's negative log-likelihood of the answer."""
    tokens: int
    """Its tokens in the judge's vocabulary; 0 for an empty answer."""

    @property
    def cell(self) -> Cell:
        """The line of the table that it belongs to."""
        return Cell(self.data, self.system, self.steps)


class Answers:
    """Rows by cell and question; new ones are also appended to a file, each as it comes."""

    def __init__(self, path: Path | None = None, rows: Iterable[Row] = ()):
        """Start with these rows; new ones are appended to the file, if one is given."""
        self._path = path
        self._rows = {(row.cell, row.question): row for row in rows}

    def get(self, cell: Cell, question: str) -> Row | None:
        """The row, if there is one."""
        return self._rows.get((cell, question))

    def add(self, rows: Iterable[Row]) -> None:
        """Keep rows, in the file too, at once.

        Raises:
            UsageError, BadFileError: the file cannot be written.
        """
        new = {(row.cell, row.question): row for row in rows}
        self._rows |= new
        if self._path:
            lines = (json.dumps(asdict(row), ensure_ascii=False) for row in new.values())
            append(self._path, "".join(line + "\n" for line in lines))


def resume(path: Path, run: dict[str, Any]) -> Answers:
    """The answers of a file, which is made if there is none; new ones will be appended.

    Args:
        path: a JSONL file: what the run is, then one row a line. A last line that was cut off goes.
        run: all that an answer depends on beside its cell and question, as JSON.

    Raises:
        BadFileError: the file cannot be read or written, or is not such a file.
        UsageError: its answers were made by another run.
    """
    try:
        held = path.read_bytes() if path.exists() else b""
        whole = held[: held.rfind(b"\n") + 1]
        rows = _parse(path, whole.decode("utf-8"), run) if whole else []
        if len(whole) < len(held):
            os.truncate(path, len(whole))
    except (OSError, UnicodeDecodeError) as error:
        raise BadFileError(
            f"cannot use {path} to resume: {error}", remedy="Give --resume a file of its own"
        ) from error
    if not whole:
        append(path, json.dumps({"run": run}, ensure_ascii=False) + "\n")
    return Answers(path, rows)


def _parse(path: Path, text: str, run: dict[str, Any]) -> list[Row]:
    head, *lines = text.removesuffix("\n").split("\n")
    try:
        theirs = json.loads(head)["run"]
        rows = [_row(json.loads(line)) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise BadFileError(
            f"expected answers of an earlier run in {path}, got something else",
            remedy="Give --resume a new file, or one that this command wrote",
        ) from error
    if theirs != run:
        theirs = theirs if isinstance(theirs, dict) else {}
        other = ", ".join(key for key in run if theirs.get(key) != run[key])
        raise UsageError(
            f"the answers in {path} were made otherwise ({other or 'more settings'} differ)",
            remedy="Give --resume a new file, or the settings of that run",
        )
    return rows


def _row(record: dict[str, Any]) -> Row:
    row = Row(**record)
    strings = (row.data, row.system, row.question, row.text)
    numbers = (row.steps, row.nats, row.tokens)
    if not all(isinstance(s, str) for s in strings):
        raise TypeError(f"expected texts, got {strings!r}")
    if not all(isinstance(n, int | float) for n in numbers):
        raise TypeError(f"expected numbers, got {numbers!r}")
    return row
