"""The client against servers that misbehave, vanish or hang; what it says, counts and checks."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.collaboration.certification import Tally
from common.collaboration.compatibility import config_of, default_settings
from common.collaboration.contribution import Ask, Codec
from common.collaboration.contributor import Contributor
from common.denoising.plan import FinishReason
from common.errors import (
    BadDataError,
    IncompatibleError,
    InternalError,
    InvalidFrameError,
    LimitExceededError,
    ModelMismatchError,
    NotOurServerError,
    OutOfTimeError,
    ProcessMismatchError,
    ProtocolMismatchError,
    UnreachableError,
    UsageError,
    VocabularyMismatchError,
)
from common.pb import collaboration_pb2 as pb
from common.pb import collaboration_pb2_grpc as rpc
from common.processes.simplex.state import SimplexState
from common.wire.channels import open_server
from common.wire.conversions import (
    client_frame_from_proto,
    server_frame_to_proto,
    server_info_to_proto,
)
from common.wire.frames import Cancel, Completed, Failed, Finish, Limits, Step
from david_client.client import Place, ask
from goliath_server.server import host_of
from goliath_server.session import open_session
from tests.serving import (
    CONTEXT,
    DAVID,
    GOLIATH,
    PROMPT,
    VOCABULARY,
    embedded,
    question,
    quiet,
    serving,
)

HOST = host_of("fake", GOLIATH, VOCABULARY, Limits())
Script = Callable[["Puppet"], Awaitable[None]]


class Puppet:
    """The server's end of a stream, moved by a test."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.opened: Any = None

    async def read(self) -> Any:
        message = await self.context.read()
        return client_frame_from_proto(message, limits=Limits(), opened=self.opened)

    async def send(self, frame: Any) -> None:
        await self.context.write(server_frame_to_proto(frame, vocabulary_size=VOCABULARY.size))

    async def open(self, **changes: Any) -> None:
        session = open_session(await self.read(), HOST, session_id="fake")
        self.opened = session.opened
        await self.send(replace(session.opened, **changes))

    async def step(self, block: int = 0, step: int = 0, token: int = 60, **changes: Any) -> None:
        rows = self.opened.settings.block_length
        started = (block, step) != (0, 0)
        estimate = np.full((rows, 1 if step else 0), token, np.int64)
        decided = np.ones(rows if started else 0, np.uint8)
        await self.send(Step(block, step, estimate, decided=decided, **changes))


@asynccontextmanager
async def puppet(script: Script, **info: Any) -> AsyncIterator[Place]:
    class Servicer(rpc.CollaborationServiceServicer):
        async def GetServerInfo(self, request: Any, context: Any) -> Any:
            return server_info_to_proto(replace(HOST.info(software_version="fake"), **info))

        async def Collaborate(self, request_iterator: Any, context: Any) -> None:
            await script(Puppet(context))

    server, port = open_server("127.0.0.1:0", insecure=True)
    rpc.add_CollaborationServiceServicer_to_server(Servicer(), server)
    await server.start()
    try:
        yield Place(f"127.0.0.1:{port}", insecure=True)
    finally:
        await server.stop(None)


@asynccontextmanager
async def listening(talk: Callable[..., Awaitable[None]]) -> AsyncIterator[Place]:
    """A bare listener whose connections are closed when `talk` is done, and at the end."""
    talks: set[asyncio.Task[None] | None] = set()

    async def handle(reader: Any, writer: Any) -> None:
        talks.add(asyncio.current_task())
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield Place(f"127.0.0.1:{listener.sockets[0].getsockname()[1]}", insecure=True)
    finally:
        listener.close()
        running = [one for one in talks if one is not None]
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        # Transports let go of their sockets in the next round of the loop.
        await asyncio.sleep(0.01)


async def asked(script: Script, *, timeout_s: float = 20, **info: Any) -> Any:
    async with puppet(script, **info) as place:
        return await ask(question(), DAVID, place, timeout_s=timeout_s, on_draft=quiet)


async def never(_: Puppet) -> None:
    raise AssertionError("no session was to begin")


