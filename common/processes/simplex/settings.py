"""The choices of simplex diffusion, by name; importing this imports no torch."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from common.denoising.settings import Panel, setting


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


def draw_of(temperature: float) -> float:
    """Temperature at which scores are drawn in a session of this temperature: 1, since the models'
    logits are tempered already; 0, greedy, for 0.
    """
    return 1.0 if temperature else 0.0


MAX_HOT = 16
"""Most ids for each position of an estimate."""


class NoiseKind(StrEnum):
    """How the noise of a simplex state is made from the seed."""

    DENSE = "dense"
    EXTREMES = "extremes"


@dataclass(frozen=True, slots=True)
class SimplexProcess:
    """What all models of a session were trained for."""

    name: ClassVar[str] = "simplex"
    k: float
    """Simplex value of a certain token, in (0, 1000]."""
    schedule: str
    """Name of the noise schedule, which fixes its constants."""
    noise_form: NoiseKind
    """How noise is made."""
    extremes_draws: int = 0
    """m of `extremes`: normals drawn for each position; 0 for `dense`."""
    extremes_rows: int = 0
    """r of `extremes`: rows averaged for the tail; 0 for `dense`."""


def _run_length(tokens: int) -> int:
    if tokens == 1:
        raise ValueError("0, or 2 and more, so that a token may come again")
    return tokens


@dataclass(frozen=True, slots=True)
class SimplexSettings:
    """What simplex diffusion can be asked for."""

    temperature: float = setting(
        0.7,
        "What the logits are divided by before a token is drawn; 0 is greedy",
        low=0,
        high=100,
        panel=Panel.SAMPLING,
    )
    min_p: float = setting(
        0.005,
        "Least probability of a candidate, as a share of the best one's",
        low=0,
        high=1,
        above=True,
        panel=Panel.SAMPLING,
    )
    top_p: float = setting(
        0.9,
        "Share of the candidates' mass that is drawn from, the best first",
        low=0,
        high=1,
        above=True,
        panel=Panel.SAMPLING,
    )
    no_repeat: int = setting(
        2,
        "Length of a run of tokens that is not drawn twice in a block; 0 allows all",
        low=0,
        high=16,
        unit="tokens",
        read=_run_length,
        panel=Panel.SAMPLING,
    )
    projection: Projection = setting(
        Projection.SAMPLE,
        "Whether the next state is made from one sample or from several candidates of a position",
        panel=Panel.SAMPLING,
    )
    self_conditioning: SelfConditioning = setting(
        SelfConditioning.OWN,
        "The last prediction that models condition on beside the state",
        shown="the model's",
        panel=Panel.SAMPLING,
    )
    ramp: float = setting(
        0.0,
        "How much later the last position is denoised than the first, in shares of the steps that "
        "one position takes; 0 is all at once",
        low=0,
        high=16.0,
        panel=Panel.SAMPLING,
    )
    halt_patience: int = setting(
        0,
        "Steps without a change after which a block ends early; 0 is never",
        low=0,
        high=2**16 - 1,
        unit="steps",
        panel=Panel.SAMPLING,
    )
    halt_margin: float = setting(
        0.0,
        "Least lead of each best candidate for that",
        low=0,
        high=1000.0,
        unit="logits",
        panel=Panel.SAMPLING,
    )
