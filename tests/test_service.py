"""The server over a real connection: embedded tokens, late rules, caps, ends, drain, TLS."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from common.collaboration.contribution import Answer, Ask, Codec
from common.collaboration.contributor import Contributor
from common.errors import (
    ContributionFailedError,
    DrainingError,
    InvalidFrameError,
    LimitExceededError,
    OutOfTimeError,
    ProtocolMismatchError,
    ServerFullError,
    SessionCancelledError,
    StepOutOfRangeError,
    VocabularyMismatchError,
)
from common.pb import collaboration_pb2 as pb
from common.processes.simplex.terms import FinishReason, Projection, SelfConditioning
from common.wire.channels import open_channel
from common.wire.conversions import client_frame_to_proto
from common.wire.frames import (
    Cancel,
    Completed,
    Failed,
    Finish,
    LateRule,
    Limits,
    Outcome,
    Step,
)
from goliath_server.health import SERVICE
from goliath_server.service import Caps
from tests.certificates import issued
from tests.serving import (
    CONTEXT,
    Served,
    bare,
    calm_pair,
    embedded,
    generated_with,
    open_frame,
    question,
    same_over_the_wire,
    serving,
    settings,
)


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("contrast", [0.0, 0.7])
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
async def test_networked_equals_embedded(weight: float, contrast: float, codec: Codec) -> None:
    async with serving() as served:
        for temperature in (0.0, 1.0):
            for max_tokens in (16, 32):
                asked = question(
                    weight=weight,
                    contrast=contrast,
                    codec=codec,
                    temperature=temperature,
                    max_tokens=max_tokens,
                    context=CONTEXT,
                )
                over, here = await served.ask(asked), embedded(asked)
                assert over.tokens == here.tokens
                assert over.text == here.text
                assert over.finish_reason == here.finish_reason
                assert (over.steps_run, over.david_steps) == (here.steps_run, here.david_steps)


WAYS: dict[str, dict[str, Any]] = {
    "multi-hot": {"projection": Projection.MULTI_HOT},
    "fused": {"self_conditioning": SelfConditioning.FUSED},
    "estimate": {"self_conditioning": SelfConditioning.ESTIMATE},
    "ramp": {"ramp": 1.5, "temperature": 0.4},
    "nucleus": {"top_p": 0.5},
    "repeats": {"no_repeat": 0, "temperature": 0.3},
    "all": {
        "projection": Projection.MULTI_HOT,
        "self_conditioning": SelfConditioning.FUSED,
        "ramp": 0.5,
    },
}
HALTS: dict[str, dict[str, Any]] = {
    "patience": {"halt_patience": 2},
    "margin": {"halt_patience": 1, "halt_margin": 0.01},
    "all": WAYS["all"] | {"halt_patience": 3, "temperature": 0.3, "ramp": 0.0},
}


@pytest.mark.parametrize("contrast", [0.0, 0.7])
@pytest.mark.parametrize("way", WAYS)
async def test_networked_equals_embedded_in_every_way_of_sampling(
    way: str, contrast: float
) -> None:
    usual = {"steps": 5, "max_tokens": 32, "min_p": 0.2, "context": CONTEXT, "contrast": contrast}
    reply = await same_over_the_wire(question(**usual, **WAYS[way]))
    assert reply.tokens != embedded(question(**usual)).tokens


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    calm_pair(monkeypatch)


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize("contrast", [0.0, 0.7])
@pytest.mark.parametrize("rule", HALTS)
async def test_networked_equals_embedded_when_blocks_halt(rule: str, contrast: float) -> None:
    usual = {"steps": 20, "max_tokens": 32, "context": CONTEXT, "contrast": contrast}
    reply = await same_over_the_wire(question(**usual, **HALTS[rule]))
    assert len(reply.tokens) > 16
    assert 4 <= reply.steps_run < 38


async def test_david_and_his_context_change_the_answer() -> None:
    async with serving() as served:
        alone = await served.ask(question(weight=0.0))
        together = await served.ask(question())
        private = await served.ask(question(context=CONTEXT))
        contrasted = await served.ask(question(context=CONTEXT, contrast=0.7))
    assert len({alone.tokens, together.tokens, private.tokens, contrasted.tokens}) == 4


async def test_many_sessions_at_once_do_not_mix() -> None:
    asked = [question(seed=seed) for seed in range(4)]
    async with serving() as served:
        replies = await asyncio.gather(*(served.ask(one) for one in asked))
    assert [reply.tokens for reply in replies] == [embedded(one).tokens for one in asked]


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Davids that send few entries of each row: a lot is uncertain."""
    monkeypatch.setattr("david_client.asking.MOST_ENTRIES", 3)


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("contrast", [0.0, 0.7])
@pytest.mark.parametrize("way", [*WAYS, "sampling", "greedy", "halting"])
async def test_certified_tokens_are_those_of_full_rows(way: str, contrast: float) -> None:
    own = {"sampling": {}, "greedy": {"temperature": 0.0}, "halting": HALTS["all"]}
    wishes = {"steps": 5, "max_tokens": 32, "min_p": 0.2, "context": CONTEXT, "contrast": contrast}
    wishes |= (WAYS | own)[way]
    reply = await same_over_the_wire(question(**wishes, certify=True))
    here = embedded(question(**wishes, certify=True))
    assert reply.certification == here.certification
    assert reply.certification.uncertified == 0
    assert 0 < reply.certification.asks <= reply.steps_run
    dense = embedded(question(**wishes, codec=Codec.DENSE))
    assert (reply.tokens, reply.steps_run) == (dense.tokens, dense.steps_run)
    record = reply.record()
    assert record["certify"]
    assert (record["uncertified"], record["asks"]) == (0, reply.certification.asks)
    assert record["asked_ids"] >= record["asks"]


