"""One session as a state machine: no gRPC, no clock, no model.

It decides what may open, which step is in flight, what a contribution to another step means, and
what the client reads at the end. The stream and the budgets are the driver's.
"""

from dataclasses import dataclass

import numpy as np

from common.collaboration.compatibility import check_process, check_vocabulary, default_settings
from common.collaboration.contribution import Answer, Ask, Contribution
from common.collaboration.opening import plan_for
from common.collaboration.settings import ContributorSettings, Limits, Mode
from common.collaboration.timing import timing_of
from common.denoising.loop import Result
from common.denoising.plan import Plan
from common.denoising.process import Shown
from common.errors import InvalidFrameError, MissingFeatureError, StepOutOfRangeError
from common.guidance.choice import GuideChoice
from common.models.registry import LanguageModel
from common.wire.conversions import ContributionAssembler
from common.wire.frames import (
    DRAFT,
    Agreed,
    Completed,
    ContributionChunk,
    Open,
    Opened,
    Outcome,
    Participation,
    Role,
    ServerInfo,
    Step,
)

FEATURES = ("suffix", "certify", DRAFT)
"""Features that this server has."""


@dataclass(frozen=True, slots=True)
class Host:
    """What this server's model brings to every session."""

    model: LanguageModel
    limits: Limits
    guide: GuideChoice | None = None
    """What steers every answer, by the operator's choice; its name and label stay here."""

    @property
    def features(self) -> tuple[str, ...]:
        """The names of what this server has, and does."""
        asks = self.limits.max_ask_ids_per_position > 0 and self.limits.max_ask_ids > 0
        has = tuple(name for name in FEATURES if asks or name != "certify")
        return (*has, "guided") if self.guide is not None and self.guide.acts else has

    def info(self, *, software_version: str) -> ServerInfo:
        """What the server says of itself to any client."""
        return ServerInfo(
            software_version=software_version,
            model_name=self.model.name,
            vocabulary=self.model.vocabulary.summary,
            vocabulary_size=self.model.vocabulary.size,
            process=self.model.predictor.process,
            limits=self.limits,
            defaults=default_settings(self.model),
            contributor_defaults=ContributorSettings(),
            features=self.features,
        )


@dataclass(slots=True, eq=False)
class _Awaited:
    """A contribution that a step uses, before it came, in parts, or whole."""

    assembler: ContributionAssembler
    whole: Contribution | None = None


