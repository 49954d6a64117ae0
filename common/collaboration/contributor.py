"""David's computation: a small model looks at each step, beside a text that nobody else sees."""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from common.collaboration.codec import MOST_ENTRIES, answer_from, encode
from common.collaboration.contrast import contrasted
from common.collaboration.contribution import Answer, Ask, Contribution
from common.collaboration.settings import Codec
from common.collaboration.timing import Timing
from common.denoising.process import Process, Shown, View
from common.errors import InvalidFrameError


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a contributor's rows become contributions."""

    codec: Codec = Codec.TOPK
    entries: int = MOST_ENTRIES
    """Most entries of a row in the codec topk."""
    reach: float = math.inf
    """How far below the best entry, in logits, entries are sent in the codec topk."""


class Contributor:
    """One David in one session. Steps come in order, those that nobody wants are left out; a model
    conditions on its prediction for the wanted step before, and after a missed one it starts anew.
    """

    def __init__(
        self,
        rows: Callable[[View], Awaitable[Tensor]],
        process: Process,
        prefixes: Sequence[tuple[int, ...]],
        *,
        suffix: tuple[int, ...] = (),
        contrast: float = 0.0,
        encoding: Encoding,
        certify: bool = False,
        timing: Timing | None = None,
    ):
        """Prepare; without a timing every step is wanted.

        Args:
            rows: the small model, (1, open, V) of a view.
            process: the session's process.
            prefixes: what the model reads before the answer: with its context and, with a contrast,
                without it.
            suffix: ids behind the answer.
            contrast: the factor a of `contrasted`; 0 takes the first prefix alone.
            encoding: how rows are written.
            certify: whether rows are kept until the next step, to answer an ask about them.
            timing: which contributions are wanted; None for all.
        """
        self._rows_of = rows
        self._process = process
        self._prefixes = tuple(prefixes)[: 2 if contrast else 1]
        self._suffix = suffix
        self._contrast = contrast
        self._encoding = encoding
        self._certify = certify
        self._timing = timing
        self._own: list[Any] = [None] * len(self._prefixes)
        self._answered: tuple[int, int] | None = None
        self._rows: Tensor | None = None
        self.entries: Counter[int] = Counter()
        """Rows given so far, by the number of their entries."""

    async def contribute(self, shown: Shown) -> Contribution:
        """The contribution to a step."""
        state = shown.state
        if self._answered != (state.block, self._previous(state.step)):
            self._own = [None] * len(self._prefixes)
        passes = []
        for branch, prefix in enumerate(self._prefixes):
            view = View(
                (*prefix, *shown.answer),
                state,
                shown.open,
                self._suffix,
                self._process.condition(state, self._own[branch]),
                self._process.row_temperature(state.step),
            )
            rows = await self._rows_of(view)
            self._own[branch] = self._process.remember(rows)
            passes.append(rows[0])
        self._answered = (state.block, state.step)
        rows = contrasted(passes[0], passes[1], self._contrast) if self._contrast else passes[0]
        self._rows = rows if self._certify else None
        made = encode(
            rows,
            block=state.block,
            step=state.step,
            codec=self._encoding.codec,
            entries=self._encoding.entries,
            reach=self._encoding.reach,
        )
        self.entries.update(made.counts.tolist())
        return made

    def answer(self, ask: Ask) -> Answer:
        """What the last contribution left out of the ids that are asked for, in their range.

        Raises:
            InvalidFrameError: the rows of that step are not kept.
        """
        if self._rows is None or self._answered != (ask.block, ask.step):
            raise InvalidFrameError(
                f"ask: expected one about the last contribution, to {self._answered}, with its "
                f"rows kept; got one about {(ask.block, ask.step)}",
                remedy="Agree on certify, and ask before the next step",
            )
        return answer_from(self._rows, ask)

    def _previous(self, step: int) -> int | None:
        """The wanted step before: between fresh contributions the state changes, but what was last
        made of it is still the best guess, and better than none.
        """
        return step - 1 if self._timing is None else self._timing.previous(step)
