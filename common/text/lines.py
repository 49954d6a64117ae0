"""Text files that people wrote, whatever their editor puts at the beginning and ends lines with."""

import codecs
import io
import json
from pathlib import Path
from typing import Any

from common.errors import BadDataError


def decoded(data: bytes, name: str) -> str:
    """A text in UTF-8, or in UTF-16 where it begins with that encoding's mark, without the mark.

    Args:
        data: the bytes.
        name: what an error calls them.

    Raises:
        BadDataError: they are in neither, or binary.
    """
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding, name_of_it = ("utf-16", "UTF-16") if utf_16 else ("utf-8-sig", "UTF-8")
    if "\0" in data.decode(encoding, "replace"):
        raise BadDataError(
            f"{name} is binary: it holds a NUL character", remedy="Give a text, saved as UTF-8"
        )
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadDataError(
            f"{name} is not {name_of_it} (byte {error.start})", remedy="Save or type it as UTF-8"
        ) from error


def read_objects(
    path: Path, *, limit: int | None = None, kind: str = "records"
) -> list[tuple[str, dict[str, Any]]]:
    """The JSON objects of a file, one a line, each with its place, "FILE:LINE"; blank lines are
    passed over.

    Args:
        path: a text file.
        limit: read no more than so many; None reads all.
        kind: what an error calls them.

    Raises:
        BadDataError: it cannot be read, a line is no JSON object, or there is none.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadDataError(
            f"expected a JSONL file at {path}: {error.strerror}",
            remedy="Give the path of a text file with one JSON object a line",
        ) from error
    # Only the ends of lines end a line here: str.splitlines also cuts at marks inside a string.
    lines = io.StringIO(decoded(data, str(path)), newline=None)
    found: list[tuple[str, dict[str, Any]]] = []
    for number, line in enumerate(lines, 1):
        if len(found) == limit:
            break
        text = line.strip().removeprefix("\ufeff")  # of a file that was joined to another
        if not text:
            continue
        try:
            row = json.loads(text)
            json.dumps(row, ensure_ascii=False).encode()  # JSON can write halves of a character
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise BadDataError(
                f"{path}:{number}: expected a JSON object, got {text[:80]!r}",
                remedy="Give one JSON object a line",
            )
        found.append((f"{path}:{number}", row))
    if not found:
        raise BadDataError(f"{path} holds no {kind}", remedy="Give one JSON object a line")
    return found
