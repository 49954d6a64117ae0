"""One session as a state machine: no gRPC, no clock, no model.

It decides what may open, which step is in flight, what a contribution to another step means, and
what is told at the end. The stream and the budgets are the driver's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from common.collaboration.certification import AskCaps, Doubt, all_answered, doubts
from common.collaboration.compatibility import (
    check_process,
    check_vocabulary,
    default_settings,
    process_of,
)
from common.collaboration.contribution import Answer, Ask, Contribution
from common.collaboration.fusion import Voice
from common.collaboration.plan import plan_for
from common.collaboration.timing import timing_of
from common.denoising.loop import Plan, Predict, Result
from common.errors import InvalidFrameError, MissingFeatureError, StepOutOfRangeError
from common.guidance.choice import GuideChoice
from common.models.simplex_network import SimplexDiffusionConfig
from common.denoising.plan import FinishReason
from common.text.wordpiece import WordPieceVocabulary
from common.wire.conversions import ContributionAssembler
from common.wire.frames import (
    Completed,
    ContributionChunk,
    Limits,
    Open,
    Opened,
    Outcome,
    Participation,
    Role,
    ServerInfo,
    Step,
)

FEATURES = ("suffix", "certify")
"""Features that this server has."""


@dataclass(frozen=True, slots=True)
class Host:
    """What this server's model brings to every session."""

    name: str
    config: SimplexDiffusionConfig
    vocabulary: WordPieceVocabulary
    fingerprint: bytes
    """SHA-256 of the vocabulary."""
    limits: Limits
    guide: GuideChoice | None = None
    """What steers every answer, by the operator's choice; its name and label stay here."""

    @property
    def features(self) -> tuple[str, ...]:
        """What is told of what this server has, and does."""
        asks = self.limits.max_ask_ids_per_position > 0 and self.limits.max_ask_ids > 0
        has = tuple(name for name in FEATURES if asks or name != "certify")
        return (*has, "guided") if self.guide is not None and self.guide.acts else has

    def info(self, *, software_version: str) -> ServerInfo:
        """What is told to anyone who asks."""
        return ServerInfo(
            software_version=software_version,
            model_name=self.name,
            vocabulary_fingerprint=self.fingerprint,
            vocabulary_size=self.vocabulary.size,
            process=process_of(self.config),
            limits=self.limits,
            defaults=default_settings(self.config),
            features=self.features,
        )


@dataclass(slots=True, eq=False)
class _Awaited:
    """A contribution that a step uses, before it came, in parts, or whole."""

    assembler: ContributionAssembler
    whole: Contribution | None = None


