"""A question, the David that helps with it, the drafts on the way, and the reply."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from common.collaboration.certification import Tally
from common.collaboration.codec import MOST_ENTRIES, reach_for
from common.collaboration.contribution import entries_at
from common.collaboration.contributor import Contributor, Encoding
from common.collaboration.room import check_room
from common.collaboration.settings import ContributorSettings, Limits, Requested, SessionSettings
from common.collaboration.timing import timing_of
from common.denoising.plan import FinishReason
from common.denoising.process import Process, Shown, View
from common.errors import UsageError
from common.guidance.choice import GuideChoice
from common.models.registry import LanguageModel
from common.text.templates import Message

CONTRIBUTOR_ID = "david"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how."""

    messages: tuple[Message, ...]
    """Public: both sides see them. The answer follows the last one."""
    seed: int
    """Seed of all noise, uint64."""
    suffix: str = ""
    """Public text after the answer."""
    context: str = ""
    """Private: only David sees it."""
    contrast: float = 0.0
    """The factor a; needs a context."""
    requested: Requested = field(default_factory=Requested)
    """Settings that shall not be the server's defaults."""

    @property
    def prompt(self) -> str:
        """What the answer follows."""
        return self.messages[-1].content

    def settings(self, defaults: SessionSettings) -> SessionSettings:
        """The session's settings to ask for, given those that suit the large model.

        Before a suffix no block is longer than the answer may be: cut off, it would not lead there.
        """
        settings = replace(self.requested.session(defaults), seed=self.seed)
        if not self.suffix:
            return settings
        return replace(settings, block_length=min(settings.block_length, settings.max_tokens))

    def prefixes(
        self, david: LanguageModel, settings: SessionSettings
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What David reads before the answer: with the context, and without it.

        Raises:
            UsageError: a contrast without a context.
            BadDataError: the texts and the longest answer do not fit his model.
        """
        if self.contrast and not self.context:
            raise UsageError(
                f"contrast {self.contrast} needs a context to compare with, and there is none",
                remedy="Give --context FILE, or leave --contrast out",
            )
        private = david.template.ids(self.messages, self.context)
        context = len(david.vocabulary.encode(self.context).ids)
        answer = settings.blocks * settings.block_length + len(david.template.after(self.suffix))
        check_room(
            context,
            beside=len(private) - context + answer,
            positions=david.predictor.max_positions,
        )
        return private, david.template.ids(self.messages)

    def contributor(
        self,
        david: LanguageModel,
        rows: Callable[[View], Awaitable[Tensor]],
        process: Process,
        settings: SessionSettings,
        mine: ContributorSettings,
        limits: Limits | None = None,
    ) -> Contributor:
        """David's part in a session on these terms, within the server's limits.

        Args:
            david: the small model.
            rows: its rows of a view, such as `Batcher.predict`.
            process: the session's process.
            settings: the session's settings.
            mine: the contributor's.
            limits: the server's; None for the default ones.

        Raises:
            UsageError: a contrast without a context, or a lag together with an `every`.
            BadDataError: the texts and the longest answer do not fit David's model.
        """
        prefixes = self.prefixes(david, settings)
        return Contributor(
            rows,
            process,
            prefixes,
            suffix=david.template.after(self.suffix),
            contrast=self.contrast,
            encoding=Encoding(
                mine.codec,
                min(MOST_ENTRIES, (limits or Limits()).max_entries),
                reach_for(process.draw, mine.weight),
            ),
            certify=settings.certify,
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
    """David's share."""

    @classmethod
    def of(cls, settings: SessionSettings, shown: Shown, **known: Any) -> "Draft":
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
    mine: ContributorSettings
    """What was agreed with David."""
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
        process = asdict(self.settings.process)
        halt = {
            "patience": process.pop("halt_patience", 0),
            "margin": process.pop("halt_margin", 0),
        }
        return process | {
            "text": self.text,
            "tokens": list(self.tokens),
            "seed": self.settings.seed,
            "steps": self.settings.steps,
            "seconds": round(self.seconds, 3),
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "david_steps": self.david_steps,
            "weight": self.mine.weight,
            "contrast": self.contrast,
            "steps_run": self.steps_run,
            "missed": self.missed,
            "late": self.late,
            "finish_reason": self.finish_reason.value,
            "suffix": self.suffix,
            "full_text": self.full_text,
            "block_length": self.settings.block_length,
            "max_tokens": self.settings.max_tokens,
            "halt": halt,
            "codec": self.mine.codec.value,
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
