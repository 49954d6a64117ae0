"""From the terms of a session to its plan: one path for the server and the embedded run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from common.collaboration.timing import Timing, timing_of
from common.denoising.halting import HaltRule
from common.denoising.loop import Plan
from common.errors import BadDataError
from common.processes.simplex.terms import Projection, SelfConditioning

if TYPE_CHECKING:
    from common.collaboration.timing import Every
    from common.models.simplex_lm import SimplexDiffusionConfig
    from common.text.vocabulary import Vocabulary


class Terms(Protocol):
    """What both sides agreed on, as far as the method needs it; units as in the wire's settings."""

    @property
    def block_length(self) -> int:
        """Positions that are generated together."""

    @property
    def steps(self) -> int:
        """Denoising steps of a block."""

    @property
    def max_tokens(self) -> int:
        """Longest answer, in tokens."""

    @property
    def temperature(self) -> float:
        """What the models' logits are divided by; 0 is greedy."""

    @property
    def min_p(self) -> float:
        """Least probability of a candidate as a share of the best one's."""

    @property
    def seed(self) -> int:
        """Seed of all noise, uint64."""

    @property
    def self_conditioning(self) -> SelfConditioning:
        """What the models condition on beside the state."""

    @property
    def projection(self) -> Projection:
        """How scores become the estimate of the next state."""

    @property
    def halt_patience(self) -> int:
        """Unchanged steps in a row after which a block ends early; 0 is never."""

    @property
    def halt_margin(self) -> float:
        """Least lead of each best candidate for that, in logits."""

    @property
    def ramp(self) -> float:
        """Steepness of the ramp of times from the first position to the last."""

    @property
    def top_p(self) -> float:
        """Share of the candidates' mass that is drawn from, the best first."""

    @property
    def no_repeat(self) -> int:
        """Tokens of a run that is not drawn twice in a block; 0: all may be."""

    @property
    def lag(self) -> int:
        """Steps that contributions lag behind; 0 is lock-step."""

    @property
    def every(self) -> Every | None:
        """Which steps have fresh contributions; None for all."""

    @property
    def blocks(self) -> int:
        """Blocks of the longest answer."""


def plan_for(
    config: SimplexDiffusionConfig,
    vocabulary: Vocabulary,
    terms: Terms,
    *,
    prompt: str,
    suffix: str = "",
) -> Plan:
    """The plan of a generation with the large model; nothing of the prompt is ever cut.

    Args:
        config: the large model's configuration.
        vocabulary: the pair's vocabulary.
        terms: what was agreed.
        prompt: public text that the answer follows.
        suffix: public text that follows the answer.

    Raises:
        BadDataError: the prompt is empty, or does not fit the model together with the answer.
        UsageError: the terms have a lag together with an `every`.
    """
    ids = vocabulary.encode(prompt).ids
    if not ids:
        raise BadDataError(
            "the prompt is empty: expected some text", remedy="Write a question or an instruction"
        )
    prefix = vocabulary.prompt_ids(ids)
    after = vocabulary.suffix_ids(vocabulary.encode(suffix).ids)
    answer = terms.blocks * terms.block_length
    need = len(prefix) + answer + len(after)
    if need > config.max_positions:
        raise BadDataError(
            f"prompt, answer and suffix: expected to fit the large model's {config.max_positions} "
            f"positions, got {len(prefix)} + {answer} + {len(after)}",
            remedy="Shorten the texts, or ask for a shorter answer",
        )
    return Plan(
        prefix=prefix,
        suffix=after,
        times=config.warp.table(terms.steps),
        block_length=terms.block_length,
        max_tokens=terms.max_tokens,
        temperature=terms.temperature,
        min_p=terms.min_p,
        seed=terms.seed,
        end=vocabulary.end,
        forbidden=vocabulary.forbidden,
        self_conditioning=terms.self_conditioning,
        projection=terms.projection,
        halting=HaltRule(terms.halt_patience, terms.halt_margin),
        ramp=terms.ramp,
        top_p=terms.top_p,
        no_repeat=terms.no_repeat,
        halting_steps=_halting_steps(timing_of(terms)),
    )


def _halting_steps(timing: Timing) -> frozenset[int] | None:
    if timing.every is None:
        return None
    return frozenset(step for step in range(timing.steps) if timing.may_end(step))
