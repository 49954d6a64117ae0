"""The server's record of contributions that serve later steps."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.collaboration.settings import LateRule, Limits
from common.collaboration.timing import Every
from common.denoising.loop import Result, denoise
from common.denoising.plan import FinishReason
from common.denoising.streams import Philox
from common.errors import ContributionFailedError, StepOutOfRangeError
from common.wire.conversions import split_contribution
from common.wire.frames import Completed, Finish, Outcome, Step
from goliath_server.session import Host, Session, open_session
from tests.serving import (
    GOLIATH,
    VOCABULARY,
    bare,
    contribution,
    open_frame,
    serving,
    terms,
)

HOST = Host(GOLIATH, Limits())


# The server's record


def opened(**changes: Any) -> Session:
    return open_session(open_frame(*terms(**changes)), HOST, session_id="s")


def parts(session: Session, step: int, *, size: int = 2**20) -> list[Any]:
    return list(
        split_contribution(
            contribution(session.opened, 0, step),
            vocabulary_size=VOCABULARY.size,
            max_message_bytes=size,
        )
    )


class Steps:
    """Steps of a session, without a model: begun and closed as a test wants it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        request: Any = next(denoise(session.plan, Philox(7)))
        self._first = request.shown

    def begin(self, step: int, block: int = 0) -> None:
        state = replace(self._first.state, block=block, step=step)
        self._session.begin(replace(self._first, state=state))


def outcomes(session: Session) -> list[Outcome]:
    nothing = Result(np.empty(0, np.int64), FinishReason.MAX_TOKENS, 0, 0, 0, np.empty(0, np.uint8))
    (told,) = session.completed(nothing, uncertified=0).participations
    return [Outcome(one) for one in told.outcomes]


TOOK, LATE, MISSED = Outcome.TOOK_PART, Outcome.LATE, Outcome.MISSED


def test_a_contribution_is_kept_until_its_last_use() -> None:
    session = opened(steps=6, lag=2)
    steps = Steps(session)
    fused = []
    for step in range(6):
        steps.begin(step)
        assert session.answered == (step >= 2)
        if step < 4:
            session.accept(parts(session, step)[0])
        assert len(session._awaited) <= 3
        contribution = session.close()
        assert contribution is not None
        fused.append(contribution.step)
    assert fused == [0, 1, 0, 1, 2, 3]
    assert outcomes(session) == [TOOK] * 6
    assert session.dropped == 0


def test_a_fresh_contribution_serves_until_the_next() -> None:
    session = opened(steps=5, every=Every(0, 3, 0))
    steps = Steps(session)
    fused = []
    for step in range(5):
        steps.begin(step)
        assert session.answered == (step not in (0, 3))
        if not session.answered:
            session.accept(parts(session, step)[0])
        assert len(session._awaited) == 1
        contribution = session.close()
        fused += [] if contribution is None else [contribution.step]
    assert fused == [0, 0, 0, 3, 3]


def test_no_contribution_crosses_a_block() -> None:
    session = opened(steps=4, max_tokens=32, lag=2)
    steps = Steps(session)
    for step in (0, 1):
        steps.begin(step)
        session.accept(parts(session, step)[0])
        session.close()
    steps.begin(0, block=1)
    assert list(session._awaited) == [0]
    session.accept(parts(session, 0)[0])
    assert (session.dropped, session.answered) == (1, False)
    assert session.close() is None


def test_one_that_nobody_wants_is_dropped() -> None:
    session = opened(steps=5, every=Every(1, 2, 0))
    steps = Steps(session)
    steps.begin(0)
    session.accept(parts(session, 0)[0])
    session.close()
    steps.begin(1)
    session.accept(parts(session, 1)[0])
    assert session.dropped == 1
    contribution = session.close()
    assert contribution is not None
    assert contribution.step == 0


def test_one_to_a_step_that_did_not_come_is_refused() -> None:
    session = opened(steps=5, lag=2)
    Steps(session).begin(0)
    with pytest.raises(StepOutOfRangeError, match=r"up to \(0, 0\), got \(0, 1\)"):
        session.accept(parts(session, 1)[0])


def test_parts_may_span_steps() -> None:
    session = opened(steps=5, lag=2)
    steps = Steps(session)
    first, *rest = parts(session, 0, size=256 + 40)
    assert rest
    steps.begin(0)
    session.accept(first)
    session.close()
    steps.begin(1)
    for part in [*rest, *parts(session, 1)]:
        session.accept(part)
    session.close()
    steps.begin(2)
    assert session.answered
    contribution = session.close()
    assert contribution is not None
    assert contribution.step == 0
    assert outcomes(session) == [LATE, TOOK, TOOK]


def test_a_late_one_serves_the_steps_that_are_still_open() -> None:
    session = opened(steps=4, every=Every(0, 3, 0))
    steps = Steps(session)
    for step in (0, 1):
        steps.begin(step)
        session.close()
    session.accept(parts(session, 0)[0])
    steps.begin(2)
    contribution = session.close()
    assert contribution is not None
    assert contribution.step == 0
    steps.begin(3)
    session.close()
    assert outcomes(session) == [LATE, LATE, TOOK, MISSED]


async def test_what_comes_too_late_for_its_step_is_told_with_it() -> None:
    agreed = terms(steps=5, lag=1, late_rule=LateRule.SOLO, budget_ms=1000)
    async with serving() as served, bare(served) as client:
        await client.open(open_frame(*agreed))

        async def comes(step: int) -> None:
            shown = await client.read()
            assert isinstance(shown, Step)
            assert shown.step == step

        await comes(0)
        await client.contribute(0, 0)
        # Step 1 uses the same one, step 2 that to step 1, which does not come in time.
        await comes(1)
        await comes(2)
        await client.contribute(0, 2)
        await comes(3)
        await comes(4)
        for step in (1, 4, 3):
            await client.contribute(0, step)
        done = await client.read()
    assert isinstance(done, Completed)
    assert done.participations[0].outcomes.tolist() == [TOOK, TOOK, LATE, TOOK, TOOK]


async def test_fail_names_the_contribution_that_did_not_come() -> None:
    agreed = terms(steps=4, lag=1, late_rule=LateRule.FAIL, budget_ms=300)
    async with serving() as served, bare(served) as client:
        await client.open(open_frame(*agreed))
        await client.read()
        await client.contribute(0, 0)
        verdict = await client.verdict()
    assert type(verdict) is ContributionFailedError
    assert "no contribution to step 1 of block 0 within 0.3 s" in verdict.message


async def test_a_step_that_waits_for_nothing_hears_of_the_end() -> None:
    agreed = terms(steps=300, every=Every(1, 300, 0))
    async with serving() as served, bare(served) as client:
        await client.open(open_frame(*agreed))
        await client.read()
        await client.contribute(0, 0)
        await client.send(Finish(0, 0))
        frame = await client.read()
        while isinstance(frame, Step):
            frame = await client.read()
    assert isinstance(frame, Completed)
    assert frame.finish_reason is FinishReason.CLIENT_FINISHED
