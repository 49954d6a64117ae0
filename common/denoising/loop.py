"""The loop: a generator that asks for predictions and contributions, and knows no model, thread or
network.

    drive: request = next(loop); then request = loop.send(answer) until StopIteration, whose value
    is the `Result`.

Sources: SSD-LM section 3.4 and Algorithm 2 (re-noising, block by block), SSD-2 section 3 (one
projection after fusion).
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.denoising.halting import HaltRule, Standstill, counted, follow, halts
from common.denoising.sampling import (
    Candidates,
    best_candidates,
    deciders,
    greedy,
    project,
)
from common.denoising.streams import Stream
from common.processes.simplex import conditioning
from common.processes.simplex.schedule import times_at
from common.processes.simplex.signal import FusedSignal
from common.processes.simplex.state import Bag, SimplexState
from common.processes.simplex.terms import (
    MAX_HOT,
    FinishReason,
    Projection,
    SelfConditioning,
    draw_of,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a generation depends on beside the models; one for each session."""

    prefix: tuple[int, ...]
    """Canonical prompt ids, template tokens included."""
    suffix: tuple[int, ...]
    """Ids after the block; empty for none."""
    times: tuple[float, ...]
    """Time of each step, 1 first, falling, all above 0."""
    block_length: int
    """Positions generated together."""
    max_tokens: int
    """Longest answer, in tokens; the last block is cut to it."""
    temperature: float
    """What the models' logits are divided by, but for the state's likelihood; 0 takes them as they
    are and projects greedily.
    """
    min_p: float
    """In (0, 1]."""
    seed: int
    """uint64."""
    end: int
    """Id that ends an answer."""
    forbidden: tuple[int, ...]
    """Ids that must not appear."""
    self_conditioning: SelfConditioning
    """What the models condition on."""
    projection: Projection = Projection.SAMPLE
    """How scores become the next estimate; the answer is greedy in any case."""
    halting: HaltRule = field(default_factory=HaltRule)
    """When a block ends before its last step."""
    halting_steps: frozenset[int] | None = None
    """Steps at which it may; None for all."""
    ramp: float = 0.0
    """Steepness of the ramp of times from the first position to the last; 0 for none."""
    top_p: float = 1.0
    """Share of the candidates' mass that is drawn from, or hot, the best first, in (0, 1]."""
    no_repeat: int = 0
    """Tokens of a run that is not drawn twice in a block; 0: all may be."""

    @property
    def tempering(self) -> float:
        """What the models' logits are divided by."""
        return self.temperature or 1.0

    @property
    def draw(self) -> float:
        """Temperature of the projection: the scores are tempered already."""
        return draw_of(self.temperature)

    @property
    def blocks(self) -> int:
        """Blocks of the longest answer."""
        return -(-self.max_tokens // self.block_length)

    def state(self, block: int, step: int, estimate: np.ndarray) -> SimplexState:
        """The state of a step, from the estimate (block_length, h) of the one before."""
        times = times_at(self.times, step, steepness=self.ramp, positions=self.block_length)
        return SimplexState(self.seed, block, step, self.times[step], estimate, times)


@dataclass(frozen=True, slots=True, eq=False)
class Predict:
    """Asks for the large model's logits, (1, block_length, V) fp32. Drivers show contributors the
    state at once.
    """

    state: SimplexState
    prefix: tuple[int, ...]
    """Prompt ids and the ids of finished blocks."""
    suffix: tuple[int, ...]
    condition: Bag | None
    """Self-conditioning with batch 1; None for none."""
    finished: np.ndarray
    """(block_length,) int64 ids of the block just ended at step 0 of a later block, else empty."""
    decided: np.ndarray
    """(block_length,) uint8 who decided the step before; empty at the first step."""
    signal: FusedSignal | None = None
    """What contributors condition on as well, with the self-conditioning fused; else None."""
    temperature: float = 1.0
    """What the network's logits are divided by, above 0."""


@dataclass(frozen=True, slots=True)
class Collect:
    """Asks for what `fuse` takes beside the logits: the contributions to this step."""

    block: int
    step: int


@dataclass(frozen=True, slots=True)
class Fused:
    """What `fuse` gives back."""

    scores: Tensor
    """(1, block_length, V) fp32 finite scores."""
    david_choice: Tensor | None
    """(1, block_length) int64 first choices of the contributors; None when none took part."""


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
    """(block_length,) uint8 who decided the last block's tokens."""


Fuse = Callable[[Tensor, Any], Fused]
Requests = Generator[Predict | Collect, Any, Result]


def denoise(plan: Plan, fuse: Fuse) -> Requests:
    """Generate an answer block by block; finished blocks become context.

    Yields a `Predict`, takes the logits, yields a `Collect`, takes the contributions, fuses,
    projects, goes on. The answer is the greedy projection of the last fused scores: nothing is re-
    noised after it.
    """
    finished: tuple[int, ...] = ()
    before = _Block()
    steps = 0
    for block in range(plan.blocks):
        before = yield from _denoise_block(plan, fuse, block, finished, before)
        steps += before.steps
        ids = before.ids
        ended = np.flatnonzero(ids == plan.end)
        finished = (*finished, *(ids[: ended[0]] if len(ended) else ids).tolist())
        if len(ended) or len(finished) >= plan.max_tokens:
            break
    reason = (
        FinishReason.END_TOKEN
        if len(ended) and len(finished) <= plan.max_tokens
        else FinishReason.MAX_TOKENS
    )
    answer = np.array(finished[: plan.max_tokens], np.int64)
    return Result(answer, reason, block, before.steps - 1, steps, before.decided)


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """A block that ended; by default the one before the first."""

    ids: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    decided: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))
    steps: int = 0


