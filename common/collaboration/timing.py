"""Which contribution a step uses: its own, an earlier one, or the last fresh one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from common.denoising.settings import setting
from common.errors import UsageError

MAX_LAG = 16
"""Most steps that contributions may lag behind: a server keeps one more of them at a time."""


@dataclass(frozen=True, slots=True)
class Every:
    """Which steps of a block have fresh contributions; those between use the last one again."""

    # No block has more steps than the largest of each.
    first: int = setting(0, "So many steps at the beginning", low=0, high=2**16 - 1, unit="steps")
    period: int = setting(
        1,
        "Multiples of this; step 0 is one, so that there is always something to use",
        low=1,
        high=2**16 - 1,
        unit="steps",
    )
    last: int = setting(0, "So many steps at the end", low=0, high=2**16 - 1, unit="steps")


class Latency(Protocol):
    """What both sides agreed on, as far as it is about latency."""

    @property
    def steps(self) -> int:
        """Denoising steps of a block."""

    @property
    def lag(self) -> int:
        """Steps that contributions lag behind; 0 is lock-step."""

    @property
    def every(self) -> Every | None:
        """Which steps have fresh contributions; None for all."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The contributions of a block, step by step. Each block begins afresh.

    With neither `lag` nor `every` it is lock-step: each step uses the contribution to itself.
    """

    steps: int
    """Denoising steps of a block."""
    lag: int = 0
    """From this step on, a step uses the contribution to the one so many before; until then its
    own.
    """
    every: Every | None = None
    """Which steps have fresh contributions; None for all."""

    def __post_init__(self) -> None:
        """Refuse both at once.

        Raises:
            UsageError: it is so.
        """
        if self.lag and self.every is not None:
            raise UsageError(
                f"expected a lag or fresh contributions at some steps, got both: {self.lag} and "
                f"{self.every.first}:{self.every.period}:{self.every.last}",
                remedy="Leave --lag or --every out",
            )

    def source(self, step: int) -> int:
        """The step, this one or an earlier one, whose contribution a step uses."""
        if self.every is None:
            return step - self.lag if step >= self.lag else step
        if self._fresh(step):
            return step
        return max(self.every.first - 1, step - step % self.every.period)

    def uses(self, step: int) -> Sequence[int]:
        """The steps that use the contribution to a step, rising; none when it is not wanted."""
        if self.every is None:
            both = (step, step + self.lag) if self.lag else (step,)
            return [one for one in both if one < self.steps and self.source(one) == step]
        if not self._fresh(step):
            return []
        after = step + 1
        while after < self.steps and not self._fresh(after):
            after += 1
        return range(step, after)

    def wanted(self, step: int) -> bool:
        """Whether any step uses the contribution to a step."""
        return bool(self.uses(step))

    def awaited(self, step: int, at: int) -> bool:
        """Whether a step from `at` on uses the contribution to a step."""
        uses = self.uses(step)
        return bool(uses) and uses[-1] >= at

    def previous(self, step: int) -> int | None:
        """The last wanted step before a wanted one; None for the first of a block."""
        if step == 0:
            return None
        return step - 1 if self.every is None else self.source(step - 1)

    def may_end(self, step: int) -> bool:
        """Whether a block may end at a step before its last one: a contribution that is used again
        would stand still by itself.
        """
        return self.every is None or self._fresh(step)

    def _fresh(self, step: int) -> bool:
        every = self.every
        assert every is not None
        return step < every.first or step % every.period == 0 or step >= self.steps - every.last


def timing_of(settings: Latency) -> Timing:
    """The timing that was agreed on.

    Raises:
        UsageError: a lag together with an `every`.
    """
    return Timing(settings.steps, settings.lag, settings.every)
