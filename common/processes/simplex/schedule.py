"""The noise schedule, and where along it the steps are spent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

OFFSET = 1e-4
UNIFORM_SHARE = 0.15
# Before a model has a measured curve: a token of a 15,000 piece vocabulary stops being readable
# from the state
# between t = .15 and .5 (research: 96 % / 40 % / 8 % / 1 % at .2 / .3 / .4 / .5).
PRIOR_CURVE = ((0.0, 0.0), (0.12, 0.05), (0.2, 1.0), (0.3, 3.3), (0.4, 4.8), (0.5, 5.5), (1.0, 6.0))


def alpha_bar(t: Tensor) -> Tensor:
    """Signal level of time t, float64: cos^2((t + s) / (1 + s) * pi / 2) over its value at 0, s =
    1e-4.

    Source: SSD-LM (arXiv 2210.17432), its published code. `t` in [0, 1]; 1 is pure noise.
    """
    scale = math.pi / 2 / (1 + OFFSET)
    start = math.cos(OFFSET * scale) ** 2
    return torch.cos((t.to(torch.float64) + OFFSET) * scale) ** 2 / start


@dataclass(frozen=True, slots=True)
class TimeWarp:
    """Times spent where the denoising loss falls: the same map places training times and sampling
    steps.

    The density over t is proportional to the slope of the loss curve, mixed with a uniform share,
    so that no noise level is left out (Dieleman et al., "Continuous diffusion for categorical
    data", section 4.2, call it time warping).
    """

    times: np.ndarray
    """(knots,) float64, ascending from 0 to 1."""
    cumulative: np.ndarray
    """(knots,) float64, the distribution function at `times`, from 0 to 1."""

    @classmethod
    def from_curve(cls, curve: Sequence[tuple[float, float]] = PRIOR_CURVE) -> TimeWarp:
        """Build from measured (t, loss) pairs; t ascending in [0, 1]. Dips in the loss count as
        flat.
        """
        points = np.asarray(curve, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2:
            raise ValueError(f"expected at least two (t, loss) pairs, got shape {points.shape}")
        if not np.isfinite(points).all() or np.any(points[:, 1] < 0):
            raise ValueError("expected finite times and losses of at least 0 in the loss curve")
        times, losses = points[:, 0], np.maximum.accumulate(points[:, 1])
        if times[0] < 0 or times[-1] > 1 or np.any(np.diff(times) <= 0):
            raise ValueError("expected ascending times in [0, 1] in the loss curve")
        if times[0] > 0:
            times, losses = np.insert(times, 0, 0.0), np.insert(losses, 0, 0.0)
        if times[-1] < 1:
            times, losses = np.append(times, 1.0), np.append(losses, losses[-1])
        span = losses[-1] - losses[0]
        rise = (losses - losses[0]) / span if span > 1e-12 else times
        return cls(times, (1 - UNIFORM_SHARE) * rise + UNIFORM_SHARE * times)

    def at(self, u: np.ndarray) -> np.ndarray:
        """Times at the quantiles u in (0, 1], float64."""
        times: np.ndarray = np.interp(u, self.cumulative, self.times)
        return times

    def table(self, steps: int) -> tuple[float, ...]:
        """The time table of a session: 1 = t[0] > t[1] > ... > t[steps - 1] > 0.

        With a straight curve this is the published spacing, t[n] = (steps - n) / steps.
        """
        if steps < 1:
            raise ValueError(f"expected at least 1 step, got {steps}")
        table = self.at(np.arange(steps, 0, -1, dtype=np.float64) / steps)
        table[0] = 1.0
        return tuple(float(t) for t in table)


def ramp(progress: np.ndarray, steepness: np.ndarray | float, positions: int) -> np.ndarray:
    """How far each position is when a block is `progress` of its way: (..., positions) float64 in
    [0, 1], the same for all with steepness 0.

    With steepness r the first position is done after 1 / (1 + r) of the steps and the last one
    begins after r / (1 + r) of them, so that a word is decided among words before it that already
    are: an order, though every word still sees both sides (a time for each position: TTA-Diffusion,
    arXiv 2510.26200; "Diffusion Forcing", Chen et al. 2024).

    Args:
        progress: (...,) in [0, 1].
        steepness: r, at least 0; (...,) or a number.
        positions: positions of the block.
    """
    steep = np.asarray(steepness, np.float64)[..., None]
    place = np.arange(positions) / max(positions - 1, 1)
    far: np.ndarray = np.asarray(progress, np.float64)[..., None] * (1 + steep) - steep * place
    return far.clip(0.0, 1.0)


def times_at(
    table: Sequence[float], step: int, *, steepness: float, positions: int
) -> np.ndarray | None:
    """Each position's time at a step, (positions,) float64; None without a ramp, where it is
    table[step] for all.

    Args:
        table: the session's time table, 1 first.
        step: index into it.
        steepness: that of the `ramp`.
        positions: positions of the block.
    """
    if not steepness or len(table) == 1:
        return None
    last = len(table) - 1
    far = ramp(np.array(step / last), steepness, positions)
    times: np.ndarray = np.interp(far * last, np.arange(last + 1), table)
    return times