def _denoise_block(
    plan: Plan, fuse: Fuse, block: int, finished: tuple[int, ...], before: _Block
) -> Generator[Predict | Collect, Any, _Block]:
    estimate = np.empty((plan.block_length, 0), np.int64)
    decided = before.decided
    condition: Bag | None = None
    signal: FusedSignal | None = None
    still: Standstill | None = None
    for step in range(len(plan.times)):
        state = plan.state(block, step, estimate)
        logits: Tensor = yield Predict(
            state,
            (*plan.prefix, *finished),
            plan.suffix,
            condition,
            before.ids if step == 0 else np.empty(0, np.int64),
            decided,
            signal,
            plan.tempering,
        )
        fused = fuse(logits, (yield Collect(block, step)))
        scores = allowed(plan, fused.scores, first=block == 0)
        best = _best(plan, scores)
        ended = step == len(plan.times) - 1
        if best is not None and plan.halting.patience:
            choices = best.ids[0, :, 0].cpu().numpy()
            room = plan.max_tokens - len(finished)
            still = follow(still, counted(choices, end=plan.end, room=room), state.noisiest)
            may_end = plan.halting_steps is None or step in plan.halting_steps
            ended |= may_end and halts(plan.halting, still, best.leads()[0].cpu().numpy())
        ids = greedy(scores)[..., None] if ended else _project(plan, scores, best, block, step)
        decided = deciders(ids[..., 0], logits.argmax(-1), fused.david_choice)[0].cpu().numpy()
        estimate = ids[0].cpu().numpy()
        if ended:
            break
        signal, condition = _told(plan, logits, best, estimate)
    return _Block(estimate[:, 0], decided, step + 1)


def allowed(plan: Plan, scores: Tensor, *, first: bool) -> Tensor:
    """A copy of the scores with -inf at ids that must not appear; `first` is whether this is the
    first block.
    """
    scores = scores.clone()
    scores[..., list(plan.forbidden)] = -torch.inf
    if first:
        scores[..., 0, plan.end] = -torch.inf  # an answer has at least one token
    return scores


def reads_candidates(plan: Plan, step: int) -> bool:
    """Whether anything of this step depends on all candidates, and not on the best one alone."""
    if step == len(plan.times) - 1:
        return False
    return _reads_best(plan) or (plan.temperature > 0 and plan.min_p < 1)


def draws_alone(plan: Plan, step: int) -> bool:
    """Whether of a step's candidates nothing is read but the tokens drawn from them."""
    return reads_candidates(plan, step) and not _reads_best(plan)


def _reads_best(plan: Plan) -> bool:
    """Whether anything of the plan reads the best candidates and their scores."""
    return (
        plan.projection is Projection.MULTI_HOT
        or plan.self_conditioning is SelfConditioning.FUSED
        or plan.halting.patience > 0
    )


def _best(plan: Plan, scores: Tensor) -> Candidates | None:
    """The best candidates; None where nothing of the plan reads them."""
    if not _reads_best(plan):
        return None
    most = max(MAX_HOT, conditioning.TOP)
    return best_candidates(scores, temperature=plan.draw, min_p=plan.min_p, most=most)


def _project(plan: Plan, scores: Tensor, best: Candidates | None, block: int, step: int) -> Tensor:
    """The estimate, (1, block_length, h) int64."""
    if best is not None and plan.projection is Projection.MULTI_HOT:
        return best.hot(most=MAX_HOT, top_p=plan.top_p)
    return drawn(plan, scores, block, step).unsqueeze(-1)


def drawn(plan: Plan, scores: Tensor, block: int, step: int) -> Tensor:
    """The tokens that a step draws of scores (1, block_length, V) fp32: (1, block_length) int64."""
    return project(
        scores,
        Stream([plan.seed], [block], [step], scores.device),
        temperature=plan.draw,
        min_p=plan.min_p,
        top_p=plan.top_p,
        no_repeat=plan.no_repeat,
        end=plan.end,
    )


def _told(
    plan: Plan, logits: Tensor, best: Candidates | None, estimate: np.ndarray
) -> tuple[FusedSignal | None, Bag]:
    """What contributors and the large model condition on at the next step."""
    if plan.self_conditioning is SelfConditioning.OWN:
        return None, conditioning.from_logits(logits)
    if plan.self_conditioning is SelfConditioning.ESTIMATE:
        return None, conditioning.from_estimate(torch.from_numpy(estimate).unsqueeze(0))
    assert best is not None
    signal = conditioning.fused_signal(best)
    return signal, conditioning.from_signal(signal)
