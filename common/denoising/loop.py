"""The loop: a generator that asks for predictions and fused scores, and knows no process, model,
thread or network.

    drive: request = next(loop); then request = loop.send(answer) until StopIteration, whose value
    is the `Result`.

Sources: SSD-LM section 3.4 and Algorithm 2 (block by block), SSD-2 section 3 (one projection after
fusion).
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.denoising.plan import Decider, FinishReason, Plan
from common.denoising.process import Scored, Shown, View
from common.denoising.sampling import deciders
from common.denoising.streams import Stream


@dataclass(frozen=True, slots=True, eq=False)
class Predict:
    """Asks for the large model's rows, (1, open, V) fp32. Drivers show contributors the step at
    once.
    """

    view: View
    shown: Shown


@dataclass(frozen=True, slots=True)
class Collect:
    """Asks for a step's `Fused`."""

    block: int
    step: int


@dataclass(frozen=True, slots=True)
class Fused:
    """The large model's rows and the contributions, as one."""

    scores: Tensor
    """(1, open, V) fp32 finite scores."""
    david_choice: Tensor | None
    """(1, open) int64 first choices of the contributors; None when none took part."""


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A finished answer."""

    ids: np.ndarray
    """(answer,) int64 ids, without the end token."""
    finish_reason: FinishReason
    block: int
    step: int
    """The last block and step."""
    steps: int
    """Steps that were run, in all blocks."""
    decided: np.ndarray
    """(positions,) uint8 who decided the last block's tokens."""


Requests = Generator[Predict | Collect, Any, Result]


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """A block that ended; by default the one before the first."""

    ids: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    decided: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))
    steps: int = 0


def denoise(plan: Plan, stream: Stream) -> Requests:
    """Generate an answer block by block; finished blocks become context.

    Yields a `Predict`, takes the rows, yields a `Collect`, takes the `Fused`, lets the process
    advance, goes on.
    """
    begun = len(plan.prompt) - plan.given
    text = plan.prompt[:begun]
    before = _Block()
    steps = 0
    for block in range(plan.blocks):
        given = () if block else plan.prompt[begun:]
        before = yield from _denoise_block(plan, stream, block, text, given, before)
        steps += before.steps
        fresh = before.ids[len(given) :]
        ended = np.flatnonzero(np.isin(fresh, plan.ends))
        text = (*text, *given, *(fresh[: ended[0]] if len(ended) else fresh).tolist())
        if len(ended) or len(text) - len(plan.prompt) >= plan.max_tokens:
            break
    length = len(text) - len(plan.prompt)
    whole = len(ended) and length <= plan.max_tokens
    reason = FinishReason.END_TOKEN if whole else FinishReason.MAX_TOKENS
    answer = np.array(text[len(plan.prompt) :][: plan.max_tokens], np.int64)
    return Result(answer, reason, block, before.steps - 1, steps, before.decided)


def _denoise_block(
    plan: Plan,
    stream: Stream,
    block: int,
    text: tuple[int, ...],
    given: tuple[int, ...],
    before: _Block,
) -> Generator[Predict | Collect, Any, _Block]:
    process = plan.process
    state = process.start(block, given, stream)
    finished, decided = before.ids, before.decided
    room = plan.max_tokens + len(plan.prompt) - len(text)
    own = None
    while True:
        opened = process.open(state)
        rows: Tensor = yield Predict(
            View(
                text,
                state,
                opened,
                plan.suffix,
                process.condition(state, own),
                process.row_temperature(state.step),
            ),
            Shown(state, opened, text[len(plan.prompt) :], finished, decided),
        )
        fused: Fused = yield Collect(block, state.step)
        scores = allowed(plan, fused.scores, opened, first=len(given) if block == 0 else None)
        advanced = process.advance(state, Scored(rows, scores, room), stream)
        decided = _decided(decided if state.step else None, advanced.ids, opened, rows, fused)
        if advanced.state is None:
            return _Block(advanced.ids, decided, state.step + 1)
        own = process.remember(rows) if advanced.condition is None else advanced.condition
        state, finished = advanced.state, np.empty(0, np.int64)


def allowed(plan: Plan, scores: Tensor, opened: np.ndarray, *, first: int | None) -> Tensor:
    """A copy of the scores (1, open, V) with -inf at ids that must not appear.

    Args:
        plan: says which.
        scores: fused scores of the open positions.
        opened: (open,) int64 these positions.
        first: the answer's first position, if this is its first block: it has at least one token.
    """
    scores = scores.clone()
    scores[..., list(plan.forbidden)] = -torch.inf
    for row in np.flatnonzero(opened == first) if first is not None else ():
        scores[:, row, list(plan.ends)] = -torch.inf
    return scores


def _decided(
    before: np.ndarray | None, ids: np.ndarray, opened: np.ndarray, rows: Tensor, fused: Fused
) -> np.ndarray:
    """(positions,) uint8 who decided the ids; positions that were not open stay as they were, at
    first `NEITHER`.
    """
    decided = np.full(len(ids), Decider.NEITHER, np.uint8) if before is None else before.copy()
    chosen = torch.from_numpy(ids[opened]).to(rows.device).unsqueeze(0)
    decided[opened] = deciders(chosen, rows.argmax(-1), fused.david_choice)[0].cpu().numpy()
    return decided
