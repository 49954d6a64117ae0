"""An answer between the texts around it: the spaces and capitals that print has there."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from common.text.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Joint:
    """An answer as it stands between `before` and `after`, which read
    `before.rstrip() + left + text + right + after.lstrip()`.
    """

    left: str
    """White space before the answer."""
    text: str
    right: str
    """White space after it; all of `after` when that is blank."""


def join(vocabulary: Vocabulary, ids: Iterable[int], *, before: str = "", after: str = "") -> Joint:
    """Set an answer between texts that stay as they were written.

    A line break that was written stays. A written space stays unless the answer's own punctuation
    goes without it; where nothing was written the reading rules decide.

    Args:
        vocabulary: what the ids are of.
        ids: the answer; it is cut at the first [END].
        before: text that it follows.
        after: text that follows it.
    """
    head = vocabulary.encode(before).ids
    answer = tuple(takewhile(lambda i: i not in vocabulary.ends, ids))
    tail = vocabulary.encode(after).ids
    shown = vocabulary.printed((*head, *answer, *tail))
    begin, end = len(head), len(head) + len(answer)
    written = before[len(before.rstrip()) :], after[: len(after) - len(after.lstrip())]
    if not answer:
        seam = max(written, key=lambda space: (space.count("\n"), len(space)))
        right = _space(seam, _between(shown.spans, begin), own=True)
        return Joint("", "", right if head and tail else written[1])
    text = shown.text[shown.spans[begin][0] : shown.spans[end - 1][1]]
    first = vocabulary.pieces(answer[:1])[0]
    left = _space(written[0], _between(shown.spans, begin), own=not first.isalnum())
    right = _space(written[1], _between(shown.spans, end), own=not text[-1:].isalnum())
    return Joint(left if head else written[0], text, right if tail else written[1])


def joined(vocabulary: Vocabulary, ids: Iterable[int], *, after: str) -> str:
    """An answer and the text that follows it, as one text."""
    joint = join(vocabulary, ids, after=after)
    return joint.text + joint.right + after.lstrip()


def _between(spans: Sequence[tuple[int, int]], index: int) -> bool:
    """Whether print has a space before the piece of this index."""
    return 0 < index < len(spans) and spans[index - 1][1] < spans[index][0]


def _space(written: str, printed: bool, *, own: bool) -> str:
    """White space at a seam, from what was written and what print has; `own` says that the answer
    meets the seam with a mark or the rest of a word.
    """
    if "\n" in written:
        return written
    if not printed and (own or not written):
        return ""
    return written or " "
