"""The fused signal: what all models of a session may condition on; the wire carries it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class FusedSignal:
    """The top of the fused distribution of the step before, as it is sent."""

    ids: np.ndarray
    """(block_length, entries) int64 token ids, unique in a row."""
    probabilities: np.ndarray
    """(block_length, entries) float16; what is missing to 1 lies on all other ids."""
