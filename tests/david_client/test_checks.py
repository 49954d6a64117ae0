"""What a client holds a server to: steps in their order, ends in their time, ordinary ids."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.collaboration.contribution import Ask
from common.collaboration.opening import process_for
from common.collaboration.settings import Limits
from common.collaboration.timing import Every
from common.denoising.plan import FinishReason
from common.denoising.process import Process
from common.errors import InvalidFrameError, StepOutOfRangeError
from common.processes.simplex.state import FusedSignal, SimplexState
from common.wire.frames import Completed, Opened, Step
from david_client.checks import check_ask, check_completed, check_step
from goliath_server.session import Host, open_session
from tests.serving import GOLIATH, VOCABULARY, open_frame, terms

HOST = Host(GOLIATH, Limits())
STEPS = 5


def opened(**changes: Any) -> Opened:
    agreed, own = terms(**({"steps": STEPS, "max_tokens": 48} | changes))
    required = ("certify",) if agreed.certify else ()
    frame = open_frame(agreed, own, required_features=required)
    return open_session(frame, HOST, session_id="s").opened


def process(agreed: Opened) -> Process:
    return process_for(agreed.process, agreed.settings, agreed.times, agreed.end_ids)


def step(block: int, number: int, *, token: int = 60) -> Step:
    estimate = np.full((16, 1 if number else 0), token, np.int64)
    return Step(block, number, SimplexState(7, block, number, 0.5, estimate))


def fused(ids: np.ndarray, shares: np.ndarray) -> Step:
    shown = step(0, 1)
    return replace(shown, state=replace(shown.state, signal=FusedSignal(ids, shares)))


def follows(agreed: Opened, before: tuple[int, int], after: tuple[int, int]) -> bool:
    try:
        check_step(step(*after), step(*before), process(agreed), VOCABULARY)
    except InvalidFrameError:
        return False
    return True


def ends(agreed: Opened, last: tuple[int, int] | None, said: tuple[int, int], **how: Any) -> bool:
    frame = Completed(*said, np.array([60]), how.get("reason", FinishReason.END_TOKEN))
    try:
        check_completed(frame, None if last is None else step(*last), process(agreed))
    except InvalidFrameError:
        return False
    return True


def test_without_halting_every_step_is_run() -> None:
    agreed = opened()
    assert follows(agreed, (0, 1), (0, 2))
    assert follows(agreed, (0, 4), (1, 0))
    for after in ((0, 1), (0, 3), (1, 0), (1, 2), (0, 0)):
        assert not follows(agreed, (0, 1), after)
    for after in ((2, 0), (0, 4), (1, 1)):
        assert not follows(agreed, (0, 4), after)


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_with_halting_a_block_may_end_after_the_patience(patience: int) -> None:
    agreed = opened(halt_patience=patience)
    for number in range(STEPS - 1):
        assert follows(agreed, (0, number), (0, number + 1))
        assert follows(agreed, (0, number), (1, 0)) == (number >= patience)
        assert ends(agreed, (0, number), (0, number)) == (number >= patience)
        assert not follows(agreed, (0, number), (2, 0))
    assert follows(agreed, (0, 4), (1, 0))


def test_with_reused_contributions_a_block_ends_early_at_fresh_steps_alone() -> None:
    agreed = opened(halt_patience=1, every=Every(0, 2, 0))
    ended = [number for number in range(STEPS) if follows(agreed, (0, number), (1, 0))]
    assert ended == [2, 4]
    agreed = opened(halt_patience=1, every=Every(0, 3, 0))
    assert [number for number in range(STEPS) if ends(agreed, (0, number), (0, number))] == [3, 4]


def test_the_first_step_is_the_first() -> None:
    check_step(step(0, 0), None, process(opened()), VOCABULARY)
    with pytest.raises(InvalidFrameError, match="expected step 0 of block 0"):
        check_step(step(0, 1), None, process(opened(halt_patience=1)), VOCABULARY)


def test_an_answer_is_whole_after_the_last_step_sent() -> None:
    agreed = opened()
    assert ends(agreed, (0, 4), (0, 4))
    assert ends(agreed, (2, 4), (2, 4), reason=FinishReason.MAX_TOKENS)
    assert not ends(agreed, (0, 3), (0, 3))
    assert not ends(agreed, (0, 4), (1, 4))
    assert not ends(agreed, None, (0, 4))


@pytest.mark.parametrize("reason", [FinishReason.CLIENT_FINISHED, FinishReason.DRAINING])
def test_an_answer_that_is_not_whole_may_end_anywhere(reason: FinishReason) -> None:
    assert ends(opened(), (0, 1), (0, 2), reason=reason)
    assert ends(opened(), None, (0, 0), reason=reason)


def test_a_signal_gives_no_share_to_the_templates_ids() -> None:
    ids = np.tile(np.array([60, VOCABULARY.mask]), (16, 1))
    shares = np.tile(np.array([0.5, 0.0], np.float16), (16, 1))
    shown = fused(ids, shares)
    check_step(shown, step(0, 0), process(opened()), VOCABULARY)
    shares = shares + np.float16(0.25)
    wrong = fused(ids, shares)
    with pytest.raises(InvalidFrameError, match="fused ids"):
        check_step(wrong, step(0, 0), process(opened()), VOCABULARY)


def test_an_ask_is_about_the_step_in_flight_once_and_after_its_contribution() -> None:
    agreed, one = opened(certify=True), np.ones(1, np.int32)
    before, last = step(0, 1), step(0, 2)
    check_ask(Ask(0, 2, one, one, one), last, last.state, agreed)
    with pytest.raises(StepOutOfRangeError, match="in flight, step 2 of block 0, got step 1"):
        check_ask(Ask(0, 1, one, one, one), last, before.state, agreed)
    with pytest.raises(StepOutOfRangeError, match="before the first step"):
        check_ask(Ask(0, 0, one, one, one), None, None, agreed)
    for spoken in (None, before.state):
        with pytest.raises(InvalidFrameError, match="after its contribution"):
            check_ask(Ask(0, 2, one, one, one), last, spoken, agreed)
    with pytest.raises(InvalidFrameError, match="none was agreed"):
        check_ask(Ask(0, 2, one, one, one), last, last.state, opened())
