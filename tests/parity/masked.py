"""Masked diffusion: LLaDA, Dream, SDAR and LLaDA2.1 at temperature 0, with their own settings."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.denoising.process import NOTHING, Advanced, Draft, Scored
from common.denoising.streams import Purpose, Stream


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """A block of settled ids and masks."""

    block: int
    step: int
    draft: Draft
    given: int
    """Its first ids are the prompt's."""
    full: int = 0
    """Steps that began without a mask."""

    @property
    def positions(self) -> int:
        return len(self.draft.ids)

    @property
    def masks(self) -> np.ndarray:
        return np.flatnonzero(~self.draft.settled)


@dataclass(frozen=True)
class Masked:
    """What the families share: a step proposes an id for each open position and settles some."""

    mask: int
    block_length: int
    steps: int

    name = "masked"
    grid = False
    replays = False

    def start(self, block: int, given: tuple[int, ...], stream: Stream) -> Canvas:
        ids = np.full(self.block_length, NOTHING)
        ids[: len(given)] = given
        settled = ids != NOTHING
        return Canvas(block, 0, Draft(ids, settled, settled.astype(np.float32)), len(given))

    def open(self, state: Canvas) -> np.ndarray:
        return state.masks

    def condition(self, state: Canvas, own: Any) -> None:
        return None

    def remember(self, rows: Tensor) -> None:
        return None

    def needs(self, state: Any) -> None:
        return None

    def row_temperature(self, step: int) -> float:
        return 1.0

    def choose(self, state: Canvas, scores: Tensor, stream: Stream) -> Tensor:
        """(open,) int64, the proposed ids of scores (open, V)."""
        return scores.argmax(-1)

    def confidence(self, scores: Tensor, ids: Tensor) -> Tensor:
        """(open,) how sure each proposal is: its probability."""
        return scores.softmax(-1).gather(-1, ids.unsqueeze(-1)).squeeze(-1)

    def count(self, state: Canvas) -> int:
        """How many positions a step settles."""
        raise NotImplementedError

    def ended(self, after: Draft, step: int) -> bool:
        return step == self.steps - 1 or bool(after.settled.all())

    def advance(self, state: Canvas, scored: Scored, stream: Stream) -> Advanced:
        opened, scores = self.open(state), scored.scores[0].cpu()
        ids = self.choose(state, scores, stream)
        best = self.confidence(scores, ids).argsort(descending=True, stable=True)
        chosen = np.zeros(len(opened), np.bool_)
        chosen[best[: self.count(state)].numpy()] = True
        probability = Masked.confidence(self, scores, ids)
        after = self.settle(state.draft, opened, ids.numpy(), probability.numpy(), chosen)
        if self.ended(after, state.step):
            return Advanced(np.where(after.settled, after.ids, self.mask), None)
        return Advanced(after.ids, Canvas(state.block, state.step + 1, after, state.given))

    def settle(
        self,
        draft: Draft,
        opened: np.ndarray,
        ids: np.ndarray,
        probability: np.ndarray,
        chosen: np.ndarray,
    ) -> Draft:
        """The draft with proposals at the open positions, the chosen ones settled."""
        after = Draft(draft.ids.copy(), draft.settled.copy(), draft.probability.copy())
        after.ids[opened] = ids
        after.settled[opened] = chosen & (ids != self.mask)  # a chosen mask is still a mask
        after.probability[opened] = np.where(after.settled[opened], 1, probability)
        return after


def share(whole: int, parts: int, part: int) -> int:
    """`whole` divided evenly over parts, the remainder to the first ones."""
    return whole // parts + (part < whole % parts)


@dataclass(frozen=True)
class LLaDA(Masked):
    """The block is the whole answer, its sub-blocks are filled from left to right."""

    sub_length: int = 0
    temperature: float = 0.0

    @property
    def sub_steps(self) -> int:
        return self.steps * self.sub_length // self.block_length

    def open(self, state: Canvas) -> np.ndarray:
        end = (state.step // self.sub_steps + 1) * self.sub_length
        return state.masks[(state.masks >= end - self.sub_length) & (state.masks < end)]

    def count(self, state: Canvas) -> int:
        return share(self.sub_length, self.sub_steps, state.step % self.sub_steps)

    def choose(self, state: Canvas, scores: Tensor, stream: Stream) -> Tensor:
        if not self.temperature:
            return scores.argmax(-1)
        shape = (state.positions, scores.shape[-1])
        u = stream.uniform(Purpose.GUMBEL, (state.block, state.step), shape)[self.open(state)]
        return (scores.double().exp() / (-u.log()) ** self.temperature).argmax(-1)

    def confidence(self, scores: Tensor, ids: Tensor) -> Tensor:
        return super().confidence(scores.double(), ids)


@dataclass(frozen=True)
class Dream(Masked):
    """The block is the whole answer; time falls linearly and says what share of masks is settled.
    Its rule `entropy`."""

    eps: float = 1e-3

    def count(self, state: Canvas) -> int:
        masks = len(state.masks)
        if state.step == self.steps - 1:
            return masks
        t, s = torch.linspace(1, self.eps, self.steps + 1)[state.step : state.step + 2]
        return int(masks * (1 - s / t))

    def confidence(self, scores: Tensor, ids: Tensor) -> Tensor:
        p = scores.softmax(-1)
        return (p * (p + 1e-10).log()).sum(-1)


@dataclass(frozen=True)
class SDAR(Masked):
    """Blocks of the grid, each filled by a fixed number at every step."""

    grid = True

    def count(self, state: Canvas) -> int:
        return share(self.block_length, self.steps, state.step)


@dataclass(frozen=True)
class LLaDA2(Masked):
    """LLaDA2.1: settles what is above a threshold, one position in any case, and replaces settled
    ids of which it is surer than a second one."""

    threshold: float = 0.5
    editing: float = 0.5
    post_steps: int = 16
    """Most steps that begin without a mask."""

    grid = True

    def open(self, state: Canvas) -> np.ndarray:
        return np.arange(state.given, self.block_length)

    def advance(self, state: Canvas, scored: Scored, stream: Stream) -> Advanced:
        opened, scores = self.open(state), scored.scores[0].cpu()
        chosen_ids = scores.argmax(-1)
        p = self.confidence(scores, chosen_ids).numpy()
        ids, before = chosen_ids.numpy(), state.draft.ids[opened]
        settled = state.draft.settled[opened]
        filled = ~settled & (p > self.threshold)
        if not settled.all():
            filled[np.where(settled, -np.inf, p).argmax()] = True
        edited = settled & (p > self.editing) & (ids != before)
        changed = filled | edited
        after = self.settle(
            state.draft, opened, np.where(settled & ~edited, before, ids), p, settled | changed
        )
        full = state.full + settled.all()
        over = settled.all() and not edited.any()
        over |= after.settled.all() and full >= self.post_steps
        if over or state.step == self.steps - 1:
            return Advanced(np.where(after.settled, after.ids, self.mask), None)
        return Advanced(
            after.ids, Canvas(state.block, state.step + 1, after, state.given, int(full))
        )
