"""Lag and reuse: the same in process and over the wire, nothing computed in vain, and both sides at
work at the same time.
"""

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from common.collaboration.plan import plan_for
from torch import Tensor

from common.collaboration.compatibility import config_of, default_settings
from common.collaboration.contributor import Contributor
from common.collaboration.fusion import Voice, fuse
from common.collaboration.settings import LateRule
from common.collaboration.timing import Every, timing_of
from common.denoising.loop import Predict, denoise
from common.denoising.plan import FinishReason
from common.errors import ContributionFailedError, StepOutOfRangeError, UsageError
from common.evaluation import pair as evaluation
from common.evaluation.generation import generate, question_seed
from common.models.simplex_lm import predict
from common.processes.simplex.settings import SelfConditioning
from common.wire.conversions import split_contribution
from common.wire.frames import Completed, Finish, Limits, Outcome, Step
from david_client.asking import Question
from goliath_server.server import host_of
from goliath_server.session import Session, open_session
from tests.serving import (
    CONTEXT,
    DAVID,
    GOLIATH,
    PROMPT,
    VOCABULARY,
    bare,
    calm_pair,
    contribution,
    embedded,
    open_frame,
    question,
    quiet,
    same_over_the_wire,
    serving,
    settings,
)
from tests.test_client import Puppet, puppet

HOST = host_of("g", GOLIATH, VOCABULARY, Limits())
LATENCIES: dict[str, dict[str, Any]] = {
    "lag 1": {"lag": 1},
    "lag 2": {"lag": 2},
    "lag 3": {"lag": 3},
    "every third": {"every": Every(0, 3, 0)},
    "first and last": {"every": Every(2, 100, 2)},
    "all kinds": {"every": Every(2, 3, 2)},
}


# The same answer on both sides of the wire


@pytest.mark.parametrize("kind", SelfConditioning)
@pytest.mark.parametrize("latency", LATENCIES)
async def test_networked_equals_embedded(latency: str, kind: SelfConditioning) -> None:
    terms = LATENCIES[latency]
    usual = {"steps": 7, "max_tokens": 32, "context": CONTEXT, "self_conditioning": kind}
    await same_over_the_wire(question(**usual, **terms))


def test_each_latency_is_another_answer() -> None:
    usual = {"steps": 7, "max_tokens": 32, "context": CONTEXT}
    lock_step = embedded(question(**usual)).tokens
    late = [embedded(question(**usual, **terms)).tokens for terms in LATENCIES.values()]
    assert len({lock_step, *late}) == 1 + len(LATENCIES)
    for terms in ({"lag": 7}, {"every": Every(0, 1, 0)}):
        assert embedded(question(**usual, **terms)).tokens == lock_step


@pytest.mark.parametrize("latency", ["lag 2", "all kinds"])
async def test_networked_equals_embedded_with_contrast(latency: str) -> None:
    usual = {"steps": 7, "max_tokens": 32, "context": CONTEXT, "contrast": 0.7}
    await same_over_the_wire(question(**usual, **LATENCIES[latency]))