class Session:
    """One generation and the one David that takes part in it.

    With an agreed weight of 0 the client sends no contributions, and none are waited for. At most
    one contribution more than the lag is held at a time.
    """

    def __init__(self, opened: Opened, plan: Plan, *, contributor_id: str) -> None:
        """Begin before the first step; `open_session` makes one from a client's first frame."""
        self.opened = opened
        self.plan = plan
        self.contributor_id = contributor_id
        self.moment = (0, 0)
        """Block and step in flight."""
        self.dropped = 0
        """Parts of contributions, and answers, that came too late or twice."""
        self.uncertified = 0
        """Positions of closed steps where entries that were not sent could have mattered."""
        self._outcomes: list[Outcome] = []
        self._numbers: dict[tuple[int, int], int] = {}
        self._asked: dict[tuple[int, int], int] = {}
        self._answer: Answer | None = None
        self._timing = timing_of(opened.settings)
        self._awaited: dict[int, _Awaited] = {}
        """By step of the block in flight: what this step or a later one uses."""

    @property
    def collects(self) -> bool:
        """Whether steps wait for contributions."""
        return self.opened.settings.weight > 0

    @property
    def source(self) -> int:
        """The step of this block whose contribution the step in flight uses."""
        return self._timing.source(self.moment[1])

    @property
    def answered(self) -> bool:
        """Whether the step in flight has its contribution, or needs none."""
        return not self.collects or self._awaited[self.source].whole is not None

    def begin(self, request: Predict) -> Step:
        """Put the next step in flight; what the client is shown of it."""
        state = request.state
        self._await(state.block, state.step)
        self.moment = (state.block, state.step)
        # Halting may leave steps out: a step's number cannot be computed from its moment.
        self._numbers[self.moment] = len(self._numbers)
        return Step(
            block=state.block,
            step=state.step,
            estimate=state.estimate,
            finished_ids=request.finished,
            decided=request.decided,
            fused=request.signal,
        )

    def _await(self, block: int, step: int) -> None:
        """Forget the contributions that are of no use any more, and await that to the next step."""
        self._awaited = {
            one: awaited
            for one, awaited in self._awaited.items()
            if block == self.moment[0] and self._timing.awaited(one, step)
        }
        if self.collects and self._timing.wanted(step):
            self._awaited[step] = _Awaited(ContributionAssembler(self.plan.block_length))

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

    def close(self) -> list[Voice]:
        """End the step in flight, with the contribution if it is whole; what is to be fused."""
        contribution = self._awaited[self.source].whole if self.collects else None
        self._outcomes.append(Outcome.MISSED if contribution is None else Outcome.TOOK_PART)
        if contribution is None:
            return []
        return [Voice(self.contributor_id, self.opened.settings.weight, contribution)]

    def doubts(self, core: Tensor, voices: Sequence[Voice], *, asking: bool) -> Doubt:
        """The step in flight fused, and what may be asked of it if its client agreed to that.

        Args:
            core: the large model's logits, (1, positions, V) fp32.
            voices: what `close` gave, with the answer if there is one.
            asking: whether something may still be asked.
        """
        limits = self.opened.limits
        caps = AskCaps(limits.max_ask_ids_per_position, limits.max_ask_ids)
        block, step = self.moment
        asking &= self.opened.settings.certify
        return doubts(
            self.plan, core, voices, block=block, step=step, caps=caps if asking else None
        )

    def ask(self, doubt: Doubt) -> Ask | None:
        """Put the ask of the step in flight on its way; None where there is none."""
        self._answer = None
        ask = doubt.asks.get(self.contributor_id)
        if ask is not None:
            self._asked[self.moment] = len(ask.ids)
        return ask

    @property
    def settled(self) -> bool:
        """Whether the ask of the step in flight has its answer."""
        return self._answer is not None

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
            self._answer = answer
        else:
            self.dropped += 1

    def answered_voices(self, voices: Sequence[Voice], ask: Ask) -> list[Voice]:
        """The voices of the step in flight with the answer to its ask.

        Raises:
            InvalidFrameError: The answer contradicts the contribution.
        """
        assert self._answer is not None
        name = self.contributor_id
        return all_answered(voices, {name: ask}, {name: self._answer})

    def completed(self, result: Result) -> Completed:
        """The answer of a generation that came to its end."""
        return Completed(
            block=result.block,
            step=result.step,
            ids=result.ids,
            finish_reason=result.finish_reason,
            participations=self._participations(),
            decided=result.decided,
            uncertified=self.uncertified,
        )

    def stopped(self, request: Predict, reason: FinishReason) -> Completed:
        """The draft as it stands before a step, for an end before the end."""
        draft = np.array(request.prefix[len(self.plan.prefix) :], np.int64)
        if request.state.estimate.shape[1]:
            draft = np.concatenate((draft, request.state.estimate[:, 0]))
        ended = np.flatnonzero(draft == self.plan.end)
        block, step = request.state.block, request.state.step
        return Completed(
            block=block,
            step=step,
            ids=draft[: ended[0] if len(ended) else None][: self.plan.max_tokens],
            finish_reason=reason,
            participations=self._participations(),
            decided=request.decided,
            uncertified=self.uncertified,
        )

    def _participations(self) -> tuple[Participation, ...]:
        if not self.collects:
            return ()
        return (Participation(self.contributor_id, np.array(self._outcomes, np.uint8)),)


def open_session(frame: Open, host: Host, *, session_id: str) -> Session:
    """The session that a checked first frame asks for.

    Raises:
        MissingFeatureError: It needs what this server does not have.
        VocabularyMismatchError, ProcessMismatchError: The client's model does not fit.
        BadDataError: The prompt is empty, or too long for the model.
    """
    features = _agreed_features(frame, host.features)
    check_vocabulary(host.fingerprint, frame.vocabulary_fingerprint)
    process = process_of(host.config)
    check_process(process, frame.process)
    plan = plan_for(
        host.config, host.vocabulary, frame.settings, prompt=frame.prompt, suffix=frame.suffix
    )
    opened = Opened(
        session_id=session_id,
        settings=frame.settings,
        process=process,
        prompt_ids=np.array(plan.prefix, np.int64),
        suffix_ids=np.array(plan.suffix, np.int64),
        times=plan.times,
        limits=host.limits,
        model_name=host.name,
        vocabulary_size=host.vocabulary.size,
        features=features,
    )
    return Session(opened, plan, contributor_id=frame.contributor_id)


def _agreed_features(frame: Open, features: tuple[str, ...]) -> tuple[str, ...]:
    wished = {*frame.required_features, *frame.optional_features}
    needs = [name for name in frame.required_features if name not in features]
    if frame.role is Role.CONTRIBUTOR:
        needs.append("joining another's session")
    if frame.session_id or frame.checkpoint is not None:
        needs.append("resuming a session")
    for name, used in (("suffix", bool(frame.suffix)), ("certify", frame.settings.certify)):
        if used and name not in wished:
            needs.append(f"{name}, which the frame has and does not name")
    if needs:
        raise MissingFeatureError(
            f"features: this server has {', '.join(features)}; it cannot do: {', '.join(needs)}",
            remedy="Open a new session as its owner with features that the server lists",
        )
    return tuple(name for name in features if name in wished)
