"""A question, the David that helps with it, the drafts on the way, and the reply; importing this
imports no torch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from common.collaboration.contribution import Tally, entries_at
from common.collaboration.room import check_room
from common.collaboration.settings import ContributorSettings, Requested, SessionSettings
from common.denoising.plan import Decider, FinishReason
from common.errors import UsageError
from common.guidance.choice import GuideChoice
from common.models.registry import DEFAULT_DAVID, LanguageModel, open_model
from common.program.device import settle_device
from david_client.joining import joined

if TYPE_CHECKING:
    from torch import Tensor

    from common.denoising.loop import Result
    from common.denoising.process import Shown, View
    from common.models.predictor import Predictor
    from common.text.templates import Message, Template
    from common.text.vocabulary import Vocabulary
    from common.wire.frames import Completed

CONTRIBUTOR_ID = "david"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how: all of it public."""

    messages: tuple[Message, ...]
    """Both sides see them. The answer follows the last one."""
    seed: int
    """Seed of all noise, uint64."""
    suffix: str = ""
    """Text after the answer."""
    requested: Requested = field(default_factory=Requested)
    """Settings of the session that shall not be the server's defaults."""

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


class David:
    """A small model, what it alone reads, and its share of the answer."""

    def __init__(
        self,
        model: LanguageModel | Predictor | Callable[[View], Tensor],
        *,
        vocabulary: Vocabulary | None = None,
        template: Template | None = None,
        context: str = "",
        contrast: float = 0.0,
        weight: float | None = None,
        **settings: Any,
    ) -> None:
        """Take part with a loaded model, or with anything that turns a view into rows of logits.

        Args:
            model: a loaded model, a `Predictor`, or a function from a view to its rows, (open, V)
                or (1, open, V), floating point.
            vocabulary: of a predictor or a function; None for Goliath's, if it is in this process.
            template: likewise.
            context: private text: nobody else sees it.
            contrast: how much the context is stressed, at least 0; needs a context.
            weight: share of the answer, 0 to 1; None for the default, 0.75.
            settings: others of `common.collaboration.settings.ContributorSettings`.

        Raises:
            UsageError: there is no such setting, or a value is out of range.
        """
        foreign = set(settings) - {one.name for one in fields(ContributorSettings)}
        if foreign:
            raise UsageError(
                f"{min(foreign)}: no setting of a David",
                remedy="Settings of the session, such as steps, are given where it is asked",
            )
        self.name = str(getattr(model, "name", getattr(model, "__name__", type(model).__name__)))
        self.context = context
        self.contrast = contrast
        values = settings if weight is None else settings | {"weight": weight}
        self.requested = Requested(values)
        self.requested.contributor(ContributorSettings())
        self._model = model
        self._vocabulary = vocabulary
        self._template = template

    @classmethod
    def load(
        cls,
        name: str = DEFAULT_DAVID,
        *,
        device: str = "auto",
        dtype: str = "float32",
        context: str = "",
        contrast: float = 0.0,
        weight: float | None = None,
        **settings: Any,
    ) -> Self:
        """A small model by its folder or name.

        Args:
            name: a folder, or a name that `david models` lists.
            device: a torch device; "auto" takes a GPU where there is one.
            dtype: "float32", "bfloat16" or "float16".
            context: as in `David`; so are the others.
            contrast: see there.
            weight: see there.
            settings: see there.

        Raises:
            BadModelError: it cannot be loaded.
            UsageError: there is no such device or setting, or a value is out of range.
        """
        model = open_model(name, device=settle_device(device), dtype=dtype)
        return cls(model, context=context, contrast=contrast, weight=weight, **settings)

    def model_for(self, goliath: LanguageModel | None) -> LanguageModel:
        """The model that takes part, with what it lacks taken from the large one.

        Args:
            goliath: the large model; None where it runs elsewhere.

        Raises:
            UsageError: vocabulary or template are missing.
        """
        if isinstance(self._model, LanguageModel):
            return self._model
        vocabulary, template = self._vocabulary, self._template
        if goliath is not None:
            vocabulary, template = vocabulary or goliath.vocabulary, template or goliath.template
        if vocabulary is None or template is None:
            raise UsageError(
                f"{self.name}: expected a vocabulary and a template, which a server does not give",
                remedy="Give David vocabulary= and template=, those of the server's model",
            )
        custom = _Custom(self._model, vocabulary.size)
        return LanguageModel(self.name, custom, vocabulary, template)

    def prefixes(
        self, model: LanguageModel, question: Question, settings: SessionSettings
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What the model reads before the answer: with the context, and without it.

        Raises:
            UsageError: a contrast without a context.
            BadDataError: the texts and the longest answer do not fit the model.
        """
        if self.contrast and not self.context:
            raise UsageError(
                f"contrast {self.contrast} needs a context to compare with, and there is none",
                remedy="Give --context FILE, or leave --contrast out",
            )
        private = model.template.ids(question.messages, self.context)
        context = len(model.vocabulary.encode(self.context).ids)
        after = model.template.after(question.suffix)
        answer = settings.blocks * settings.block_length + len(after)
        beside = len(private) - context + answer
        check_room(context, beside=beside, positions=model.predictor.max_positions)
        return private, model.template.ids(question.messages)


@dataclass(frozen=True, slots=True)
class _Custom:
    """A predictor, or a function from a view to rows, that is not ours, with its rows checked."""

    source: Any
    vocabulary_size: int

    @property
    def max_positions(self) -> int:
        """Longest text, in tokens; a function reads any."""
        return int(getattr(self.source, "max_positions", sys.maxsize))

    def predict(self, views: Sequence[View]) -> Sequence[Tensor]:
        """Rows (1, open, V) fp32 of each view.

        Raises:
            UsageError: they have another shape.
        """
        predict = getattr(self.source, "predict", lambda views: map(self.source, views))
        rows = []
        for view, one in zip(views, predict(views), strict=True):
            shape = (1, len(view.open), self.vocabulary_size)
            if tuple(one.shape) not in (shape, shape[1:]):
                raise UsageError(
                    f"a David's rows: expected the shape {shape[1:]} of open positions and "
                    f"vocabulary, got {tuple(one.shape)}"
                )
            rows.append(one.reshape(shape).float())
        return rows


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