@pytest.mark.usefixtures("brief")
async def test_by_default_what_is_uncertified_is_counted_and_nothing_is_asked() -> None:
    reply = await same_over_the_wire(question(steps=5))
    assert reply.certification == embedded(question(steps=5)).certification
    assert reply.certification.uncertified > 0
    assert reply.certification.asks == 0
    whole = await same_over_the_wire(question(steps=5, codec=Codec.DENSE))
    assert whole.certification.uncertified == 0


@pytest.mark.usefixtures("brief")
async def test_what_the_caps_leave_uncertified_is_counted() -> None:
    asked = question(certify=True, steps=5)
    lifted = embedded(asked).certification
    async with serving(limits=Limits(max_ask_ids_per_position=2, max_ask_ids=9)) as served:
        reply = await served.ask(asked)
    assert reply.certification.uncertified > lifted.uncertified == 0
    assert reply.certification.asked_ids <= 9 * reply.certification.asks


async def test_a_row_has_no_more_entries_than_the_server_allows() -> None:
    async with serving(limits=Limits(max_entries=2)) as served:
        assert (await served.ask(question())).certification.uncertified > 0


def certifying(**changes: Any) -> Any:
    """A first frame that agrees to asks."""
    return open_frame(settings(certify=True, **changes), required_features=("certify",))


async def in_doubt(client: Any, **changes: Any) -> Ask:
    """The ask about a first step of which David said next to nothing."""
    await client.open(certifying(**changes))
    await client.read()
    await client.contribute(0, 0, floor=0)
    ask = await client.read()
    assert isinstance(ask, Ask)
    return ask


def answer_to(ask: Ask, *, value: float = -1, step: int = 0, more: int = 0) -> Answer:
    return Answer(0, step, np.full(len(ask.ids) + more, value, np.float16))


async def test_an_ask_stays_within_the_caps_and_its_answer_ends_it() -> None:
    limits = Limits(max_ask_ids_per_position=5, max_ask_ids=21)
    async with serving(limits=limits) as served, bare(served) as client:
        ask = await in_doubt(client)
        assert (ask.block, ask.step) == (0, 0)
        assert ask.counts.max() == 5
        assert len(ask.ids) == 21
        await client.send(answer_to(ask))
        assert isinstance(await client.read(), Step)


@pytest.mark.parametrize("floor", [-100, 0])
async def test_without_the_agreement_nothing_is_asked(floor: float) -> None:
    async with serving() as served, bare(served) as client:
        await client.open()
        for step in range(3):
            assert isinstance(await client.read(), Step)
            await client.contribute(0, step, floor=floor)
        done = await client.read()
    assert isinstance(done, Completed)
    assert (done.uncertified > 0) == (floor == 0)


