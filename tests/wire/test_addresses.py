"""Addresses, of IPv6 too, are told as people write them."""

import re
import socket
from pathlib import Path

import pytest
import trustme

from common.errors import LimitExceededError
from common.wire.channels import join_address, peer_address, split_address
from goliath_server.service import Caps
from tests.certificates import client_options, issued, server_options
from tests.programs import Pair, address_of, ended, event, process, serve
from tests.serving import bare, serving


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback")


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("ipv6:%5B::1%5D:52114", "[::1]:52114"),
        ("ipv6:%5Bfe80::1%25eth0%5D:7", "[fe80::1%eth0]:7"),
        ("ipv4:127.0.0.1:52114", "127.0.0.1:52114"),
    ],
)
def test_a_peer_of_grpc(name: str, address: str) -> None:
    assert peer_address(name) == address
    assert join_address(*split_address(address)) == address


@ipv6
async def test_connections_of_one_host_count_together() -> None:
    async with serving(host="::1", caps=Caps(streams_per_peer=1)) as served, bare(served) as first:
        await first.open()
        assert dict(served.service._per_peer) == {"[::1]": 1}
        async with bare(served) as second:
            assert type(await second.verdict()) is LimitExceededError


@ipv6
def test_programs_on_ipv6_over_tls(pair: Pair, tmp_path: Path) -> None:
    authority = trustme.CA()
    server = issued(tmp_path, "server", authority, "::1")
    client = issued(tmp_path, "client", authority, "david.example")
    with serve(pair, host="[::1]", safety=server_options(server)) as goliath:
        address = address_of(goliath)
        assert re.fullmatch(r"\[::1\]:\d+", address)
        asking = ("ask", "hot soup", "--model", pair.david, "--steps", 2, "--goliath", address)
        with process("david_client", *asking, *client_options(client)) as david:
            assert ended(david).code == 0
        for name in ("session.opened", "session.completed"):
            record = event(goliath, name)
            assert record["peer"] == "david.example"
            assert re.fullmatch(r"\[::1\]:\d+", record["address"])
