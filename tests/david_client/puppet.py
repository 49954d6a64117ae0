"""Servers that do what a test's script says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from common.collaboration.contribution import Ask
from common.collaboration.settings import Limits
from common.pb import collaboration_pb2_grpc as rpc
from common.wire.channels import open_server
from common.wire.conversions import (
    client_frame_from_proto,
    server_frame_to_proto,
    server_info_to_proto,
)
from common.wire.frames import Step
from david_client.place import Place
from goliath_server.session import Host, open_session
from tests.serving import (
    GOLIATH,
    ask_at,
    question,
)

HOST = Host(replace(GOLIATH, name="fake"), Limits())
Script = Callable[["Puppet"], Awaitable[None]]


class Puppet:
    """The server's end of a stream, moved by a test."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.opened: Any = None
        self.contributor: Any = None

    async def read(self) -> Any:
        message = await self.context.read()
        return client_frame_from_proto(
            message, limits=Limits(), opened=self.opened, contributor=self.contributor
        )

    async def send(self, frame: Any) -> None:
        await self.context.write(server_frame_to_proto(frame, opened=self.opened))

    async def open(self, **changes: Any) -> None:
        session = open_session(await self.read(), HOST, session_id="fake")
        self.opened = session.opened
        self.process: Any = session.plan.process
        self.contributor = session.mine
        await self.send(replace(session.opened, **changes))

    async def step(self, block: int = 0, step: int = 0, token: int = 60, **changes: Any) -> None:
        rows = self.opened.settings.block_length
        started = (block, step) != (0, 0)
        estimate = np.full((rows, 1 if step else 0), token, np.int64)
        decided = np.ones(rows if started else 0, np.uint8)
        signal = changes.pop("signal", None)
        state = self.process.state(block, step, estimate, signal)
        await self.send(Step(block, step, state, decided=decided, **changes))


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
        return await ask_at(place, question(), timeout_s=timeout_s)


async def never(_: Puppet) -> None:
    raise AssertionError("no session was to begin")


def ask_about(step: int, *, count: int = 2) -> Ask:
    positions = np.array([1, 3], np.int32)
    ids = np.tile(np.arange(count, dtype=np.int32), 2)
    return Ask(0, step, positions, np.full(2, count, np.int32), ids)


async def answered(script: Script, **requested: Any) -> Any:
    """A question of a David who agreed to asks."""
    async with puppet(script) as place:
        certified = question(**({"certify": True} | requested))
        return await ask_at(place, certified, timeout_s=20)
