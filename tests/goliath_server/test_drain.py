"""SIGTERM of a server with a session: running answers finish, new ones are refused at once."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from common.errors import ExitCode
from tests.certificates import client_options, issued, server_options
from tests.programs import Pair, address_of, ended, event, process, serve

pytestmark = [pytest.mark.usefixtures("own_settings"), pytest.mark.timeout(300)]


class Running(NamedTuple):
    server: subprocess.Popen[str]
    david: subprocess.Popen[str]
    place: tuple[object, ...]


@contextlib.contextmanager
def session(pair: Pair, folder: Path, *options: object, steps: int) -> Iterator[Running]:
    """A session over TLS whose server waits for a David that stands still."""
    authority = trustme.CA()
    server = issued(folder, "server", authority, "127.0.0.1")
    client = issued(folder, "client", authority, "david.example")
    with serve(pair, *options, safety=server_options(server)) as goliath:
        place = ("--model", pair.david, "--goliath", address_of(goliath), *client_options(client))
        with process("david_client", "ask", "hot soup", *place, "--steps", steps) as david:
            event(goliath, "session.opened")
            david.send_signal(signal.SIGSTOP)
            try:
                yield Running(goliath, david, place)
            finally:
                david.send_signal(signal.SIGCONT)


def test_a_running_answer_finishes_and_a_new_one_is_refused_at_once(
    pair: Pair, tmp_path: Path, run: Any
) -> None:
    with session(pair, tmp_path, steps=400) as running:
        running.server.send_signal(signal.SIGTERM)
        assert event(running.server, "server.draining")["grace"] == 30
        refused = run("david", "ask", "cold soup", *running.place)
        assert refused.code == ExitCode.UNREACHABLE
        assert "the server is shutting down" in refused.err
        running.david.send_signal(signal.SIGCONT)
        done = ended(running.david)
        assert done.code == 0, done.err
        assert "400 steps, 400 with David" in done.err
        assert event(running.server, "session.completed")["peer"] == "david.example"
        assert ended(running.server).code == 0


def test_what_has_not_finished_when_the_grace_ends_is_cut(pair: Pair, tmp_path: Path) -> None:
    with session(pair, tmp_path, "--grace", 1, steps=1000) as running:
        began = time.monotonic()
        running.server.send_signal(signal.SIGTERM)
        event(running.server, "drain.cut")
        assert time.monotonic() - began >= 1
        assert event(running.server, "session.completed")["reason"] == "draining"
        running.david.send_signal(signal.SIGCONT)
        cut = ended(running.david)
        assert cut.code == ExitCode.UNREACHABLE
        assert "this answer is unfinished" in cut.err
        assert ended(running.server).code == 0


def test_a_second_signal_ends_the_server_at_once(pair: Pair, tmp_path: Path) -> None:
    with session(pair, tmp_path, steps=1000) as running:
        running.server.send_signal(signal.SIGTERM)
        event(running.server, "server.draining")
        running.server.send_signal(signal.SIGTERM)
        assert ended(running.server).code == 0
        running.david.send_signal(signal.SIGCONT)
        assert ended(running.david).code == ExitCode.UNREACHABLE