class Session:
    """One generation, and what of it concerns the David of its client.

    With an agreed weight of 0 the client sends no contributions, and none are waited for. At most
    one contribution more than the lag is held at a time.
    """

    def __init__(self, opened: Opened, plan: Plan, *, contributor_id: str) -> None:
        """Begin before the first step; `open_session` makes one from a client's first frame."""
        self.opened = opened
        self.plan = plan
        self.contributor_id = contributor_id
        (self.mine,) = (
            one.settings for one in opened.contributors if one.contributor_id == contributor_id
        )
        """What was agreed with this client."""
        self.moment = (0, 0)
        """Block and step in flight."""
        self.finished = False
        """Whether the client asked for an end."""
        self.dropped = 0
        """Parts of contributions, and answers, that came too late or twice."""
        self.answer: Answer | None = None
        """The answer to the ask of the step in flight, when it is there."""
        self._outcomes: list[Outcome] = []
        self._numbers: dict[tuple[int, int], int] = {}
        self._asked: dict[tuple[int, int], int] = {}
        self._timing = timing_of(opened.settings)
        self._awaited: dict[int, _Awaited] = {}
        """By step of the block in flight: what this step or a later one uses."""

    @property
    def collects(self) -> bool:
        """Whether steps wait for contributions."""
        return self.mine.weight > 0

    @property
    def source(self) -> int:
        """The step of this block whose contribution the step in flight uses."""
        return self._timing.source(self.moment[1])

    @property
    def answered(self) -> bool:
        """Whether the step in flight has its contribution, or needs none."""
        return not self.collects or self._awaited[self.source].whole is not None

    def begin(self, shown: Shown) -> Step:
        """Put the next step in flight; what the client is shown of it."""
        state = shown.state
        self._await(state.block, state.step, len(shown.open))
        self.moment = (state.block, state.step)
        # Halting may leave steps out: a step's number cannot be computed from its moment.
        self._numbers[self.moment] = len(self._numbers)
        return Step(
            block=state.block,
            step=state.step,
            state=state,
            finished_ids=shown.finished,
            decided=shown.decided,
        )

    def _await(self, block: int, step: int, rows: int) -> None:
        """Forget the contributions that are of no use any more, and await that to the next step."""
        self._awaited = {
            one: awaited
            for one, awaited in self._awaited.items()
            if block == self.moment[0] and self._timing.awaited(one, step)
        }
        if self.collects and self._timing.wanted(step):
            self._awaited[step] = _Awaited(ContributionAssembler(rows))

    def accept(self, chunk: ContributionChunk) -> None:
        """Take in a part of a contribution; one that is late, comes twice or was not wanted is
        dropped.

        Raises:
            StepOutOfRangeError: It is to a step that did not come.
            InvalidFrameError: It does not follow the part before.
        """
        if (chunk.block, chunk.step) not in self._numbers:
            raise StepOutOfRangeError(
                f"contribution: expected block and step of a step up to {self.moment}, "
                f"got {(chunk.block, chunk.step)}",
                remedy="Answer a step only after it came",
            )
        awaited = self._awaited.get(chunk.step) if chunk.block == self.moment[0] else None
        if awaited is None or awaited.whole is not None:
            self.dropped += 1
        else:
            awaited.whole = awaited.assembler.add(chunk)
        if chunk.index + 1 == chunk.count:
            self._note_late(chunk.block, chunk.step)

    def _note_late(self, block: int, step: int) -> None:
        """The steps that went on without this contribution did not miss it for ever."""
        for one in self._timing.uses(step):
            number = self._numbers.get((block, one), len(self._outcomes))
            if number >= len(self._outcomes) or self._outcomes[number] is not Outcome.MISSED:
                return
            self._outcomes[number] = Outcome.LATE

    def close(self) -> Contribution | None:
        """End the step in flight; its contribution, if it is whole."""
        contribution = self._awaited[self.source].whole if self.collects else None
        self._outcomes.append(Outcome.MISSED if contribution is None else Outcome.TOOK_PART)
        return contribution

    def ask(self, ask: Ask) -> None:
        """Put the ask of the step in flight on its way."""
        self.answer = None
        self._asked[self.moment] = len(ask.ids)

    def take(self, answer: Answer) -> None:
        """Take in an answer; one that is late is dropped.

        Raises:
            StepOutOfRangeError: It is to a step that did not come.
            InvalidFrameError: It is to no ask, or not as long as its ask.
        """
        moment = (answer.block, answer.step)
        if moment not in self._numbers:
            raise StepOutOfRangeError(
                f"answer: expected block and step of a step up to {self.moment}, got {moment}",
                remedy="Answer an ask only after it came",
            )
        count = self._asked.pop(moment, None)
        if count is None:
            raise InvalidFrameError(f"frame: expected no answer to step {moment}: no ask is open")
        if len(answer.values) != count:
            raise InvalidFrameError(
                f"answer.values: expected {count} values, got {len(answer.values)}",
                remedy="Answer all ids of the ask, in its order",
            )
        if moment == self.moment:
            self.answer = answer
        else:
            self.dropped += 1

    def completed(self, result: Result, *, uncertified: int) -> Completed:
        """The answer of a generation that ended."""
        outcomes = np.array(self._outcomes, np.uint8)
        participations = (Participation(self.contributor_id, outcomes),) if self.collects else ()
        return Completed(
            block=result.block,
            step=result.step,
            ids=result.ids,
            finish_reason=result.finish_reason,
            participations=participations,
            decided=result.decided,
            uncertified=uncertified,
        )


def open_session(frame: Open, host: Host, *, session_id: str) -> Session:
    """The session that a checked first frame asks for.

    Raises:
        MissingFeatureError: It needs what this server does not have.
        VocabularyMismatchError, ProcessMismatchError: The client's model does not fit.
        BadDataError: The prompt is empty, or too long for the model.
    """
    features = _agreed_features(frame, host.features)
    model = host.model
    check_vocabulary(model.vocabulary.summary, frame.vocabulary)
    check_process(model.predictor.process, frame.process)
    plan = plan_for(model, frame.settings, messages=frame.messages, suffix=frame.suffix)
    mine = Agreed(frame.contributor_id, frame.contributor, frame.display_name)
    opened = Opened(
        session_id=session_id,
        settings=frame.settings,
        contributors=(mine,),
        process=model.predictor.process,
        messages=frame.messages,
        prompt_ids=np.array(plan.prompt, np.int64),
        suffix_ids=np.array(plan.suffix, np.int64),
        times=model.predictor.times(frame.settings.steps),
        end_ids=model.vocabulary.ends,
        limits=host.limits,
        model_name=model.name,
        vocabulary_size=model.vocabulary.size,
        features=features,
    )
    return Session(opened, plan, contributor_id=frame.contributor_id)


def _agreed_features(frame: Open, features: tuple[str, ...]) -> tuple[str, ...]:
    named = {*frame.required_features, *frame.optional_features}
    needs = [name for name in frame.required_features if name not in features]
    if frame.role is Role.CONTRIBUTOR:
        needs.append("joining another's session")
    if frame.session_id or frame.checkpoint is not None:
        needs.append("resuming a session")
    if frame.contributor.mode is Mode.DELTA:
        needs.append("contributions of the mode delta")
    for name, used in (("suffix", bool(frame.suffix)), ("certify", frame.settings.certify)):
        if used and name not in named:
            needs.append(f"{name}, which the frame has and does not name")
    if needs:
        raise MissingFeatureError(
            f"features: this server has {', '.join(features)}; it cannot do: {', '.join(needs)}",
            remedy="Open a new session as its owner with features that the server lists",
        )
    return tuple(name for name in features if name in named)