LIES: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "too many": ({"more": 1}, InvalidFrameError),
    "too few": ({"more": -1}, InvalidFrameError),
    "above the floor": ({"value": 0.5}, InvalidFrameError),
    "no number": ({"value": np.nan}, InvalidFrameError),
    "below the lowest": ({"value": -40000}, InvalidFrameError),
    "a step to come": ({"step": 1}, StepOutOfRangeError),
    "a step beyond the end": ({"step": 3}, StepOutOfRangeError),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_false_answer_ends_only_its_own_session(lie: str) -> None:
    how, error = LIES[lie]
    asked = question(steps=3)
    async with serving() as served:
        good = asyncio.create_task(served.ask(asked))
        async with bare(served) as client:
            await client.send(answer_to(await in_doubt(client), **how))
            assert type(await client.verdict()) is error
        assert (await good).tokens == embedded(asked).tokens


async def test_an_answer_above_the_floor_of_its_row_is_a_lie() -> None:
    async with serving() as served, bare(served) as client:
        await client.open(certifying(temperature=5.0, min_p=1e-6))
        await client.read()
        await client.contribute(0, 0, floor=-1)
        ask = await client.read()
        assert isinstance(ask, Ask)
        await client.send(answer_to(ask, value=-0.5))
        assert type(await client.verdict()) is InvalidFrameError


async def test_a_second_answer_is_to_no_ask() -> None:
    async with serving() as served, bare(served) as client:
        ask = await in_doubt(client)
        await client.send(answer_to(ask))
        await client.read()
        await client.send(answer_to(ask))
        assert type(await client.verdict()) is InvalidFrameError


async def test_solo_goes_on_without_an_answer_and_drops_a_late_one() -> None:
    async with serving() as served, bare(served) as client:
        ask = await in_doubt(client, late_rule=LateRule.SOLO, budget_ms=200)
        second = await client.read()
        assert isinstance(second, Step)
        await client.send(answer_to(ask))
        await client.contribute(0, 1)
        assert isinstance(await client.read(), Step)
        await client.contribute(0, 2)
        done = await client.read()
    assert isinstance(done, Completed)
    assert done.uncertified == 16
    assert done.participations[0].outcomes.tolist() == [1, 1, 1]


async def test_fail_ends_a_session_whose_ask_is_not_answered() -> None:
    async with serving() as served, bare(served) as client:
        await in_doubt(client, late_rule=LateRule.FAIL, budget_ms=200)
        failed = await client.read()
    assert isinstance(failed, Failed)
    assert failed.reason == "CONTRIBUTION_FAILED"
    assert failed.message == "no answer to step 0 of block 0 within 0.2 s"


async def test_wait_waits_for_an_answer_past_the_budget() -> None:
    async with serving() as served, bare(served) as client:
        ask = await in_doubt(client, late_rule=LateRule.WAIT, budget_ms=1)
        await asyncio.sleep(0.2)
        await client.send(answer_to(ask))
        assert isinstance(await client.read(), Step)


async def test_finish_and_drain_end_an_ask() -> None:
    async with serving() as served, bare(served) as client:
        await in_doubt(client)
        await client.send(Finish(0, 0))
        done = await client.read()
        assert isinstance(done, Completed)
        assert done.finish_reason is FinishReason.CLIENT_FINISHED
    async with serving() as served, bare(served) as client:
        await in_doubt(client)
        await served.service.drain(0.3)
        done = await client.read()
        assert isinstance(done, Completed)
        assert done.finish_reason is FinishReason.DRAINING
        assert done.uncertified == 16


class SlowDavid:
    """Makes contributions to some steps hang until they are let go."""

    def __init__(self, steps: set[int]) -> None:
        self.steps = steps
        self.go = threading.Event()
        self.reached = threading.Event()

    def wrap(self, contribute: Callable[..., Any]) -> Callable[..., Any]:
        def slow(contributor: Contributor, state: Any, *told: Any) -> Any:
            if state.step in self.steps and not self.go.is_set():
                self.reached.set()
                assert self.go.wait(30)
            return contribute(contributor, state, *told)

        return slow


@pytest.fixture
def slow_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., SlowDavid]]:
    made: list[SlowDavid] = []

    def make(*steps: int) -> SlowDavid:
        slow = SlowDavid(set(steps))
        made.append(slow)
        monkeypatch.setattr(Contributor, "contribute", slow.wrap(Contributor.contribute))
        return slow

    yield make
    for slow in made:
        slow.go.set()


