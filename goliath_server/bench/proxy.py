"""A proxy on loopback that counts the bytes of connections, and delays them like a long way."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 2**16
_CONNECT_S = 10.0
_LEAVE_S = 1.0
"""Longest time in which a client hangs up after its answer, beside the delays."""

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes that came in at once."""

    moment: float
    """Seconds of the clock."""
    up: int = 0
    """Bytes from the client."""
    down: int = 0
    """Bytes from the server."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes each way."""

    up: int
    down: int


def total(chunks: Sequence[Chunk], *, until: float | None = None) -> Bytes:
    """What came in, up to a moment if one is given."""
    some = [c for c in chunks if until is None or c.moment <= until]
    return Bytes(sum(c.up for c in some), sum(c.down for c in some))


class Proxy:
    """Use as an async context manager. Bytes are those of the TCP connections: all that TLS and
    HTTP/2 make of the messages, without the headers of TCP and IP. What comes in goes out after
    `delay_s`, in order; bandwidth is not limited.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Stand before a server; nothing is opened yet.

        Args:
            host: of the server.
            port: of the server.
            now: a clock in seconds.
            sleep: waits for so many seconds of it.
        """
        self.delay_s = 0.0
        """Seconds that bytes take each way; holds for what comes in from now on."""
        self.address = ""
        """HOST:PORT where clients connect."""
        self.connects: list[float] = []
        """Seconds that each connection to the server took to open: about one round trip."""
        self.nobody = False
        """Whether the server could not be reached."""
        self._target = (host, port)
        self._now, self._sleep = now, sleep
        self._chunks: list[Chunk] = []
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen on a free port of loopback."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = "{}:{}".format(*self._server.sockets[0].getsockname()[:2])
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Listen no more, and drop what is open."""
        assert self._server is not None
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def reaches(self) -> bool:
        """Whether the server takes connections."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, writer = await asyncio.open_connection(*self._target)
        except OSError:  # of which a timeout is one
            return False
        writer.close()
        return True

    async def settled(self) -> list[Chunk]:
        """All that came in since the last call, once every connection has ended.

        A client that waits for its next question may forget to hang up (gRPC closes a connection
        while its loop runs): then this does, and only the words of farewell are not counted.
        """
        if self._open:
            _, idle = await asyncio.wait(set(self._open), timeout=_LEAVE_S + 2 * self.delay_s)
            for task in idle:
                task.cancel()
            await asyncio.gather(*idle, return_exceptions=True)
        chunks, self._chunks = self._chunks, []
        return chunks

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            began = self._now()
            there, back = await asyncio.open_connection(*self._target)
            self.connects.append(self._now() - began)
            try:
                await asyncio.gather(
                    self._carry(reader, back, 1, 0), self._carry(there, writer, 0, 1)
                )
            finally:
                back.close()
        except OSError:
            self.nobody = True
        finally:
            writer.close()
            self._open.discard(task)

    async def _carry(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        up: int,
        down: int,
    ) -> None:
        """One way of a connection, until its end; a broken one ends too."""

        async def read() -> bytes:
            with suppress(OSError):
                return await source.read(_CHUNK_BYTES)
            return b""

        async def write(data: bytes) -> None:
            with suppress(OSError):
                if data:
                    sink.write(data)
                    await sink.drain()
                else:
                    sink.write_eof()

        def count(data: bytes) -> None:
            size = len(data)
            self._chunks.append(Chunk(self._now(), up * size, down * size))

        await carry(
            read, write, count, delay_s=lambda: self.delay_s, now=self._now, sleep=self._sleep
        )


async def carry(
    read: Callable[[], Awaitable[bytes]],
    write: Callable[[bytes], Awaitable[None]],
    count: Callable[[bytes], None],
    *,
    delay_s: Callable[[], float],
    now: Callable[[], float],
    sleep: Sleep,
) -> None:
    """Carry bytes from `read` to `write`, each after its delay and in order, until an empty read,
    which is carried too.

    Reading never waits for writing: what is on its way is kept, and HTTP/2's windows bound it.

    Args:
        read: the next bytes; empty at the end.
        write: takes them.
        count: called with all bytes as they come in.
        delay_s: seconds for what comes in now.
        now: a clock in seconds.
        sleep: waits for so many seconds of it.
    """
    way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, data = await way.get()
            wait = due - now()
            if wait > 0:
                await sleep(wait)
            await write(data)
            if not data:
                return

    delivery = asyncio.create_task(deliver())
    try:
        data = b"?"
        while data:
            data = await read()
            if data:
                count(data)
            way.put_nowait((now() + delay_s(), data))
        await delivery
    finally:
        delivery.cancel()
