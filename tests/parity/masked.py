"""Masked diffusion: LLaDA, Dream and LLaDA2.1 at temperature 0, with their own settings."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.denoising.process import NOTHING, Advanced, Scored
from common.denoising.streams import Purpose, Stream
from common.processes.masked.state import MaskedState


@dataclass(frozen=True, slots=True, eq=False)
class Canvas(MaskedState):
    """A block, and what LLaDA2.1 keeps in mind of it."""

    given: int = 0
    """Its first ids are the prompt's."""
    full: int = 0
    """Steps that began without a mask."""

    @property
    def masks(self) -> np.ndarray:
        return np.flatnonzero(self.ids == NOTHING)


@dataclass(frozen=True)
class Masked:
    """What the families share: a step reads each open position and settles some."""

    mask: int
    block_length: int
    steps: int

    name = "masked"
    grid = False
    replays = False
    draw = None

    def start(self, block: int, given: tuple[int, ...], stream: Stream) -> Canvas:
        none = np.full(self.block_length, NOTHING)
        ids = np.array((*given, *none[len(given) :]))
        return Canvas(block, 0, ids, none, np.zeros(len(ids), np.uint8), len(given))

    def open(self, state: Canvas) -> np.ndarray:
        return state.masks

    def condition(self, state: Canvas, own: Any) -> None:
        return None

    def remember(self, rows: Tensor) -> None:
        return None

    def may_end(self, state: Any) -> bool:
        return True

    def follows(self, before: Any, state: Any) -> bool:
        return True

    def needs(self, state: Any) -> None:
        return None

    def row_temperature(self, step: int) -> float:
        return 1.0

    def confidence(self, scores: Tensor, ids: Tensor) -> Tensor:
        """(open,) how sure each proposal is: its probability."""
        return scores.softmax(-1).gather(-1, ids.unsqueeze(-1)).squeeze(-1)

    def ended(self, after: Canvas) -> bool:
        return after.step == self.steps or not len(after.masks)

    def settle(
        self, state: Canvas, ids: np.ndarray, p: np.ndarray, chosen: np.ndarray, full: int = 0
    ) -> Advanced:
        """What comes of proposals for the open positions and their probabilities, of which the
        chosen ones are settled."""
        opened = self.open(state)
        chosen = chosen & (ids != self.mask)  # a chosen mask is still a mask
        settled, guess, probability = (
            one.copy() for one in (state.ids, state.guess, state.probability)
        )
        settled[opened] = np.where(chosen, ids, NOTHING)
        guess[opened] = np.where(chosen, NOTHING, ids)
        probability[opened] = np.where(chosen, 0, p * 255).round()
        after = Canvas(state.block, state.step + 1, settled, guess, probability, state.given, full)
        if self.ended(after):
            return Advanced(np.where(settled >= 0, settled, self.mask), None)
        return Advanced(after.draft.best, after)


def share(whole: int, parts: int, part: int) -> int:
    """`whole` divided evenly over parts, the remainder to the first ones."""
    return whole // parts + (part < whole % parts)


@dataclass(frozen=True)
class Counted(Masked, ABC):
    """A step settles a number of positions that is known before, the surest first."""

    def choose(self, state: Canvas, scores: Tensor, stream: Stream) -> Tensor:
        """(open,) int64, the proposed ids of scores (open, V)."""
        return scores.argmax(-1)

    @abstractmethod
    def count(self, state: Canvas) -> int:
        """How many positions a step settles."""

    def advance(self, state: Canvas, scored: Scored, stream: Stream) -> Advanced:
        opened, scores = self.open(state), scored.scores[0].cpu()
        ids = self.choose(state, scores, stream)
        best = self.confidence(scores, ids).argsort(descending=True, stable=True)
        chosen = np.zeros(len(opened), np.bool_)
        chosen[best[: self.count(state)].numpy()] = True
        p = Masked.confidence(self, scores, ids)
        return self.settle(state, ids.numpy(), p.numpy(), chosen)


@dataclass(frozen=True)
class LLaDA(Counted):
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
class Dream(Counted):
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

    def ended(self, after: Canvas) -> bool:
        over = not len(after.masks) and after.full >= self.post_steps
        return after.step == self.steps or over

    def advance(self, state: Canvas, scored: Scored, stream: Stream) -> Advanced:
        scores = scored.scores[0].cpu()
        best = scores.argmax(-1)
        p, ids = self.confidence(scores, best).numpy(), best.numpy()
        before = state.ids[self.open(state)]
        settled = before != NOTHING
        filled = ~settled & (p > self.threshold)
        if not settled.all():
            filled[np.where(settled, -np.inf, p).argmax()] = True
        edited = settled & (p > self.editing) & (ids != before)
        kept = settled & ~edited
        full = state.full + int(settled.all())
        if settled.all() and not edited.any():
            full = self.post_steps
        return self.settle(state, np.where(kept, before, ids), p, settled | filled, full)
