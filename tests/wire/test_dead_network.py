"""Packets that are dropped for good: both sides notice, and only then.

The proxy's delay becomes infinite: connections stay open, and nothing passes any more.
"""

import asyncio
import math
import subprocess
import time
from pathlib import Path
from typing import Any

import trustme

from common.collaboration.settings import LateRule
from common.errors import ExitCode, UnreachableError
from common.wire.channels import Keepalive, split_address
from common.wire.frames import Step
from goliath_server.bench.proxy import Proxy
from goliath_server.service import Caps
from tests.certificates import client_options, issued, server_options
from tests.programs import Pair, address_of, ended, event, process, serve
from tests.serving import GOLIATH, Place, ask_at, bare, question, serving

HASTY = Keepalive(ping_s=0.2, answer_s=0.4)
LIMIT_S = 3.0
"""Far above what it takes, far below gRPC's own minute and the answer that never comes."""


async def test_the_client_of_a_silent_server_ends() -> None:
    async with (
        serving() as served,
        Proxy(*split_address(served.address)) as proxy,
        bare(served, address=proxy.address, keepalive=HASTY) as client,
    ):
        await client.open()
        await client.read()
        proxy.delay_s = math.inf
        began = time.monotonic()
        verdict = await client.verdict()
        took = time.monotonic() - began
    assert type(verdict) is UnreachableError
    assert verdict.message.startswith(f"nothing comes from {proxy.address} any more")
    assert HASTY.answer_s < took < LIMIT_S


async def test_the_place_of_a_silent_client_is_free_again() -> None:
    async with (
        serving(caps=Caps(sessions=1), keepalive=HASTY) as served,
        Proxy(*split_address(served.address)) as proxy,
        bare(served, address=proxy.address) as client,
    ):
        await client.open()
        await client.read()
        proxy.delay_s = math.inf
        async with asyncio.timeout(LIMIT_S):
            await served.service._idle.wait()
        assert (await served.ask(question())).ids


async def test_a_slow_client_is_not_a_dead_network() -> None:
    async with serving(keepalive=HASTY) as served, bare(served) as client:
        await client.open()
        await client.read()
        await asyncio.sleep(1.5)
        await client.contribute(0, 0)
        assert isinstance(await client.read(), Step)


async def test_a_slow_server_is_not_a_dead_network_and_pings_are_no_attack() -> None:
    def slow(views: Any) -> Any:
        time.sleep(5.0)  # with gRPC's own settings a server takes the fourth ping for an attack
        return GOLIATH.predictor.predict(views)

    async with serving(predict=slow) as served:
        reply = await served.ask(question(late_rule=LateRule.FAIL, budget_ms=300, steps=1))
    assert reply.david_steps == 1


async def test_a_long_way_is_not_a_dead_one() -> None:
    async with serving() as served, Proxy(*split_address(served.address)) as proxy:
        proxy.delay_s = 0.3
        asked = question(late_rule=LateRule.FAIL, budget_ms=1500, steps=2)
        place = Place(proxy.address, insecure=True)
        reply = await ask_at(place, asked)
    assert reply.david_steps == 2


async def test_david_ends_within_his_budget_and_a_second(pair: Pair, tmp_path: Path) -> None:
    authority = trustme.CA()
    server = issued(tmp_path, "server", authority, "127.0.0.1")
    client = issued(tmp_path, "client", authority, "david.example")
    asking = ("ask", "how do i make soup", "--model", pair.david, "--steps", 1000, "--budget", 1)
    with serve(pair, safety=server_options(server)) as goliath:
        address = await asyncio.to_thread(address_of, goliath)
        async with Proxy(*split_address(address)) as proxy:
            place = ("--goliath", proxy.address, *client_options(client))
            with (
                process("david_client", *asking, *place, "--late", "fail") as failing,
                process("david_client", *asking, *place, "--late", "solo") as going_on,
            ):
                for _ in range(2):
                    await asyncio.to_thread(event, goliath, "session.opened")
                proxy.delay_s = math.inf
                await asyncio.gather(_ends_in_time(failing), _ends_in_time(going_on))


async def _ends_in_time(david: subprocess.Popen[str]) -> None:
    began = time.monotonic()
    assert david.stderr is not None
    said = await asyncio.to_thread(david.stderr.readline)
    took = time.monotonic() - began
    assert "not even answers to pings" in said
    assert took < 1 + 1 + 0.5  # what is promised, and what a busy machine takes
    assert (await asyncio.to_thread(ended, david)).code == ExitCode.UNREACHABLE
