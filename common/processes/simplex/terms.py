"""The choices of simplex diffusion, by name; importing this imports no torch."""

from enum import StrEnum


class SelfConditioning(StrEnum):
    """Whose last prediction a model conditions on, beside the state."""

    OWN = "own"
    ESTIMATE = "estimate"
    FUSED = "fused"


class Reading(StrEnum):
    """How a model reads the noisy simplex: its own affair, nothing of it is on the wire."""

    SOFTMAX = "softmax"
    """The published one: the mean embedding under softmax(x) (SSD-LM, section 3.2)."""
    POSTERIOR = "posterior"
    """The mean embedding under the posterior of a unigram prior, and the state's log-likelihood
    added to the logits (Plaid, section 4.2, calls it an output prior).
    """


class Projection(StrEnum):
    """How fused scores become the estimate that the next state carries."""

    SAMPLE = "sample"
    """One id for each position, drawn from its candidates; temperature 0 takes the best one."""
    MULTI_HOT = "multi-hot"
    """The nucleus of a position's candidates, at most `MAX_HOT` (SSD-LM, section 3.4)."""


MAX_RAMP = 16.0
"""Largest steepness of a ramp."""


LONGEST_NO_REPEAT = 16
"""Most tokens of a run that may not occur twice in a draft."""


def draw_of(temperature: float) -> float:
    """Temperature at which scores are drawn in a session of this temperature: 1, since the models'
    logits are tempered already; 0, greedy, for 0.
    """
    return 1.0 if temperature else 0.0


MAX_HOT = 16
"""Most ids for each position of an estimate."""
