"""The state machine of one session: what may open, which steps count, what is told at the end."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.collaboration.fusion import fuse
from common.collaboration.settings import Limits
from common.denoising.halting import HaltRule
from common.denoising.loop import Predict, Result, denoise
from common.denoising.plan import FinishReason
from common.denoising.streams import Philox
from common.errors import (
    BadDataError,
    CollaborationError,
    InvalidFrameError,
    MissingFeatureError,
    ProcessMismatchError,
    StepOutOfRangeError,
    VocabularyMismatchError,
)
from common.processes.simplex.settings import Projection, SelfConditioning
from common.text.templates import asked
from common.wire.conversions import split_contribution
from common.wire.frames import Checkpoint, Outcome, Role
from goliath_server.session import Host, Session, open_session
from tests.serving import GOLIATH, PROMPT, VOCABULARY, contribution, mine, open_frame, settings

HOST = Host(GOLIATH, Limits())


def opened(**changes: Any) -> Session:
    frame = open_frame(settings(**changes), mine(**changes))
    return open_session(frame, HOST, session_id="s")


def parts(session: Session, block: int, step: int, *, size: int = 2**20) -> list[Any]:
    return list(
        split_contribution(
            contribution(session.opened, block, step),
            vocabulary_size=VOCABULARY.size,
            max_message_bytes=size,
        )
    )


def begun(session: Session, steps: int = 1) -> Any:
    """The session with so many steps begun and all but the last closed without a contribution."""
    loop = denoise(session.plan, Philox(7))
    request: Any = next(loop)
    for step in range(steps):
        assert isinstance(request, Predict)
        session.begin(request.shown)
        if step + 1 < steps:
            (rows,) = GOLIATH.predictor.predict([request.view])
            loop.send(rows)
            assert session.close() is None
            request = loop.send(fuse(rows, []))
    return request.shown


def outcomes(session: Session) -> list[Outcome]:
    nothing = Result(np.empty(0, np.int64), FinishReason.MAX_TOKENS, 0, 0, 0, np.empty(0, np.uint8))
    (told,) = session.completed(nothing, uncertified=0).participations
    return [Outcome(one) for one in told.outcomes]


def test_what_is_agreed_is_what_was_wished() -> None:
    session = opened()
    assert session.opened.settings == settings()
    assert session.opened.times == GOLIATH.predictor.config.warp.table(3)
    assert session.opened.prompt_ids.tolist() == list(
        VOCABULARY.prompt_ids(VOCABULARY.encode(PROMPT).ids)
    )
    assert session.opened.features == ()


@pytest.mark.parametrize("kind", SelfConditioning)
@pytest.mark.parametrize("projection", Projection)
def test_every_way_of_sampling_suits_every_model(
    kind: SelfConditioning, projection: Projection
) -> None:
    session = opened(self_conditioning=kind, projection=projection, halt_patience=2, halt_margin=1)
    assert session.plan.process.self_conditioning is kind
    assert session.plan.process.projection is projection
    assert session.plan.process.halting == HaltRule(2, 1.0)


def test_a_fused_signal_is_shown_with_its_step() -> None:
    session = opened(self_conditioning=SelfConditioning.FUSED)
    request = begun(session)
    assert session.begin(request).state.signal is None
    request = begun(session, steps=2)
    shown = session.begin(request).state.signal
    assert shown is not None
    assert shown is request.state.signal
    assert shown.ids.shape == shown.probabilities.shape
    assert len(shown.ids) == 16


def test_a_suffix_needs_its_feature() -> None:
    frame = open_frame(suffix="serve hot", required_features=("suffix",))
    session = open_session(frame, HOST, session_id="s")
    assert session.opened.features == ("suffix",)
    assert session.plan.suffix[-1] == VOCABULARY.sep
    with pytest.raises(MissingFeatureError, match="suffix"):
        open_session(replace(frame, required_features=()), HOST, session_id="s")


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"role": Role.CONTRIBUTOR}, MissingFeatureError, "joining"),
        ({"session_id": "old"}, MissingFeatureError, "resuming"),
        ({"required_features": ("telepathy",)}, MissingFeatureError, "telepathy"),
        (
            {"vocabulary": replace(VOCABULARY.summary, form=bytes(8))},
            VocabularyMismatchError,
            "cut into them by other rules",
        ),
        (
            {"process": replace(open_frame().process, k=4.0, extremes_rows=3)},
            ProcessMismatchError,
            r"k: Goliath 5.0, David 4.0; extremes_rows",
        ),
        ({"messages": asked("")}, BadDataError, "empty"),
        ({"messages": asked(" \n\t ")}, BadDataError, "empty"),
        ({"messages": asked("soup " * 300)}, BadDataError, "256 positions"),
        ({"settings": settings(max_tokens=250)}, BadDataError, "256 positions"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_remedy(
    changes: dict[str, Any], error: type[CollaborationError], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        open_session(open_frame(**changes), HOST, session_id="s")
    assert caught.value.remedy


def test_a_checkpoint_is_refused() -> None:
    kept = Checkpoint(opened().opened, 0, np.empty(0, np.int64), ())
    with pytest.raises(MissingFeatureError, match="resuming"):
        open_session(open_frame(checkpoint=kept), HOST, session_id="s")


def test_certify_needs_its_feature_and_a_server_that_asks() -> None:
    frame = open_frame(settings(certify=True), required_features=("certify",))
    assert open_session(frame, HOST, session_id="s").opened.features == ("certify",)
    with pytest.raises(MissingFeatureError, match="certify"):
        open_session(replace(frame, required_features=()), HOST, session_id="s")
    for limits in (Limits(max_ask_ids=0), Limits(max_ask_ids_per_position=0)):
        silent = replace(HOST, limits=limits)
        assert "certify" not in silent.features
        with pytest.raises(MissingFeatureError, match="certify"):
            open_session(frame, silent, session_id="s")


def test_unknown_optional_features_are_left_out() -> None:
    frame = open_frame(optional_features=("suffix", "telepathy"))
    assert open_session(frame, HOST, session_id="s").opened.features == ("suffix",)


def test_a_contribution_in_parts_is_taken_whole() -> None:
    session = opened()
    begun(session)
    pieces = parts(session, 0, 0, size=256 + 40)
    assert len(pieces) > 1
    for piece in pieces:
        assert not session.answered
        session.accept(piece)
    assert session.answered
    assert session.mine.weight == 0.75
    contribution = session.close()
    assert contribution is not None
    assert len(contribution.counts) == 16


def test_a_contribution_ahead_is_refused() -> None:
    session = opened()
    begun(session)
    with pytest.raises(StepOutOfRangeError, match=r"got \(0, 1\)"):
        session.accept(parts(session, 0, 1)[0])


def test_steps_that_halting_left_out_never_came() -> None:
    """A block that ends at its second step: the numbers of later steps move up."""
    session = opened(max_tokens=32)
    first, second = (begun(opened(), steps=n) for n in (1, 2))
    session.begin(first)
    session.close()
    session.begin(second)
    session.close()
    session.begin(replace(first, state=replace(first.state, block=1)))
    session.accept(parts(session, 0, 1)[0])
    with pytest.raises(StepOutOfRangeError, match=r"got \(0, 2\)"):
        session.accept(parts(session, 0, 2)[0])
    session.accept(parts(session, 1, 0)[0])
    session.close()
    assert outcomes(session) == [Outcome.MISSED, Outcome.LATE, Outcome.TOOK_PART]


def test_late_ones_and_copies_are_counted_and_dropped() -> None:
    session = opened()
    begun(session, steps=2)
    session.accept(parts(session, 0, 0)[0])
    for _ in range(2):
        session.accept(parts(session, 0, 1)[0])
    assert session.dropped == 2
    assert session.close() is not None
    assert outcomes(session) == [Outcome.LATE, Outcome.TOOK_PART]


def test_the_rest_of_a_step_that_was_closed_does_not_disturb_the_next() -> None:
    session = opened()
    first, *_ = parts(session, 0, 0, size=256 + 40)
    begun(session, steps=1)
    session.accept(first)
    assert session.close() is None
    session.begin(begun(opened(), steps=2))
    for piece in parts(session, 0, 0, size=256 + 40)[1:]:
        session.accept(piece)
    session.accept(parts(session, 0, 1)[0])
    assert session.answered
    session.close()
    assert outcomes(session) == [Outcome.LATE, Outcome.TOOK_PART]


def test_parts_out_of_order_break_the_contract() -> None:
    session = opened()
    begun(session)
    with pytest.raises(InvalidFrameError):
        session.accept(parts(session, 0, 0, size=256 + 40)[1])


def test_weight_0_collects_nothing() -> None:
    session = opened(weight=0.0)
    begun(session)
    assert session.answered
    session.accept(parts(session, 0, 0)[0])
    assert session.dropped == 1
    assert session.close() is None
    with pytest.raises(ValueError, match="unpack"):
        outcomes(session)
