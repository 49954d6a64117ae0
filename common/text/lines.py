"""Text files that people wrote, whatever their editor puts at the beginning and ends lines with."""

import codecs
import io
import json
from pathlib import Path
from typing import Any

from common.errors import BadDataError


def decoded(data: bytes) -> str:
    """The text of bytes in UTF-8, or in UTF-16 with its mark; the mark is no part of the text.

    Raises:
        UnicodeDecodeError: they are neither.
    """
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if marked else "utf-8-sig")


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
        # Only the ends of lines end a line here: str.splitlines also cuts at marks inside a string.
        lines = io.StringIO(decoded(path.read_bytes()), newline=None)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else f"not UTF-8 (byte {error.start})"
        raise BadDataError(
            f"expected a UTF-8 JSONL file at {path}: {why}",
            remedy="Give the path of a text file with one JSON object a line",
        ) from error
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
