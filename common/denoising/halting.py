"""Halting: a block whose answer has stood still for some steps ends before its last one.

Sources: patience from "Diffusion Language Models Generation Can Be Halted Early" (arXiv
2305.10818), the lead of the best candidate from Prophet (arXiv 2508.19982). Both are read from the
fused scores' candidates alone.
"""

from dataclasses import dataclass

import numpy as np

READABLE_FROM = 0.4
"""Time (of 1 to 0) from which on a block can stand still. Before, the state is mostly noise, and a
draft that does not change only repeats what the model thinks of every text.
"""


@dataclass(frozen=True, slots=True)
class HaltRule:
    """When a block ends early."""

    patience: int = 0
    """Steps in a row that changed no best candidate; 0 is never."""
    margin: float = 0.0
    """Least lead of each best candidate over the second one, in logits. A single candidate's lead
    is beyond all that can be known of it, and always enough.
    """


@dataclass(frozen=True, slots=True, eq=False)
class Standstill:
    """How long the answer of a block has stood still."""

    choices: np.ndarray
    """(counted positions,) int64 best candidates of the last step, as `counted` gives them."""
    unchanged: int = 0
    """Steps in a row, up to the last one, that changed none of them, from `READABLE_FROM` on."""


def counted(choices: np.ndarray, *, end: int, room: int) -> np.ndarray:
    """The choices (positions,) that can become the answer: up to the first end token, itself
    included, and at most `room` of them. What follows is cut.
    """
    ended = np.flatnonzero(choices == end)
    return choices[: min(ended[0] + 1 if len(ended) else len(choices), room)]


def follow(before: Standstill | None, choices: np.ndarray, t: float) -> Standstill:
    """The standstill after a step at time t that chose these; before a block's first step there is
    none.
    """
    if before is None or t > READABLE_FROM or not np.array_equal(before.choices, choices):
        return Standstill(choices)
    return Standstill(choices, before.unchanged + 1)


def halts(rule: HaltRule, now: Standstill, leads: np.ndarray) -> bool:
    """Whether a block ends here; leads (positions,) are those of the best candidates, in logits."""
    if not 0 < rule.patience <= now.unchanged:
        return False
    return bool((leads[: len(now.choices)] >= rule.margin).all())