async def test_wait_waits_past_the_budget(slow_at: Any) -> None:
    slow = slow_at(1)
    asked = question(budget_ms=1)
    async with serving() as served:
        asking = asyncio.create_task(served.ask(asked))
        await asyncio.to_thread(slow.reached.wait, 20)
        await asyncio.sleep(0.2)
        assert not asking.done()
        slow.go.set()
        reply = await asking
    assert reply.tokens == embedded(asked).tokens
    assert (reply.david_steps, reply.missed, reply.late) == (4, 0, 0)


async def test_solo_goes_on_and_the_result_is_that_of_the_steps_that_he_made(slow_at: Any) -> None:
    slow = slow_at(1)
    # Drawn like this the random pair's first block has no end, so that there is a second.
    asked = question(
        budget_ms=700,
        late_rule=LateRule.SOLO,
        steps=5,
        max_tokens=32,
        temperature=0.55,
        min_p=0.05,
        top_p=1.0,
    )
    came: list[int] = []

    def watch(draft: Any) -> None:
        came.append(draft.step)
        if draft.step == 3:
            slow.go.set()

    outcomes: list[np.ndarray] = []
    async with serving() as served:
        log = logging.getLogger("goliath_server.service")
        log.setLevel(logging.INFO)
        reply = await served.ask(asked, on_draft=_keeping(outcomes, served, watch))
    assert came == [0, 1, 2, 3, 4] * 2
    assert reply.missed + reply.late > 0
    assert 0 < reply.david_steps < 10
    took = {i for i, one in enumerate(outcomes[-1]) if one == Outcome.TOOK_PART}
    assert len(took) == reply.david_steps
    assert {1, 2} & took == set()
    assert tuple(generated_with(asked, took).ids.tolist()) == reply.tokens


def _keeping(outcomes: list[np.ndarray], served: Served, watch: Any) -> Any:
    """Look at the server's own record of the session at each step."""

    def on_draft(draft: Any) -> None:
        watch(draft)
        (drive,) = served.service._drives
        outcomes[:] = [drive._session._outcomes]

    return on_draft


async def test_fail_ends_the_session(slow_at: Any) -> None:
    slow_at(1)
    async with serving() as served:
        with pytest.raises(ContributionFailedError, match=r"step 1 of block 0 within 0.2 s"):
            await served.ask(question(budget_ms=200, late_rule=LateRule.FAIL))


async def test_copies_and_late_ones_are_dropped() -> None:
    terms = settings(late_rule=LateRule.SOLO, budget_ms=300)
    async with serving() as served, bare(served) as client:
        await client.open(open_frame(terms))
        assert isinstance(await client.read(), Step)
        await client.contribute(0, 0)
        await client.contribute(0, 0, favourite=91)
        assert isinstance(await client.read(), Step)
        await client.contribute(0, 0, favourite=92)
        third = await client.read()
        assert isinstance(third, Step)
        await client.contribute(0, 1)
        await client.contribute(0, 2)
        done = await client.read()
    assert isinstance(done, Completed)
    assert done.participations[0].outcomes.tolist() == [1, 2, 1]
    assert done.bytes_received > 0


async def test_a_contribution_ahead_ends_the_session() -> None:
    async with serving() as served, bare(served) as client:
        await client.open()
        await client.read()
        await client.contribute(0, 2)
        failed = await client.read()
        assert isinstance(failed, Failed)
        assert failed.reason == "STEP_OUT_OF_RANGE"
        assert type(await client.verdict()) is StepOutOfRangeError


def _garbage() -> dict[str, tuple[list[pb.CollaborateRequest], type[Exception]]]:
    good = client_frame_to_proto(open_frame())
    empty, old, foreign, unspoken, older, restless = (pb.CollaborateRequest() for _ in range(6))
    for message in (old, foreign, unspoken, older, restless):
        message.CopyFrom(good)
    old.open.protocol_version = 99
    foreign.open.vocabulary_fingerprint = bytes(32)
    unspoken.open.settings.late_rule = 77  # type: ignore[assignment]
    older.open.settings.ClearField("projection")
    restless.open.settings.halt_patience = 2**16
    nan = pb.CollaborateRequest(
        contribution=pb.Contribution(
            codec=pb.CODEC_TOPK,
            chunk_count=1,
            rows=16,
            counts=b"\1\0" * 16,
            ids=b"\x5a" * 16,
            values=b"\0\x7e" * 16,
            floors=b"\0\0" * 16,
            log_mass=bytes(64),
        )
    )
    answer = client_frame_to_proto(Answer(0, 0, np.zeros(1, np.float16)))
    return {
        "no frame": ([empty], InvalidFrameError),
        "not open first": ([client_frame_to_proto(Finish(0, 0))], InvalidFrameError),
        "open twice": ([good, good], InvalidFrameError),
        "other version": ([old], ProtocolMismatchError),
        "other vocabulary": ([foreign], VocabularyMismatchError),
        "unknown enum": ([unspoken], InvalidFrameError),
        "no projection": ([older], InvalidFrameError),
        "patience out of range": ([restless], InvalidFrameError),
        "not a number": ([good, nan], InvalidFrameError),
        "answer to no ask": ([good, answer], InvalidFrameError),
    }


