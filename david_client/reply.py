"""The drafts on the way to an answer, and the reply; importing this imports no torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from common.collaboration.contribution import Tally, entries_at
from common.collaboration.settings import ContributorSettings, SessionSettings
from common.denoising.plan import Decider, FinishReason
from common.guidance.choice import GuideChoice
from david_client.joining import joined

if TYPE_CHECKING:
    from common.denoising.loop import Result
    from common.denoising.process import Shown
    from common.text.vocabulary import Vocabulary
    from common.wire.frames import Completed
    from david_client.asking import Question


def _nobody() -> np.ndarray:
    return np.empty(0, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """The answer as it stands when a step begins."""

    settings: SessionSettings
    block: int
    step: int
    t: float
    """How much of the block is not known yet, in [0, 1]: the time of a simplex state."""
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
    weight: float = 0.0
    """The Davids' share."""
    vocabulary: Vocabulary | None = None
    """What the ids are of."""
    answer: Reply | None = None
    """The answer, in the last draft of `stream` alone."""

    @property
    def text(self) -> str:
        """The answer so far, for reading."""
        assert self.vocabulary is not None
        ids = [] if self.estimate is None else self.estimate.tolist()
        return self.vocabulary.decode((*self.finished, *(one for one in ids if one >= 0)))

    @classmethod
    def of(cls, settings: SessionSettings, shown: Shown, **known: Any) -> Draft:
        """The draft of a step."""
        state = shown.state
        ids = state.draft.ids if state.draft.ids.shape[1] else None
        return cls(
            settings,
            state.block,
            state.step,
            state.noise,
            shown.answer,
            estimate=None if ids is None else ids[:, 0],
            hot=ids,
            decided=shown.decided,
            **known,
        )


OnDraft = Callable[[Draft], None]


@dataclass(frozen=True, slots=True)
class Counts:
    """What one David did in a session."""

    david: str
    """Name of the model."""
    settings: ContributorSettings
    """What was agreed with it."""
    contrast: float = 0.0
    took_part: int = 0
    """Steps in which it took part, be it with a contribution to an earlier one."""
    late: int = 0
    """Steps whose contribution came too late."""
    missed: int = 0
    """Steps that went on without it: its contribution did not come."""
    entries: Mapping[int, int] = field(default_factory=dict)
    """Its rows, by the number of their entries; empty when it took no part."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer, and what it took."""

    text: str
    ids: tuple[int, ...]
    """Token ids, without the end token."""
    finish_reason: FinishReason
    goliath: str
    """Name of the large model."""
    settings: SessionSettings
    """What was agreed on; its seed gives the same answer again."""
    seconds: float
    """From the first call to the answer; loading models is not in it."""
    steps_run: int
    """Steps of all blocks."""
    counts: tuple[Counts, ...] = ()
    """What each David did, in the order in which they were given."""
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
    attribution: tuple[Decider | None, ...] = ()
    """Whose first choice each token was when it last changed; None where nobody knows."""
    certification: Tally = field(default_factory=Tally)
    """What is not certified, and what the Davids were asked for it."""

    @classmethod
    def of(
        cls,
        question: Question,
        vocabulary: Vocabulary,
        result: Result | Completed,
        *,
        began: float,
        **known: Any,
    ) -> Reply:
        """The reply that a result is, when a question was begun at `began` on the counter of
        performance.
        """
        ids = tuple(result.ids.tolist())
        return cls(
            text=vocabulary.decode(ids),
            ids=ids,
            finish_reason=result.finish_reason,
            seconds=time.perf_counter() - began,
            suffix=question.suffix,
            full_text=joined(vocabulary, ids, after=question.suffix),
            decided=tuple(result.decided.tolist()),
            **known,
        )

    @property
    def weight(self) -> float:
        """The Davids' share."""
        return sum(one.settings.weight for one in self.counts)

    @property
    def david_steps(self) -> int:
        """Steps in which a David took part."""
        return max((one.took_part for one in self.counts), default=0)

    @property
    def missed(self) -> int:
        """Contributions that did not come."""
        return sum(one.missed for one in self.counts)

    @property
    def late(self) -> int:
        """Contributions that came too late."""
        return sum(one.late for one in self.counts)

    def record(self) -> dict[str, Any]:
        """The reply as a JSON object, of a session with one David."""
        (david,) = self.counts
        positions = self.steps_run * self.settings.block_length
        process = asdict(self.settings.process)
        halt = {
            "patience": process.pop("halt_patience", 0),
            "margin": process.pop("halt_margin", 0),
        }
        return {
            "text": self.text,
            "tokens": list(self.ids),
            "seed": self.settings.seed,
            "steps": self.settings.steps,
            "seconds": round(self.seconds, 3),
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "david_steps": self.david_steps,
            "weight": self.weight,
            "contrast": david.contrast,
            "steps_run": self.steps_run,
            "missed": self.missed,
            "late": self.late,
            "finish_reason": self.finish_reason.value,
            "suffix": self.suffix,
            "full_text": self.full_text,
            "block_length": self.settings.block_length,
            "max_tokens": self.settings.max_tokens,
            "halt": halt,
            "codec": david.settings.codec.value,
            "late_rule": self.settings.late_rule.value,
            "certify": self.settings.certify,
            "uncertified": self.certification.uncertified,
            "asks": self.certification.asks,
            "asked_ids": self.certification.asked_ids,
            "certified_at_once": max(0, positions - self.certification.doubted),
            "lag": self.settings.lag,
            "every": None if self.settings.every is None else asdict(self.settings.every),
            "entries": _shown(david.entries),
            "guide": None if self.guide is None else asdict(self.guide),
            "goliath": self.goliath,
            "david": david.david,
        } | process


def _shown(entries: Mapping[int, int]) -> dict[str, Any] | None:
    if not entries:
        return None
    rows = {str(one): count for one, count in sorted(entries.items())}
    return {"p50": entries_at(entries, 0.5), "p99": entries_at(entries, 0.99), "rows": rows}
