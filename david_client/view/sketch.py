"""Sketches: what is seen of a draft at a step, as plain data that a terminal and a trace share."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from common.denoising.plan import Decider

if TYPE_CHECKING:
    from common.text.detokenising import Printed
    from david_client.reply import Draft, Reply


class Words(Protocol):
    """What turns ids into text."""

    def printed(self, ids: Sequence[int]) -> "Printed":
        """Text for reading, with the place of each id before the first end token."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the block that takes shape."""

    begin: int
    """Where it begins in the text, in characters."""
    end: int
    decider: Decider | None
    """Whose first choice it was when it came; None where nobody knows."""
    changed: bool
    """Whether it was another word a step before."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """What is seen of a draft."""

    block: int
    blocks: int
    """Blocks of the longest answer."""
    step: int
    steps: int
    """Steps of a block; `step` is `steps` when the answer is there."""
    t: float
    """Time of the step, in (0, 1]; 0 when the answer is there."""
    weight: float
    """David's share."""
    text: str
    """The answer so far, finished blocks included."""
    words: tuple[Word, ...]
    """Words of this block, where something is known of them; in the order of the text."""
    noise: int = 0
    """Positions that are still pure noise."""
    ended: bool = False
    """Whether an end token stands after the text, in a draft."""
    seconds: float = 0.0
    """Since the answer was begun."""
    bytes_up: int = 0
    """Sent so far; 0 when both models are in one process."""
    bytes_down: int = 0
    title: str = ""
    """What is being made, when there is more than one answer."""
    suffix: str = ""
    """Text that stands after the answer."""

    @property
    def finished(self) -> bool:
        """Whether this is the answer."""
        return self.step == self.steps


def decider_of(deciders: Sequence[int]) -> Decider | None:
    """Who decided a word of several pieces: it was somebody's first choice if all pieces were.

    A piece that was both's first choice was also either's, so a piece of Goliath's and one of both
    make a word of Goliath's, and one of Goliath's and one of David's a word of neither.
    """
    if not deciders or 0 in deciders:
        return None
    # CORE is 1, DAVID 2 and BOTH both bits; NEITHER has none of them.
    shared = Decider.BOTH.value
    for decider in deciders:
        shared &= decider
    return Decider(shared) if shared else Decider.NEITHER


def sketch_draft(
    draft: "Draft",
    words: Words,
    *,
    origins: Sequence[int],
    changed: Sequence[int],
    seconds: float,
    title: str,
    suffix: str,
) -> Sketch:
    """What is seen of a draft.

    Args:
        draft: the answer as a step begins.
        words: the vocabulary.
        origins: who brought in the token of each position of the block, 0 for unknown.
        changed: positions of the block that hold another token than a step before.
        seconds: since the answer was begun.
        title: what is being made.
        suffix: text after the answer.
    """
    ids = () if draft.estimate is None else tuple(draft.estimate.tolist())
    shown = words.printed((*draft.finished, *ids))
    return Sketch(
        block=draft.block,
        blocks=draft.settings.blocks,
        step=draft.step,
        steps=draft.settings.steps,
        t=draft.t,
        weight=draft.weight,
        text=shown.text,
        words=_marked(shown, len(draft.finished), origins, changed),
        noise=0 if ids else draft.settings.block_length,
        ended=len(shown.spans) < len(draft.finished) + len(ids),
        seconds=seconds,
        bytes_up=draft.bytes_up,
        bytes_down=draft.bytes_down,
        title=title,
        suffix=suffix,
    )


def sketch_reply(
    reply: "Reply",
    words: Words,
    *,
    block: int,
    origins: Sequence[int],
    seconds: float,
    title: str,
    suffix: str,
) -> Sketch:
    """What is seen of an answer: all its words are marked.

    Args:
        reply: the answer.
        words: the vocabulary.
        block: the last block.
        origins: who brought in each of its tokens, 0 for unknown.
        seconds: since the answer was begun.
        title: what was made.
        suffix: text after the answer.
    """
    settings = reply.settings
    shown = words.printed(reply.ids)
    return Sketch(
        block=block,
        blocks=max(settings.blocks, block + 1),
        step=settings.steps,
        steps=settings.steps,
        t=0.0,
        weight=reply.weight,
        text=shown.text,
        words=_marked(shown, 0, origins, ()),
        seconds=seconds,
        bytes_up=reply.bytes_up,
        bytes_down=reply.bytes_down,
        title=title,
        suffix=suffix,
    )


def _marked(
    shown: "Printed", first: int, origins: Sequence[int], changed: Sequence[int]
) -> tuple[Word, ...]:
    """The words of the pieces from `first` on, which is where `origins` and `changed` begin."""
    moved = set(changed)
    seen = []
    for _, group in itertools.groupby(range(first, len(shown.spans)), key=shown.words.__getitem__):
        pieces = list(group)
        deciders = [origins[i - first] if i - first < len(origins) else 0 for i in pieces]
        seen.append(
            Word(
                shown.spans[pieces[0]][0],
                shown.spans[pieces[-1]][1],
                decider_of(deciders),
                any(i - first in moved for i in pieces),
            )
        )
    return tuple(seen)
