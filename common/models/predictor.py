"""The seam between the driver and a model: anything that turns views into rows of logits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from common.denoising.process import View


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """Text before a block, as a model keeps it."""

    ids: tuple[int, ...]
    cache: Any = None
    """What the model computed of it, exactly as it would again; None where it keeps nothing."""


class Predictor(Protocol):
    """A model of any family.

    Row i of what `predict` gives is for position i: a family whose logits are shifted shifts them
    itself. The rows are those of a forward pass without a cache, up to the last bits; a cache is
    grown and rebuilt in the same pieces, so that the same text gives the same bits.
    """

    @property
    def vocabulary_size(self) -> int:
        """V, entries of a row."""

    @property
    def max_positions(self) -> int:
        """Longest text that the model can read, in tokens: prefix, block and suffix together."""

    @property
    def sees_suffix(self) -> bool:
        """Whether the model reads text behind the block."""

    def prefix(self, ids: tuple[int, ...]) -> Prefix:
        """Read text that stands before a block."""

    def extend(self, prefix: Prefix, ids: tuple[int, ...]) -> Prefix:
        """The prefix with more ids behind it; the old one is not used again."""

    def predict(self, views: Sequence[View]) -> Sequence[Tensor]:
        """Rows (1, open, V) fp32 of each view, on the model's device; views of one batch are of
        one block length.
        """


class Uncached:
    """What predictors share whose models keep nothing of a prefix: it sees the block, and changes
    with it.
    """

    __slots__ = ()
    network: Any
    """A torch module of transformers."""

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = self.network.device
        return device

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def prefix(self, ids: tuple[int, ...]) -> Prefix:
        """The text alone."""
        return Prefix(ids)

    def extend(self, prefix: Prefix, ids: tuple[int, ...]) -> Prefix:
        """The longer text."""
        return Prefix((*prefix.ids, *ids))


class Text:
    """What a model keeps of one session's text before its blocks: read once, then grown."""

    def __init__(self, predictor: Predictor) -> None:
        """Nothing is read yet."""
        self._predictor = predictor
        self._prefix: Prefix | None = None

    def grow(self, ids: tuple[int, ...]) -> Prefix:
        """The whole text so far; to resume a session, grow it in the pieces of the first time."""
        if self._prefix is None:
            self._prefix = self._predictor.prefix(ids)
        elif fresh := ids[len(self._prefix.ids) :]:
            self._prefix = self._predictor.extend(self._prefix, fresh)
        return self._prefix

    def before(self, view: View) -> View:
        """The view with what the model keeps of its prefix, which it reads now where it is new."""
        return replace(view, cache=self.grow(view.prefix).cache)
