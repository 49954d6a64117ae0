"""The seam between the driver and a model: anything that turns views into rows of logits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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
