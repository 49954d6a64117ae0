"""The client against servers that fail, vanish or hang."""

import asyncio
from typing import Any

import numpy as np
import pytest

from common.denoising.plan import FinishReason
from common.errors import (
    InternalError,
    LimitExceededError,
    NotOurServerError,
    OutOfTimeError,
    UnreachableError,
)
from common.wire.frames import Cancel, Completed, Failed, Finish
from david_client.place import Place
from tests.david_client.puppet import Puppet, asked, listening, puppet
from tests.serving import (
    ask_at,
    question,
    serving,
)


async def test_failed_is_the_servers_verdict() -> None:
    async def script(peer: Puppet) -> None:
        await peer.read()
        await peer.send(Failed(0, 0, "LIMIT_EXCEEDED", "too much\x1b[31m", "ask for less"))

    with pytest.raises(LimitExceededError) as caught:
        await asked(script)
    assert (caught.value.message, caught.value.remedy) == ("too much [31m", "ask for less")


async def test_an_end_without_an_answer_is_no_answer() -> None:
    async def script(peer: Puppet) -> None:
        await peer.open()

    with pytest.raises(UnreachableError, match="without an answer"):
        await asked(script)


async def test_a_server_that_breaks_tells_nothing_but_that() -> None:
    async def script(peer: Puppet) -> None:
        await peer.open()
        raise ValueError("secret")

    with pytest.raises(InternalError) as caught:
        await asked(script)
    assert "secret" not in str(caught.value)


async def test_a_server_that_dies_in_the_middle() -> None:
    async with serving() as served:

        def kill(draft: Any) -> None:
            if draft.step == 2:
                asyncio.get_running_loop().create_task(served.server.stop(None))

        with pytest.raises(UnreachableError) as caught:
            await served.ask(question(steps=500), on_draft=kill)
    assert caught.value.remedy


async def test_a_server_that_hangs_in_the_middle() -> None:
    async def script(peer: Puppet) -> None:
        await peer.open()
        await peer.step()
        await asyncio.sleep(30)

    with pytest.raises(OutOfTimeError) as caught:
        await asked(script, timeout_s=1.0)
    assert caught.value.remedy


async def test_a_server_that_never_answers() -> None:
    async def say_nothing(reader: Any, writer: Any) -> None:
        await reader.read()

    async with listening(say_nothing) as place:
        with pytest.raises((OutOfTimeError, UnreachableError)):
            await ask_at(place, question(), timeout_s=0.5)


async def test_nobody_there() -> None:
    place = Place("127.0.0.1:1", insecure=True)
    with pytest.raises(UnreachableError, match="nobody answers") as caught:
        await ask_at(place, question(), timeout_s=5)
    assert "goliath serve" in caught.value.remedy


async def test_a_server_that_is_not_ours() -> None:
    async def web(reader: Any, writer: Any) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with listening(web) as place:
        with pytest.raises(NotOurServerError):
            await ask_at(place, question(), timeout_s=5)


async def test_cancelling_tells_the_server() -> None:
    heard: list[Any] = []
    inside = asyncio.Event()

    async def script(peer: Puppet) -> None:
        await peer.open()
        await peer.step()
        await peer.read()
        inside.set()
        heard.append(await peer.read())

    async with puppet(script) as place:
        asking = asyncio.create_task(ask_at(place, question(), timeout_s=20))
        await inside.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert heard == [Cancel(0, 0)]


async def test_finish_says_that_the_answer_arrived() -> None:
    heard: list[Any] = []

    async def script(peer: Puppet) -> None:
        await peer.open()
        for step in range(4):
            await peer.step(step=step)
            await peer.read()
        await peer.send(Completed(0, 3, np.array([60, 61]), FinishReason.END_TOKEN))
        heard.append(await peer.read())

    reply = await asked(script)
    assert reply.ids == (60, 61)
    assert heard == [Finish(0, 3)]
