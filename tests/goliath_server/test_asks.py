"""Asks over a real connection: within the caps, answered once, and what late rules make of them."""

import asyncio
from typing import Any

import numpy as np
import pytest

from common.collaboration.contribution import Answer, Ask
from common.collaboration.settings import LateRule, Limits
from common.denoising.plan import FinishReason
from common.errors import (
    InvalidFrameError,
    StepOutOfRangeError,
)
from common.wire.frames import Completed, Failed, Finish, Step
from tests.serving import (
    bare,
    embedded,
    open_frame,
    question,
    serving,
    terms,
)


def certifying(**changes: Any) -> Any:
    """A first frame that agrees to asks."""
    return open_frame(*terms(certify=True, **changes), required_features=("certify",))


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
        assert (await good).ids == embedded(asked).ids


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
