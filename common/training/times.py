"""Times of training examples: how noisy each position is."""

import numpy as np

from common.processes.simplex.schedule import TimeWarp, ramp

READABLE_TO, NOISY_FROM = 0.3, 0.4
"""The state alone tells nearly every token up to the one time, and few from the other on."""
STEEPEST_RAMP = 3.0
"""Ramps are drawn up to here (`schedule.ramped` says what a ramp is)."""


def draw_times(
    shape: tuple[int, ...],
    warp: TimeWarp,
    *,
    mixed: float,
    ramped: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Times (batch, block) of three kinds of rows: even, one time for all positions, as in a
    session without a ramp; ramped, as in one with it; and mixed, some positions readable and the
    others hardly.

    Where all positions are equally noisy, a token that the words around would decide stands among
    words that are as hard to see: mixed rows teach what follows from what (they are a masked LM's
    examples; Chen et al., "Diffusion Forcing", 2024, train with such times too).

    Args:
        shape: (batch, block).
        warp: where even and ramped times are spent.
        mixed: share of mixed rows.
        ramped: share of ramped rows; both are 1 together at most.
        rng: draws them.
    """
    rows, positions = shape
    # One quantile in each of `rows` equal parts, so that a batch covers the levels evenly.
    progress = (rng.permutation(rows) + rng.random(rows)) / rows
    even = warp.at(1 - progress)[:, None]
    steep = STEEPEST_RAMP * rng.random(rows)
    rising = warp.at(1 - ramp(progress, steep, positions))
    noisy = rng.random((rows, positions)) < rng.random((rows, 1))
    u = rng.random((rows, positions))
    scattered = np.where(noisy, NOISY_FROM + (1 - NOISY_FROM) * u, READABLE_TO * u)
    kind = rng.random((rows, 1))
    times = np.where(kind < mixed, scattered, even)
    return np.where(kind >= 1 - ramped, rising, times)
