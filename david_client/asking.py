"""A question, and the David that helps with it; importing this imports no torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self

from common.collaboration.room import check_room
from common.collaboration.settings import ContributorSettings, Requested, SessionSettings
from common.errors import UsageError
from common.models.registry import DEFAULT_DAVID, LanguageModel, open_model
from common.program.device import settle_device

if TYPE_CHECKING:
    from torch import Tensor

    from common.denoising.process import View
    from common.models.predictor import Predictor
    from common.text.templates import Message, Template
    from common.text.vocabulary import Vocabulary

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
        public = model.template.ids(question.messages)
        private = model.template.ids(question.messages, self.context) if self.context else public
        context = len(model.vocabulary.encode(self.context).ids)
        after = model.template.after(question.suffix)
        answer = settings.blocks * settings.block_length + len(after)
        beside = len(private) - context + answer
        check_room(context, beside=beside, positions=model.predictor.max_positions)
        return private, public


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
