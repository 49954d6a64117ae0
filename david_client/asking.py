"""A question, the David that helps with it, the drafts on the way, and the reply."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from common.collaboration.certification import Tally
from common.collaboration.codec import MOST_ENTRIES, reach_of
from common.collaboration.contribution import entries_at
from common.collaboration.contributor import Contributor, Voicing
from common.collaboration.timing import timing_of
from common.guidance.choice import GuideChoice
from common.models.simplex_network import SimplexDiffusionLM
from common.denoising.plan import FinishReason
from common.processes.simplex.settings import draw_of
from common.text.wordpiece import WordPieceVocabulary
from common.collaboration.settings import SessionSettings
from common.wire.frames import Limits

CONTRIBUTOR_ID = "david"


@dataclass(frozen=True, slots=True)
class David:
    """A small model that is ready."""

    name: str
    model: SimplexDiffusionLM
    vocabulary: WordPieceVocabulary


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how."""

    prompt: str
    """Public: both sides see it."""
    seed: int
    """Seed of all noise, uint64."""
    suffix: str = ""
    """Public text after the answer."""
    context: str = ""
    """Private: only David sees it."""
    contrast: float = 0.0
    """The factor a; needs a context."""
    wishes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `SessionSettings` that shall not be the server's defaults."""

    def settings(self, defaults: SessionSettings) -> SessionSettings:
        """The terms to wish for, given those that suit the large model.

        Before a suffix no block is longer than the answer may be: cut off, it would not lead there.
        """
        terms = replace(defaults, seed=self.seed, **self.wishes)
        if not self.suffix:
            return terms
        return replace(terms, block_length=min(terms.block_length, terms.max_tokens))

    def contributor(
        self, david: David, settings: SessionSettings, limits: Limits | None = None
    ) -> Contributor:
        """David's part in a session on these terms, within the server's limits.

        Raises:
            UsageError: a contrast without a context, or a lag together with an `every`.
            CollaborationError: the texts do not fit David's model.
        """
        return Contributor(
            david.model,
            david.vocabulary,
            prompt=self.prompt,
            suffix=self.suffix,
            context=self.context,
            voicing=Voicing(
                contrast=self.contrast,
                codec=settings.codec,
                entries=min(MOST_ENTRIES, (limits or Limits()).max_entries),
                reach=reach_of(
                    temperature=draw_of(settings.temperature),
                    min_p=settings.min_p,
                    weight=settings.weight,
                ),
                certify=settings.certify,
            ),
            self_conditioning=settings.self_conditioning,
            answer_length=settings.blocks * settings.block_length,
            temperature=settings.temperature,
            timing=timing_of(settings),
        )


def _nobody() -> np.ndarray:
    return np.empty(0, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """The answer as it stands when a step begins."""

    settings: SessionSettings
    block: int
    step: int
    t: float
    """Time of the step, in (0, 1]."""
    finished: tuple[int, ...]
    """Ids of finished blocks."""
    estimate: np.ndarray | None
    """(block_length,) int64 ids; None where the block is pure noise."""
    hot: np.ndarray | None = None
    """(block_length, h) int64 all ids of the estimate, of which `estimate` is the first column; -1
    where a row has fewer than h; None where there are none.
    """
    decided: np.ndarray = field(default_factory=_nobody)
    """(block_length,) uint8 values of `Decider`: who decided the tokens of the step before, which
    at step 0 of a later block are the last of `finished`; empty at the first step.
    """
    goliath: str = ""
    """Name of the large model."""
    bytes_up: int = 0
    """Bytes of messages to the server so far; 0 when embedded."""
    bytes_down: int = 0
    """Bytes of messages from the server so far."""


OnDraft = Callable[[Draft], None]


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer, and what it took."""

    text: str
    tokens: tuple[int, ...]
    """Token ids, without the end token."""
    finish_reason: FinishReason
    goliath: str
    """Name of the large model."""
    david: str
    """Name of the small one."""
    settings: SessionSettings
    contrast: float
    seconds: float
    """From the first call to the answer; loading models is not in it."""
    steps_run: int
    """Steps of all blocks."""
    david_steps: int
    """Steps in which David took part, be it with a contribution to an earlier one."""
    missed: int = 0
    """Steps that went on without him: his contribution did not come."""
    late: int = 0
    """Steps whose contribution came too late."""
    bytes_up: int = 0
    """Bytes of messages to the server, with gRPC's prefixes; 0 when embedded."""
    bytes_down: int = 0
    """Bytes of messages from the server."""
    guide: GuideChoice | None = None
    """What steered the large model in this process; what a server does is not known here."""
    suffix: str = ""
    """Text that the answer leads into."""
    full_text: str = ""
    """The answer and the suffix."""
    decided: tuple[int, ...] = ()
    """Values of `Decider`: who decided the tokens of the last block; empty where nobody knows."""
    certification: Tally = field(default_factory=Tally)
    """What is not certified, and what David was asked for it."""

    entries: Mapping[int, int] = field(default_factory=dict)
    """David's rows, by the number of their entries; empty when he took no part."""

    def record(self) -> dict[str, Any]:
        """The reply as a JSON object."""
        positions = self.steps_run * self.settings.block_length
        return {
            "text": self.text,
            "tokens": list(self.tokens),
            "seed": self.settings.seed,
            "steps": self.settings.steps,
            "seconds": round(self.seconds, 3),
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "david_steps": self.david_steps,
            "weight": self.settings.weight,
            "contrast": self.contrast,
            "steps_run": self.steps_run,
            "missed": self.missed,
            "late": self.late,
            "finish_reason": self.finish_reason.value,
            "suffix": self.suffix,
            "full_text": self.full_text,
            "block_length": self.settings.block_length,
            "max_tokens": self.settings.max_tokens,
            "temperature": self.settings.temperature,
            "min_p": self.settings.min_p,
            "ramp": self.settings.ramp,
            "top_p": self.settings.top_p,
            "no_repeat": self.settings.no_repeat,
            "projection": self.settings.projection.value,
            "self_conditioning": self.settings.self_conditioning.value,
            "halt": {
                "patience": self.settings.halt_patience,
                "margin": self.settings.halt_margin,
            },
            "codec": self.settings.codec.value,
            "late_rule": self.settings.late_rule.value,
            "certify": self.settings.certify,
            "uncertified": self.certification.uncertified,
            "asks": self.certification.asks,
            "asked_ids": self.certification.asked_ids,
            "certified_at_once": max(0, positions - self.certification.doubted),
            "lag": self.settings.lag,
            "every": None if self.settings.every is None else asdict(self.settings.every),
            "entries": self._entries(),
            "guide": None if self.guide is None else asdict(self.guide),
            "goliath": self.goliath,
            "david": self.david,
        }

    def _entries(self) -> dict[str, Any] | None:
        if not self.entries:
            return None
        rows = {str(entries): count for entries, count in sorted(self.entries.items())}
        return {
            "p50": entries_at(self.entries, 0.5),
            "p99": entries_at(self.entries, 0.99),
            "rows": rows,
        }