@pytest.mark.parametrize("terms", [{"lag": 2}, {"every": Every(2, 6, 0)}], ids=["lag", "every"])
async def test_networked_equals_embedded_when_blocks_halt(
    terms: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calm_pair(monkeypatch)
    asked = question(steps=20, max_tokens=32, halt_patience=2, **terms)
    reply = await same_over_the_wire(asked)
    assert len(reply.tokens) > 16
    assert reply.steps_run < 38
    last: dict[int, int] = {}
    async with serving() as served:
        await served.ask(asked, on_draft=lambda draft: last.update({draft.block: draft.step}))
    assert min(last.values()) < 19
    assert all(step == 19 or timing_of(reply.settings).may_end(step) for step in last.values())


@pytest.mark.parametrize("lag", [1, 2, 3])
def test_a_lag_is_what_its_words_say(lag: int) -> None:
    """A loop that computes every contribution, used or not, and looks back by the lag."""
    asked = question(steps=7, max_tokens=32, context=CONTEXT)
    terms = asked.settings(default_settings(config_of(GOLIATH)))
    david = asked.contributor(DAVID, terms)
    plan = plan_for(config_of(GOLIATH), VOCABULARY, terms, prompt=asked.prompt)
    loop = denoise(plan, fuse)
    request: Any = next(loop)
    made: list[Voice] = []
    try:
        while True:
            assert isinstance(request, Predict)
            step = request.state.step
            made = made if step else []
            given = david.contribute(request.state, request.finished)
            made.append(Voice("david", terms.weight, given))
            loop.send(predict(GOLIATH, [request]))
            request = loop.send([made[step - lag if step >= lag else step]])
    except StopIteration as done:
        expected = done.value
    late = replace(asked, wishes={**asked.wishes, "lag": lag})
    assert embedded(late).tokens == tuple(expected.ids.tolist())


@pytest.mark.parametrize("weight", [0.5, 1.0])
@pytest.mark.parametrize("latency", ["lag 2", "all kinds"])
def test_answers_that_are_evaluated_are_those_of_the_product(latency: str, weight: float) -> None:
    terms = replace(settings(steps=7, max_tokens=32, weight=weight), **LATENCIES[latency])
    asked = evaluation.Question(PROMPT, CONTEXT, "")
    pair = evaluation.Pair(GOLIATH, DAVID.model, VOCABULARY)
    (result,) = generate(pair, [asked], settings=terms, seed=3, contrast=0.7)
    wishes = {"steps": 7, "max_tokens": 32, "weight": weight} | LATENCIES[latency]
    product = Question(
        PROMPT, question_seed(3, asked), context=CONTEXT, contrast=0.7, wishes=wishes
    )
    assert tuple(result.ids.tolist()) == embedded(product).tokens


def test_a_lag_and_reuse_together_are_refused() -> None:
    with pytest.raises(UsageError, match="got both"):
        embedded(question(lag=1, every=Every(1, 2, 1)))


# What is computed


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Block and step of the states that David computes on."""
    seen: list[tuple[int, int]] = []
    own = Contributor.contribute

    def watched(self: Contributor, state: Any, *told: Any) -> Any:
        seen.append((state.block, state.step))
        return own(self, state, *told)

    monkeypatch.setattr(Contributor, "contribute", watched)
    return seen


@pytest.mark.parametrize("latency", LATENCIES)
async def test_only_what_is_used_is_computed(
    latency: str, looked_at: list[tuple[int, int]]
) -> None:
    asked = question(steps=7, max_tokens=32, **LATENCIES[latency])
    embedded(asked)
    here = looked_at.copy()
    looked_at.clear()
    async with serving() as served:
        await served.ask(asked)
    terms = asked.settings(default_settings(config_of(GOLIATH)))
    used = {timing_of(terms).source(step) for step in range(7)}
    assert here == looked_at == [(block, step) for block in range(2) for step in sorted(used)]
    assert len(used) == {"lag 1": 6, "lag 2": 5, "lag 3": 4}.get(latency, len(used))


async def test_steps_that_come_in_a_row_are_answered_in_order() -> None:
    heard: list[Any] = []

    async def script(peer: Puppet) -> None:
        await peer.open()
        for step in range(3):
            await peer.step(step=step)
        heard.extend([await peer.read() for _ in range(3)])
        for step in (3, 4, 5):
            await peer.step(step=step)
        heard.append(await peer.read())
        await peer.send(Completed(0, 5, np.array([60, 61]), FinishReason.END_TOKEN))
        heard.append(await peer.read())

    from david_client.client import ask

    async with puppet(script) as place:
        await ask(question(steps=6, lag=2), DAVID, place, timeout_s=20, on_draft=quiet)
    assert [(one.block, one.step) for one in heard[:4]] == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert heard[4] == Finish(0, 5)


# Both at once


@pytest.mark.parametrize("lag", [1, 2])
async def test_both_sides_compute_at_the_same_time(
    lag: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """David does not end step n before the server is in step n + lag, nor the server that step
    before David is in n: in lock-step both would wait for ever.
    """
    steps = 6
    meetings = {n: threading.Barrier(2, timeout=20) for n in range(lag, steps - lag)}
    own = Contributor.contribute

    def contribute(self: Contributor, state: Any, *told: Any) -> Any:
        if state.step in meetings:
            meetings[state.step].wait()
        return own(self, state, *told)

    def served_predict(model: Any, requests: Sequence[Predict]) -> Tensor:
        (request,) = requests
        if request.state.step - lag in meetings:
            meetings[request.state.step - lag].wait()
        return predict(model, requests)

    asked = question(steps=steps, max_tokens=32, lag=lag, temperature=1.5)
    expected = embedded(asked).tokens
    monkeypatch.setattr(Contributor, "contribute", contribute)
    monkeypatch.setattr("tests.serving.predict", served_predict)
    async with serving() as served:
        reply = await served.ask(asked)
    assert reply.tokens == expected
    assert reply.david_steps == 2 * steps


# The server's record


def opened(**changes: Any) -> Session:
    return open_session(open_frame(settings(**changes)), HOST, session_id="s")


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
        self._first: Any = next(denoise(session.plan, fuse))

    def begin(self, step: int, block: int = 0) -> None:
        state = replace(self._first.state, block=block, step=step)
        self._session.begin(replace(self._first, state=state))


def outcomes(session: Session) -> list[Outcome]:
    return [Outcome(one) for one in session._participations()[0].outcomes]


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
        (voice,) = session.close()
        fused.append(voice.contribution.step)
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
        fused += [voice.contribution.step for voice in session.close()]
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
    assert session.close() == []


def test_one_that_nobody_wants_is_dropped() -> None:
    session = opened(steps=5, every=Every(1, 2, 0))
    steps = Steps(session)
    steps.begin(0)
    session.accept(parts(session, 0)[0])
    session.close()
    steps.begin(1)
    session.accept(parts(session, 1)[0])
    assert session.dropped == 1
    (voice,) = session.close()
    assert voice.contribution.step == 0


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
    assert [voice.contribution.step for voice in session.close()] == [0]
    assert outcomes(session) == [LATE, TOOK, TOOK]


def test_a_late_one_serves_the_steps_that_are_still_open() -> None:
    session = opened(steps=4, every=Every(0, 3, 0))
    steps = Steps(session)
    for step in (0, 1):
        steps.begin(step)
        session.close()
    session.accept(parts(session, 0)[0])
    steps.begin(2)
    assert [voice.contribution.step for voice in session.close()] == [0]
    steps.begin(3)
    session.close()
    assert outcomes(session) == [LATE, LATE, TOOK, MISSED]


async def test_what_comes_too_late_for_its_step_is_told_with_it() -> None:
    terms = settings(steps=5, lag=1, late_rule=LateRule.SOLO, budget_ms=1000)
    async with serving() as served, bare(served) as client:
        await client.open(open_frame(terms))

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
    terms = settings(steps=4, lag=1, late_rule=LateRule.FAIL, budget_ms=300)
    async with serving() as served, bare(served) as client:
        await client.open(open_frame(terms))
        await client.read()
        await client.contribute(0, 0)
        verdict = await client.verdict()
    assert type(verdict) is ContributionFailedError
    assert "no contribution to step 1 of block 0 within 0.3 s" in verdict.message


async def test_a_step_that_waits_for_nothing_hears_of_the_end() -> None:
    terms = settings(steps=300, every=Every(1, 300, 0))
    async with serving() as served, bare(served) as client:
        await client.open(open_frame(terms))
        await client.read()
        await client.contribute(0, 0)
        await client.send(Finish(0, 0))
        frame = await client.read()
        while isinstance(frame, Step):
            frame = await client.read()
    assert isinstance(frame, Completed)
    assert frame.finish_reason is FinishReason.CLIENT_FINISHED
