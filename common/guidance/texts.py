"""Labelled texts: JSONL lines {"text", "label"} to blocks of ids."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.errors import BadDataError
from common.text.lines import read_objects
from common.text.wordpiece import WordPieceVocabulary

CUT_SHARE = 0.5
SHORTEST = 4
"""Tokens that a text is never cut below."""


@dataclass(frozen=True, slots=True)
class Text:
    """One line of a data file."""

    ids: tuple[int, ...]
    """Without template tokens."""
    label: str


def read_texts(path: Path, vocabulary: WordPieceVocabulary) -> list[Text]:
    """The labelled texts of a file, in its order.

    Raises:
        BadDataError: no UTF-8, no JSON, no such fields, an empty text or label, or no line at all.
    """
    rows = [_row(row, place) for place, row in read_objects(path, kind="texts")]
    ids = vocabulary.encode_batch([text for text, _ in rows])
    return [Text(tuple(i), label) for i, (_, label) in zip(ids, rows, strict=True)]


def _row(row: dict[str, Any], place: str) -> tuple[str, str]:
    match row:
        case {"text": str(text), "label": str(label)} if text.strip() and label.strip():
            return text, label
    raise BadDataError(
        f'{place}: expected {{"text", "label"}}, strings that are not empty, got {str(row)[:80]}',
        remedy="Correct that line",
    )


def check_labels(texts: Iterable[Text], held_out: Iterable[Text]) -> None:
    """Whether a classifier can be trained on the one and measured on the other.

    Raises:
        BadDataError: fewer than two labels, or a held-out label that is never trained.
    """
    known = sorted({text.label for text in texts})
    if len(known) < 2:
        raise BadDataError(
            f"expected texts of at least two labels, got only {', '.join(known)!r}",
            remedy="Add texts that are not so, under a label of their own",
        )
    strange = sorted({text.label for text in held_out} - set(known))
    if strange:
        raise BadDataError(
            f"the held-out file has the label {strange[0]!r}; the data have {', '.join(known)}",
            remedy="Use the same labels in both files",
        )


def blocks_of(
    texts: Sequence[Text],
    vocabulary: WordPieceVocabulary,
    *,
    length: int,
    rng: np.random.Generator | None = None,
) -> Tensor:
    """Ids (texts, length) int64, filled with [END] as an answer's block is.

    With a generator each text is seen from anywhere, since a block may be any of an answer's, and
    half of them are cut short, so that the length says little about the label: a guide that has
    learnt to look at the length would lengthen or shorten answers. Without one it is its beginning.
    """
    rows = []
    for text in texts:
        ids = text.ids
        if rng is not None:
            begin = int(rng.integers(max(1, len(ids) - length // 2)))
            ids = ids[begin : begin + length]
            if rng.random() < CUT_SHARE:
                ids = ids[: int(rng.integers(min(SHORTEST, len(ids)), len(ids) + 1))]
        rows.append((*ids, *(vocabulary.end,) * length)[:length])
    return torch.tensor(rows)