@pytest.mark.parametrize("kind", _garbage())
async def test_hostile_frames_end_only_their_own_session(kind: str) -> None:
    messages, error = _garbage()[kind]
    asked = question(steps=3)
    async with serving() as served:
        good = asyncio.create_task(served.ask(asked))
        async with bare(served) as client:
            for message in messages:
                await client.send_raw(message)
            assert type(await client.verdict()) is error
        assert (await good).tokens == embedded(asked).tokens


async def test_bytes_that_are_no_message_end_only_their_own_session() -> None:
    async with serving() as served:
        async with open_channel(served.address, insecure=True) as channel:
            call = channel.stream_stream(f"/{SERVICE}/Collaborate")(timeout=10)
            await call.write(b"\xff" * 100)
            assert b"INVALID_FRAME" in await call.read()
        assert (await served.ask(question())).tokens


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        (settings(steps=11), "steps: at most 10"),
        (settings(block_length=17), "block_length: at most 16"),
        (settings(max_tokens=65), "max_tokens: at most 64"),
        (settings(weight=0.9), "weight: at most 0.8"),
        (settings(budget_ms=5001), "budget_ms: at most 5000"),
    ],
)
async def test_limits_hold(terms: Any, says: str) -> None:
    limits = Limits(
        max_prompt_bytes=30,
        max_block_length=16,
        max_steps=10,
        max_tokens=64,
        max_weight=0.8,
        max_budget_ms=5000,
    )
    async with serving(limits=limits) as served, bare(served) as client:
        await client.send(open_frame(replace(settings(budget_ms=1), **_own(terms))))
        verdict = await client.verdict()
    assert type(verdict) is LimitExceededError
    assert says in verdict.message


def _own(terms: Any) -> dict[str, Any]:
    usual = settings()
    names = ("steps", "block_length", "max_tokens", "weight", "budget_ms")
    return {n: getattr(terms, n) for n in names if getattr(terms, n) != getattr(usual, n)}


async def test_a_long_prompt_is_refused() -> None:
    async with serving(limits=Limits(max_prompt_bytes=30)) as served, bare(served) as client:
        await client.send(open_frame(prompt="soup " * 7))
        assert type(await client.verdict()) is LimitExceededError


async def test_a_huge_message_is_refused() -> None:
    async with serving() as served:
        # A channel of gRPC's own, which does not limit what it sends.
        async with grpc.aio.insecure_channel(served.address) as channel:
            call = channel.stream_stream(f"/{SERVICE}/Collaborate")(timeout=10)
            await call.write(bytes(2**24 + 1))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await served.ask(question())).tokens


async def test_a_full_server_says_so_and_has_room_again() -> None:
    async with serving(caps=Caps(sessions=1)) as served:
        async with bare(served) as first:
            await first.open()
            async with bare(served) as second:
                assert type(await second.verdict()) is ServerFullError
            await first.send(Cancel(0, 0))
            assert type(await first.verdict()) is SessionCancelledError
        assert (await served.ask(question())).tokens


async def test_one_peer_does_not_take_all() -> None:
    async with serving(caps=Caps(streams_per_peer=1)) as served, bare(served) as first:
        await first.open()
        async with bare(served) as second:
            verdict = await second.verdict()
    assert type(verdict) is LimitExceededError
    assert "one peer" in verdict.message


async def test_the_first_frame_must_come_soon() -> None:
    async with serving(caps=Caps(open_s=0.2)) as served, bare(served) as client:
        assert type(await client.verdict()) is OutOfTimeError


