"""The one driver of a session: the loop, the large model and the contributors.

Embedded use, the server and evaluation differ in their contributors alone: models in this process,
the stream of a client, or none.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
from torch import Tensor

from common.collaboration.certification import AskCaps, all_answered, doubts
from common.collaboration.contribution import Answer, Ask, Contribution, Tally, for_open
from common.collaboration.contributor import Contributor
from common.collaboration.fusion import Weighted
from common.collaboration.timing import Timing
from common.denoising.loop import Fused, Predict, Requests, Result, denoise
from common.denoising.plan import FinishReason, Plan
from common.denoising.process import NOTHING, Shown, View
from common.denoising.streams import Stream

_T = TypeVar("_T")
Rows = Callable[[View], Awaitable[Tensor]]
"""The large model: rows (1, open, V) fp32 of a view, such as `Batcher.predict`."""


class TakesPart(Protocol):
    """One contributor, as the driver sees it."""

    @property
    def weight(self) -> float:
        """Share of the contributions; 0 for none."""

    async def begin(self, shown: Shown) -> None:
        """See a step begin; the large model computes after it."""

    async def contribution(self, step: int) -> Contribution | None:
        """What the step in flight fuses; None to go on without."""

    async def answer(self, ask: Ask) -> Answer | None:
        """What the contribution to the step in flight left out; None to go on without."""


class Local:
    """A contributor in this process: nothing of it is ever late."""

    def __init__(self, contributor: Contributor, weight: float, timing: Timing) -> None:
        """Take part with this weight, at the steps that the timing wants."""
        self.weight = weight
        self._contributor = contributor
        self._timing = timing
        self._kept: dict[int, Contribution] = {}

    async def begin(self, shown: Shown) -> None:
        """Compute, where the step's contribution is used."""
        step = shown.state.step
        self._kept = {
            one: kept
            for one, kept in self._kept.items()
            if step and self._timing.awaited(one, step)
        }
        if self._timing.wanted(step):
            self._kept[step] = await self._contributor.contribute(shown)

    async def contribution(self, step: int) -> Contribution | None:
        """The contribution that the step uses, this one's or an earlier one's."""
        return self._kept[self._timing.source(step)]

    async def answer(self, ask: Ask) -> Answer | None:
        """Answer from the rows of the last contribution."""
        return self._contributor.answer(ask)


class Drive:
    """Runs one session to its end."""

    def __init__(
        self,
        plan: Plan,
        rows: Rows,
        contributors: Mapping[str, TakesPart],
        *,
        stream: Stream,
        caps: AskCaps | None = None,
        threads: bool = False,
    ) -> None:
        """Nothing happens before `run`.

        Args:
            plan: what is generated, and how.
            rows: the large model.
            contributors: by id; they are summed in the order of their ids.
            stream: all randomness.
            caps: certify each step, and ask the contributors so much for it; None asks nothing.
            threads: whether fusing and advancing, which read whole rows of the vocabulary, leave
                the event loop to others.
        """
        self.tally = Tally()
        """Where what is left uncertified and what was asked and answered are counted."""
        self._plan = plan
        self._rows = rows
        self._contributors = contributors
        self._stream = stream
        self._caps = caps
        self._threads = threads
        self._ending: FinishReason | None = None
        self._opened: dict[int, np.ndarray] = {}

    def end(self, reason: FinishReason) -> None:
        """End before the next step, with the draft as it stands."""
        self._ending = self._ending or reason

    @property
    def ending(self) -> FinishReason | None:
        """Why the session ends before its end; None while it does not."""
        return self._ending

    async def run(self, on_step: Callable[[Shown], None] = lambda _: None) -> Result:
        """Generate; contributors see a step before the large model computes it.

        Args:
            on_step: sees each step as it begins.
        """
        loop = denoise(self._plan, self._stream)
        request: object = next(loop)
        steps = 0
        while isinstance(request, Predict):
            if self._ending is not None:
                return stopped(self._plan, request, self._ending, steps)
            on_step(request.shown)
            for one in self._contributors.values():
                await one.begin(request.shown)
            rows = await self._rows(request.view)
            loop.send(rows)
            contributions = await self._contributions_to(request.shown)
            if self._ending is not None and len(contributions) < self._waited_for:
                return stopped(self._plan, request, self._ending, steps)
            fused = await self._settled(request.shown, rows, contributions)
            steps += 1
            request = await self._off(partial(_advance, loop, fused))
        assert isinstance(request, Result)
        return request

    @property
    def _waited_for(self) -> int:
        return sum(one.weight > 0 for one in self._contributors.values())

    async def _contributions_to(self, shown: Shown) -> list[Weighted]:
        """The contributions that the step uses, for the positions that are open now."""
        step = shown.state.step
        self._opened = {0: shown.open} if step == 0 else self._opened | {step: shown.open}
        found = {name: await one.contribution(step) for name, one in self._contributors.items()}
        return [
            Weighted(
                name,
                self._contributors[name].weight,
                for_open(contribution, self._opened[contribution.step], shown.open),
            )
            for name, contribution in found.items()
            if contribution is not None
        ]

    async def _settled(
        self, shown: Shown, rows: Tensor, contributions: Sequence[Weighted]
    ) -> Fused:
        """The fused scores of a step, after what was asked is answered."""
        doubt = await self._off(
            partial(doubts, self._plan, rows, contributions, shown=shown, caps=self._caps)
        )
        answers = {}
        for name, ask in doubt.asks.items():
            answer = await self._contributors[name].answer(ask)
            if answer is not None:
                self.tally.count(ask)
                answers[name] = answer
        if answers:
            settled = all_answered(contributions, doubt.asks, answers)
            doubt = await self._off(partial(doubts, self._plan, rows, settled, shown=shown))
        self.tally.uncertified += int(doubt.uncertified.sum())
        return doubt.fused

    async def _off(self, work: Callable[[], _T]) -> _T:
        return await asyncio.to_thread(work) if self._threads else work()


def stopped(plan: Plan, request: Predict, reason: FinishReason, steps: int) -> Result:
    """The draft as it stands before a step, for an end before the end."""
    shown = request.shown
    draft = shown.state.draft.ids[0 if shown.state.block else plan.given :, :1].ravel()
    ids = np.concatenate((np.array(shown.answer, np.int64), draft))
    ended = np.flatnonzero(np.isin(ids, (NOTHING, *plan.ends)))
    ids = ids[: ended[0] if len(ended) else None][: plan.max_tokens]
    return Result(ids, reason, shown.state.block, shown.state.step, steps, shown.decided)


def _advance(loop: Requests, fused: Fused) -> object:
    # StopIteration cannot pass through a future.
    try:
        return loop.send(fused)
    except StopIteration as done:
        return done.value