@pytest.mark.parametrize(
    ("info", "error"),
    [
        ({"vocabulary_fingerprint": bytes(32)}, VocabularyMismatchError),
        (
            {"process": replace(HOST.info(software_version="1").process, k=4.0)},
            ProcessMismatchError,
        ),
        ({"protocol_version": 2}, ProtocolMismatchError),
    ],
)
async def test_a_server_that_does_not_fit_is_left_alone(
    info: dict[str, Any], error: type[IncompatibleError]
) -> None:
    with pytest.raises(error) as caught:
        await asked(never, **info)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"prompt_ids": np.array([2, 60, 3])}, ModelMismatchError),
        ({"suffix_ids": np.array([60, 3])}, ModelMismatchError),
        ({"vocabulary_size": VOCABULARY.size + 1}, InvalidFrameError),
        ({"process": replace(HOST.info(software_version="1").process, k=4.0)}, InvalidFrameError),
    ],
)
async def test_other_terms_than_wished_are_refused(
    changes: dict[str, Any], error: type[IncompatibleError]
) -> None:
    async def script(peer: Puppet) -> None:
        await peer.open(**changes)
        await peer.context.read()

    with pytest.raises(error):
        await asked(script)


async def test_another_seed_than_wished_is_refused() -> None:
    async def script(peer: Puppet) -> None:
        session = open_session(await peer.read(), HOST, session_id="fake")
        terms = replace(session.opened.settings, seed=666)
        await peer.send(replace(session.opened, settings=terms))
        await peer.context.read()

    with pytest.raises(InvalidFrameError, match="settings"):
        await asked(script)


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ({"step": 2}, "expected step 1 of block 0"),
        ({"step": 0}, "expected step 1 of block 0"),
        ({"step": 1, "token": VOCABULARY.mask}, "none of the template's"),
    ],
)
async def test_steps_follow_each_other_with_ordinary_ids(second: Any, says: str) -> None:
    async def script(peer: Puppet) -> None:
        await peer.open()
        await peer.step()
        await peer.read()
        if not second["step"]:
            await peer.context.write(
                pb.CollaborateResponse(step=pb.Step(simplex=pb.SimplexState()))
            )
        else:
            await peer.step(**second)
        await peer.context.read()

    with pytest.raises(InvalidFrameError, match=says):
        await asked(script)


def ask_about(step: int, *, count: int = 2) -> Ask:
    positions = np.array([1, 3], np.int32)
    ids = np.tile(np.arange(count, dtype=np.int32), 2)
    return Ask(0, step, positions, np.full(2, count, np.int32), ids)


async def answered(script: Script, **wishes: Any) -> Any:
    """A question of a David who agreed to asks."""
    async with puppet(script) as place:
        wished = question(**({"certify": True} | wishes))
        return await ask(wished, DAVID, place, timeout_s=20, on_draft=quiet)