async def test_no_session_lives_for_ever() -> None:
    async with serving(caps=Caps(session_s=0.5)) as served, bare(served) as client:
        await client.open()
        assert isinstance(await client.read(), Step)
        failed = await client.read()
        assert isinstance(failed, Failed)
        assert type(await client.verdict()) is OutOfTimeError


async def test_half_close_is_a_lost_connection() -> None:
    async with serving() as served, bare(served) as client:
        await client.open()
        await client.read()
        await client.call.done_writing()
        verdict = await client.verdict()
        assert type(verdict) is InvalidFrameError
        assert "lost" in verdict.message


async def test_a_client_that_vanishes_frees_its_place() -> None:
    async with serving(caps=Caps(sessions=1)) as served:
        async with bare(served) as client:
            await client.open()
            await client.read()
        assert await _until(lambda: not served.service._per_peer)
        assert (await served.ask(question())).tokens


async def _until(holds: Callable[[], bool]) -> bool:
    for _ in range(1000):
        if holds():
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.mark.parametrize("weight", [0.0, 0.5])
async def test_finish_brings_the_draft(weight: float) -> None:
    async with serving() as served, bare(served) as client:
        await client.open(open_frame(settings(weight=weight, steps=200)))
        await client.read()
        if weight:
            await client.contribute(0, 0)
            await client.read()
        await client.send(Finish(0, 1))
        frame = await client.read()
        while isinstance(frame, Step):
            frame = await client.read()
    assert isinstance(frame, Completed)
    assert frame.finish_reason is FinishReason.CLIENT_FINISHED
    assert len(frame.ids) or frame.step < 3


async def test_a_whole_session_ends_well() -> None:
    async with serving() as served, bare(served) as client:
        await client.open()
        for step in range(3):
            await client.read()
            await client.contribute(0, step)
        done = await client.read()
        assert isinstance(done, Completed)
        await client.send(Finish(0, 2))
        assert await client.verdict() is None
        assert await client.call.code() is grpc.StatusCode.OK


async def test_a_session_that_forgets_to_finish_ends_too() -> None:
    async with serving(caps=Caps(settle_s=0.1)) as served, bare(served) as client:
        await client.open(open_frame(settings(weight=0.0, steps=1)))
        assert await client.verdict() is None


async def test_drain_ends_sessions_after_their_step() -> None:
    steps: list[int] = []
    async with serving() as served:
        asked = question(steps=1000)
        asking = asyncio.create_task(served.ask(asked, on_draft=lambda d: steps.append(d.step)))
        assert await _until(lambda: len(steps) > 3)
        await served.service.drain(0)
        reply = await asking
        with pytest.raises(DrainingError):
            await served.ask(question())
    assert reply.finish_reason is FinishReason.DRAINING
    assert reply.tokens
    assert reply.steps_run < 1000


async def test_drain_does_not_wait_for_a_david_that_hangs() -> None:
    async with serving() as served, bare(served) as client:
        await client.open()
        await client.read()
        await served.service.drain(0.3)
        done = await client.read()
        assert isinstance(done, Completed)
        assert done.finish_reason is FinishReason.DRAINING
        assert len(done.ids) == 0


async def test_a_server_that_loads_its_model_says_so() -> None:
    async with serving(ready=False) as served:
        with pytest.raises(ServerFullError, match="loading"):
            await served.ask(question())
        async with bare(served) as client:
            assert type(await client.verdict()) is ServerFullError


async def test_health_and_reflection() -> None:
    async with (
        serving(ready=False) as served,
        open_channel(served.address, insecure=True) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        seen = []
        for serves in (False, True):
            await served.health.set(serving=serves)
            for name in ("", SERVICE):
                asked = health_pb2.HealthCheckRequest(service=name)
                seen.append((await stub.Check(asked)).status)
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = (await call.read()).list_services_response.service
        call.cancel()
    down, up = health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING
    assert seen == [down, down, up, up]
    assert SERVICE in {one.name for one in listed}


async def test_mutual_tls_names_the_peer(tmp_path: Path) -> None:
    authority = trustme.CA()
    server = issued(tmp_path, "server", authority, "127.0.0.1")
    client = issued(tmp_path, "client", authority, "david.example")
    peers: list[str] = []
    async with serving(tls=server, client_tls=client) as served:
        reply = await served.ask(
            question(), on_draft=lambda _: peers.extend(served.service._per_peer)
        )
    assert reply.tokens == embedded(question()).tokens
    assert set(peers) == {"david.example"}
