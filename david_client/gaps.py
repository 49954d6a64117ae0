"""Gaps in a text: `[[...]]` is to be filled, `[[...12]]` with at most 12 tokens."""

import re
from dataclasses import dataclass
from itertools import chain, zip_longest

from common.errors import BadDataError

MOST_TOKENS = 2**20
"""Largest cap of a gap, in tokens."""
_MARKER = re.compile(r"\[\[\.\.\.([^\[\]]*)\]\]")
_CAP = re.compile(r"0*([1-9][0-9]{0,6})")
_REMEDY = "Write [[...]], or [[...12]] for at most 12 tokens; --literal reads the prompt as it is"


@dataclass(frozen=True, slots=True)
class Gap:
    """One gap."""

    marker: str
    """As it was written."""
    most_tokens: int | None
    """Its own cap; None for none."""


@dataclass(frozen=True, slots=True)
class Gapped:
    """A text with gaps."""

    texts: tuple[str, ...]
    """What stands around the gaps, verbatim: one text more than there are gaps."""
    gaps: tuple[Gap, ...] = ()


def split_gaps(text: str) -> Gapped:
    """The gaps of a text and what stands around them; `join_gaps` undoes it.

    Raises:
        BadDataError: a gap with a cap that is none, or inside another gap.
    """
    gaps: list[Gap] = []
    texts: list[str] = []
    end = 0
    for found in _MARKER.finditer(text):
        texts.append(text[end : found.start()])
        gaps.append(Gap(found[0], _cap(found)))
        end = found.end()
    texts.append(text[end:])
    # Without the inner gaps, one around them would be found.
    if _MARKER.search("".join(texts)):
        raise BadDataError(
            "the prompt has a gap inside another one: expected gaps side by side", remedy=_REMEDY
        )
    return Gapped(tuple(texts), tuple(gaps))


def join_gaps(gapped: Gapped) -> str:
    """The text with its gaps as they were written."""
    markers = (gap.marker for gap in gapped.gaps)
    return "".join(chain.from_iterable(zip_longest(gapped.texts, markers, fillvalue="")))


def check_beginning(gapped: Gapped) -> None:
    """Refuse a text that begins with a gap: an answer needs a prompt.

    Raises:
        BadDataError: it is so.
    """
    if gapped.gaps and not gapped.texts[0].strip():
        raise BadDataError(
            f"the prompt begins with a gap: expected some text before {gapped.gaps[0].marker}",
            remedy="Begin with a few words, or with what the text shall be: "
            '"A recipe for soup. [[...]] Serve hot."',
        )


def _cap(found: re.Match[str]) -> int | None:
    if not found[1]:
        return None
    number = _CAP.fullmatch(found[1])
    if number is None or int(number[1]) > MOST_TOKENS:
        raise BadDataError(
            f"the gap {found[0][:40]} at character {found.start()}: expected a number of tokens "
            f"from 1 to {MOST_TOKENS} after the dots, or nothing",
            remedy=_REMEDY,
        )
    return int(number[1])