async def test_david_answers_from_the_rows_of_the_step_in_flight() -> None:
    heard: list[Any] = []

    async def script(peer: Puppet) -> None:
        await peer.open()
        for step in range(4):
            await peer.step(step=step)
            await peer.read()
            await peer.send(ask_about(step))
            heard.append(await peer.read())
        done = Completed(0, 3, np.array([60]), FinishReason.END_TOKEN, uncertified=7)
        await peer.send(done)
        await peer.read()

    reply = await answered(script)
    assert reply.certification == Tally(uncertified=7, asks=4, asked_ids=16, asked_positions=8)
    terms = question().settings(default_settings(config_of(GOLIATH)))
    david = question().contributor(DAVID, replace(terms, codec=Codec.DENSE))
    for step, came in enumerate(heard):
        estimate = np.full((16, 1 if step else 0), 60, np.int64)
        t = GOLIATH.config.warp.table(4)[step]
        rows = david.contribute(SimplexState(5, 0, step, t, estimate), np.empty(0, np.int64))
        expected = rows.values.reshape(16, -1)[[1, 1, 3, 3], [0, 1, 0, 1]]
        assert (came.block, came.step) == (0, step)
        assert came.values.tolist() == expected.tolist()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "not agreed": ({"certify": False}, "none was agreed"),
    "a step that is over": ({"about": 0}, "in flight"),
    "a step to come": ({"about": 2}, "in flight"),
    "before the contribution": ({"early": True}, "after its contribution"),
    "twice": ({"times": 2}, "after its contribution"),
    "too many at a position": ({"count": 121}, "counts"),
    "too many in all": ({"count": 100}, "ids: expected 1 to 150"),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_asks_that_were_not_agreed_to_are_refused(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    how, says = REFUSED[kind]
    if how.get("early"):
        own = Contributor.contribute
        monkeypatch.setattr(Contributor, "contribute", lambda *a: (time.sleep(0.5), own(*a))[1])

    async def script(peer: Puppet) -> None:
        await peer.open(limits=Limits(max_ask_ids_per_position=120, max_ask_ids=150))
        for step in range(2):
            await peer.step(step=step)
            if how.get("early"):
                break
            await peer.read()
        for _ in range(how.get("times", 1)):
            about = 0 if how.get("early") else how.get("about", 1)
            await peer.send(ask_about(about, count=how.get("count", 2)))
        await peer.context.read()
        await peer.context.read()

    with pytest.raises(InvalidFrameError, match=says):
        await answered(script, **({"certify": how["certify"]} if "certify" in how else {}))


async def test_a_frame_of_another_version_is_refused() -> None:
    async def script(peer: Puppet) -> None:
        await peer.open()
        await peer.context.write(pb.CollaborateResponse())
        await peer.context.read()

    with pytest.raises(InvalidFrameError):
        await asked(script)


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
            await ask(question(), DAVID, place, timeout_s=0.5, on_draft=quiet)


async def test_nobody_there() -> None:
    place = Place("127.0.0.1:1", insecure=True)
    with pytest.raises(UnreachableError, match="nobody answers") as caught:
        await ask(question(), DAVID, place, timeout_s=5, on_draft=quiet)
    assert "goliath serve" in caught.value.remedy


async def test_a_server_that_is_not_ours() -> None:
    async def web(reader: Any, writer: Any) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with listening(web) as place:
        with pytest.raises(NotOurServerError):
            await ask(question(), DAVID, place, timeout_s=5, on_draft=quiet)


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
        asking = asyncio.create_task(ask(question(), DAVID, place, timeout_s=20, on_draft=quiet))
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
    assert reply.tokens == (60, 61)
    assert heard == [Finish(0, 3)]


async def test_bytes_are_those_of_the_messages() -> None:
    async with serving() as served:
        none = await served.ask(question(weight=0.0))
        some = await served.ask(question())
    assert 0 < none.bytes_up < 300
    assert none.bytes_up < some.bytes_up
    assert some.bytes_down < 2000
    assert embedded(question()).bytes_up == 0


async def test_drafts_are_those_of_the_embedded_run() -> None:
    over: list[Any] = []
    here: list[Any] = []
    asked_ = question(max_tokens=32, temperature=0.0)
    async with serving() as served:
        await served.ask(asked_, on_draft=over.append)
    from david_client.embedded import ask_embedded

    ask_embedded(
        asked_, DAVID, goliath="g", model=GOLIATH, vocabulary=VOCABULARY, on_draft=here.append
    )
    assert len(over) == len(here) == 8
    for a, b in zip(over, here, strict=True):
        assert (a.block, a.step, a.t, a.finished) == (b.block, b.step, b.t, b.finished)
        assert (a.estimate is None) == (b.estimate is None) == (a.step == 0)
        assert a.estimate is None or a.estimate.tolist() == b.estimate.tolist()


async def test_david_computes_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[str] = set()
    own = Contributor.contribute

    def watched(self: Contributor, *arguments: Any) -> Any:
        threads.add(threading.current_thread().name)
        return own(self, *arguments)

    monkeypatch.setattr(Contributor, "contribute", watched)
    async with serving() as served:
        await served.ask(question())
    assert len(threads) == 1
    assert threads.pop().startswith("david")


async def test_a_david_that_breaks_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise InternalError("expected finite logits from the model")

    monkeypatch.setattr(Contributor, "contribute", broken)
    async with serving() as served:
        with pytest.raises(InternalError, match="finite"):
            await served.ask(question())


async def test_texts_that_cannot_be_asked() -> None:
    async with serving() as served:
        with pytest.raises(UsageError, match="context"):
            await served.ask(question(contrast=0.5))
        with pytest.raises((BadDataError, LimitExceededError), match="David"):
            await served.ask(question(context=CONTEXT * 50))
        with pytest.raises((BadDataError, LimitExceededError), match="256"):
            await served.ask(replace(question(weight=0.0), prompt=PROMPT * 80))
