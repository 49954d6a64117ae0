"""The loop: a generator that asks for predictions and contributions, and knows no model, thread or
network.

    drive: request = next(loop); then request = loop.send(answer) until StopIteration, whose value
    is the `Result`.

Sources: SSD-LM section 3.4 and Algorithm 2 (re-noising, block by block), SSD-2 section 3 (one
projection after fusion).
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.diffusion import conditioning
from common.diffusion.philox import Stream
from common.diffusion.projection import deciders, greedy, project
from common.diffusion.simplex import Bag, SimplexState
from common.diffusion.terms import FinishReason, SelfConditioning


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
    """0 is greedy."""
    min_p: float
    """In (0, 1]."""
    seed: int
    """uint64."""
    end: int
    """Id that ends an answer."""
    forbidden: tuple[int, ...]
    """Ids that must not appear."""
    self_conditioning: SelfConditioning
    """What the large model conditions on."""

    @property
    def blocks(self) -> int:
        """Blocks of the longest answer."""
        return -(-self.max_tokens // self.block_length)


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
    last = np.empty(0, np.int64)
    decided = np.empty(0, np.uint8)
    for block in range(plan.blocks):
        ids, decided = yield from _denoise_block(plan, fuse, block, finished, last, decided)
        last = ids
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
    return Result(answer, reason, block, len(plan.times) - 1, decided)


def _denoise_block(
    plan: Plan,
    fuse: Fuse,
    block: int,
    finished: Sequence[int],
    last: np.ndarray,
    decided: np.ndarray,
) -> Generator[Predict | Collect, Any, tuple[np.ndarray, np.ndarray]]:
    estimate = np.empty((plan.block_length, 0), np.int64)
    condition: Bag | None = None
    for step, t in enumerate(plan.times):
        state = SimplexState(plan.seed, block, step, t, estimate)
        if plan.self_conditioning is SelfConditioning.ESTIMATE and step:
            condition = conditioning.from_estimate(torch.from_numpy(estimate).unsqueeze(0))
        logits: Tensor = yield Predict(
            state,
            (*plan.prefix, *finished),
            plan.suffix,
            condition,
            last if step == 0 else np.empty(0, np.int64),
            decided,
        )
        fused = fuse(logits, (yield Collect(block, step)))
        if plan.self_conditioning is SelfConditioning.OWN:
            condition = conditioning.from_logits(logits)
        scores = fused.scores.clone()
        scores[..., list(plan.forbidden)] = -torch.inf
        if block == 0:
            scores[..., 0, plan.end] = -torch.inf  # an answer has at least one token
        final = step == len(plan.times) - 1
        ids = greedy(scores) if final else _project(plan, scores, block, step)
        decided = deciders(ids, logits.argmax(-1), fused.david_choice)[0].cpu().numpy()
        estimate = ids[0].cpu().numpy().astype(np.int64)[:, None]
    return estimate[:, 0], decided


def _project(plan: Plan, scores: Tensor, block: int, step: int) -> Tensor:
    stream = Stream([plan.seed], [block], [step], scores.device)
    return project(scores, stream, temperature=plan.temperature, min_p=plan.min_p)
