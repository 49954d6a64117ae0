"""The choices of masked diffusion, by name; importing this imports no torch."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from common.denoising.settings import Panel, setting


class Order(StrEnum):
    """Which positions a step settles first."""

    LOW_CONFIDENCE = "low_confidence"
    """Those whose token is most probable (LLaDA's name: the least confident stay masked)."""
    MARGIN = "margin"
    """Those whose best token leads the second one most."""
    ENTROPY = "entropy"
    """Those whose distribution has the least entropy."""
    RANDOM = "random"
    """Any."""
    THRESHOLD = "threshold"
    """All whose token is more probable than a threshold, at least one."""


@dataclass(frozen=True, slots=True)
class MaskedProcess:
    """What all models of a session were trained for."""

    name: ClassVar[str] = "masked"
    grid: bool
    """Whether blocks begin at multiples of their length, counted from the prompt's first id."""


@dataclass(frozen=True, slots=True)
class MaskedSettings:
    """What masked diffusion can be asked for."""

    order: Order = setting(
        Order.LOW_CONFIDENCE, "Which positions a step settles first", panel=Panel.SAMPLING
    )
    temperature: float = setting(
        0.0,
        "What logits are divided by before a token is drawn; 0 is greedy",
        low=0,
        high=100,
        panel=Panel.SAMPLING,
    )
    threshold: float = setting(
        0.9,
        "Least probability of a settled token in the order threshold",
        low=0,
        high=1,
        panel=Panel.SAMPLING,
    )
