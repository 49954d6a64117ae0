"""How sessions end: finished, cancelled, drained."""

import asyncio

import grpc.aio
import pytest

from common.denoising.plan import FinishReason
from common.errors import (
    DrainingError,
)
from common.wire.frames import Completed, Finish, Step
from goliath_server.service import Caps
from tests.goliath_server.waiting import until
from tests.serving import (
    bare,
    open_frame,
    question,
    serving,
    terms,
)


@pytest.mark.parametrize("weight", [0.0, 0.5])
async def test_finish_brings_the_draft(weight: float) -> None:
    async with serving() as served, bare(served) as client:
        await client.open(open_frame(*terms(weight=weight, steps=200)))
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
        await client.open(open_frame(*terms(weight=0.0, steps=1)))
        assert await client.verdict() is None


async def test_drain_ends_sessions_after_their_step() -> None:
    steps: list[int] = []
    async with serving() as served:
        asked = question(steps=1000)
        asking = asyncio.create_task(served.ask(asked, on_draft=lambda d: steps.append(d.step)))
        assert await until(lambda: len(steps) > 3)
        await served.service.drain(0)
        reply = await asking
        with pytest.raises(DrainingError):
            await served.ask(question())
    assert reply.finish_reason is FinishReason.DRAINING
    assert reply.ids
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
