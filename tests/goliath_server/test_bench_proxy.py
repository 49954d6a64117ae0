"""The proxy of `goliath bench`: it counts what passes, and delays it like a long way."""

import asyncio
import contextlib
import heapq
import itertools

from goliath_server.bench.proxy import Bytes, Chunk, Proxy, carry, total


class Clock:
    """Time that passes only when all that run have gone to sleep."""

    def __init__(self):
        self.time = 0.0
        self._sleepers = []
        self._count = itertools.count()

    def now(self):
        return self.time

    async def sleep(self, seconds):
        woken = asyncio.Event()
        heapq.heappush(self._sleepers, (self.time + seconds, next(self._count), woken))
        await woken.wait()

    async def run(self, work):
        task = asyncio.ensure_future(work)
        while not task.done():
            for _ in range(20):
                await asyncio.sleep(0)
            if self._sleepers and not task.done():
                self.time, _, woken = heapq.heappop(self._sleepers)
                woken.set()
        return task.result()


async def carried(clock, arrivals, delay_s, *, write_s=0.0):
    """(moment, bytes) of all that is written, from (moment, bytes) of all that comes in."""
    coming, written, counted = iter(arrivals), [], []

    async def read():
        moment, data = next(coming, (clock.time, b""))
        await clock.sleep(moment - clock.time)
        return data

    async def write(data):
        written.append((clock.time, data))
        await clock.sleep(write_s)

    await clock.run(
        carry(
            read,
            write,
            counted.append,
            delay_s=lambda: delay_s(clock.time),
            now=clock.now,
            sleep=clock.sleep,
        )
    )
    assert b"".join(counted) == b"".join(data for _, data in arrivals)
    return written


async def test_what_comes_in_goes_out_after_its_delay():
    arrivals = [(0.0, b"a"), (1.0, b"bc"), (1.5, b"d")]
    written = await carried(Clock(), arrivals, lambda _: 5.0)
    assert written == [(5.0, b"a"), (6.0, b"bc"), (6.5, b"d"), (6.5, b"")]


async def test_nothing_overtakes_when_the_delay_falls():
    arrivals = [(0.0, b"a"), (1.0, b"b"), (2.0, b"c")]
    written = await carried(Clock(), arrivals, lambda now: 5.0 if now < 1 else 0.0)
    assert written == [(5.0, b"a"), (5.0, b"b"), (5.0, b"c"), (5.0, b"")]


async def test_a_slow_reader_does_not_hold_back_what_comes_in():
    clock = Clock()
    written = await carried(clock, [(0.0, b"a"), (0.0, b"b")], lambda _: 1.0, write_s=3.0)
    assert [moment for moment, _ in written] == [1.0, 4.0, 7.0]


@contextlib.asynccontextmanager
async def echoing(times=1):
    """A server that sends back all that it gets, so many times; its port."""

    async def answer(reader, writer):
        while data := await reader.read(1000):
            writer.write(data * times)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def talk(address, data, back):
    """Send, get so many bytes back, leave; seconds from the first to the last."""
    reader, writer = await asyncio.open_connection(*address.split(":"))
    loop = asyncio.get_running_loop()
    begin = loop.time()
    writer.write(data)
    got = await reader.readexactly(back)
    took = loop.time() - begin
    writer.close()
    return got, took


async def test_bytes_of_each_way_are_counted_exactly():
    async with echoing(times=3) as port, Proxy("127.0.0.1", port) as proxy:
        for size in (1, 200_001):
            got, _ = await talk(proxy.address, b"x" * size, 3 * size)
            assert got == b"x" * 3 * size
            chunks = await proxy.settled()
            assert total(chunks) == Bytes(size, 3 * size)
        assert await proxy.settled() == []
        assert len(proxy.connects) == 2
        assert not proxy.nobody


async def test_a_delay_is_half_a_round_trip_each_way():
    async with echoing() as port, Proxy("127.0.0.1", port) as proxy:
        _, near = await talk(proxy.address, b"x", 1)
        proxy.delay_s = 0.1
        _, far = await talk(proxy.address, b"x", 1)
        assert near < 0.1
        assert 0.2 <= far < 0.2 + 0.1
        assert total(await proxy.settled()) == Bytes(2, 2)


async def test_a_client_that_does_not_hang_up_is_hung_up_on(monkeypatch):
    monkeypatch.setattr("goliath_server.bench.proxy._LEAVE_S", 0.05)
    async with echoing() as port, Proxy("127.0.0.1", port) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address.split(":"))
        writer.write(b"abc")
        assert await reader.readexactly(3) == b"abc"
        assert total(await proxy.settled()) == Bytes(3, 3)
        assert await reader.read() == b""
        writer.close()


async def test_a_proxy_before_nobody_hangs_up_and_tells():
    async with echoing() as port:
        pass
    async with Proxy("127.0.0.1", port) as proxy:
        assert not await proxy.reaches()
        reader, writer = await asyncio.open_connection(*proxy.address.split(":"))
        assert await reader.read() == b""
        writer.close()
        assert await proxy.settled() == []
        assert proxy.nobody


def test_a_moment_parts_the_bytes():
    chunks = [Chunk(1.0, up=5), Chunk(2.0, down=7), Chunk(3.0, up=11)]
    assert total(chunks) == Bytes(16, 7)
    assert total(chunks, until=2.0) == Bytes(5, 7)
