"""Draws that are not counter-based: a recorded trace's, and those of torch's CPU generator."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.denoising.streams import Purpose

At = tuple[int, int]
Shape = tuple[int, int]


class Recorded:
    """The draws (positions, draws) of a trace, of any kind, in the order in which they came."""

    def __init__(self, draws: Sequence[Tensor]):
        self._draws = iter(draws)

    def uniform(self, purpose: Purpose, at: At, shape: Shape) -> Tensor:
        return self._next(shape).double()

    normal = exponential = uniform

    def integers(self, purpose: Purpose, at: At, shape: Shape, *, high: int) -> Tensor:
        return self._next(shape)

    def _next(self, shape: Shape) -> Tensor:
        drawn = next(self._draws, None)
        if drawn is None or drawn.shape != shape:
            found = "none" if drawn is None else tuple(drawn.shape)
            raise ValueError(f"expected a draw of shape {shape} next in the record, found {found}")
        return drawn


@dataclass
class TorchStream:
    """What torch's CPU generator draws after `torch.manual_seed(seed)`, in the order of asking."""

    seed: int
    dtype: torch.dtype = torch.float32
    """In which the family draws: a wider one takes other bits."""
    before: int = 0
    """Rows that the family draws ahead of the block's, for its prompt."""

    def __post_init__(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)

    def uniform(self, purpose: Purpose, at: At, shape: Shape) -> Tensor:
        return self._new(shape).uniform_(generator=self._generator)[self.before :].double()

    def normal(self, purpose: Purpose, at: At, shape: Shape) -> Tensor:
        return self._new(shape).normal_(generator=self._generator)[self.before :].double()

    def exponential(self, purpose: Purpose, at: At, shape: Shape) -> Tensor:
        return self._new(shape).exponential_(generator=self._generator)[self.before :].double()

    def integers(self, purpose: Purpose, at: At, shape: Shape, *, high: int) -> Tensor:
        rows = (self.before + shape[0], shape[1])
        return torch.randint(high, rows, generator=self._generator)[self.before :]

    def _new(self, shape: Shape) -> Tensor:
        return torch.empty(self.before + shape[0], shape[1], dtype=self.dtype)
