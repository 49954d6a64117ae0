"""The two programs in processes of their own: signals, servers that die, another's `common`."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from common.errors import ExitCode
from tests.programs import CODE, Outcome, Pair, address_of, ended, event, process, serve

pytestmark = pytest.mark.usefixtures("own_settings")
PROMPT = "how do i make soup"


KEYS = [
    "text",
    "tokens",
    "seed",
    "steps",
    "seconds",
    "bytes_up",
    "bytes_down",
    "david_steps",
    "weight",
    "contrast",
]


@pytest.mark.timeout(300)
def test_serve_and_ask_in_processes_of_their_own(pair: Pair, ask: Any, run: Any) -> None:
    options = ("--steps", 5, "--seed", 3, "--max-tokens", 32, "--temperature", 1, "--json")
    with serve(pair, "--grace", 0) as server:
        place = ("--goliath", address_of(server), "--insecure")
        asking = ("ask", PROMPT, "--model", pair.david, *place)
        with process("david_client", *asking, *options) as david:
            over = ended(david)
        assert over.code == 0, over.err
        _check_doctor(run("david", "doctor", *place, "--model", pair.david, "--json"))
        event(server, "session.completed")
        with process("david_client", *asking, "--steps", 1000) as david:
            event(server, "session.opened")
            event(server, "session.opened")
            david.send_signal(signal.SIGINT)
            interrupted = ended(david)
        # On a busy machine the client may leave before the server has read its farewell.
        event(server, "session.cancelled", "session.lost")
        with process("david_client", *asking, "--steps", 1000) as david:
            event(server, "session.opened")
            server.send_signal(signal.SIGINT)
            drained = ended(david)
            stopped = ended(server)
    assert interrupted.code == ExitCode.INTERRUPTED
    assert "interrupted" in interrupted.err
    assert stopped.code == ExitCode.INTERRUPTED
    assert drained.code == ExitCode.UNREACHABLE
    assert "unfinished" in drained.err
    _check_networked(json.loads(over.out), json.loads(ask(*options).out))


def _check_doctor(told: Outcome) -> None:
    assert told.code == 0, told.out
    names = [json.loads(line)["name"] for line in told.out.splitlines()]
    assert {"package", "model", "server", "vocabulary", "one step"} <= set(names)


def _check_networked(over: dict[str, Any], here: dict[str, Any]) -> None:
    assert list(over)[: len(KEYS)] == KEYS
    for name in ("tokens", "text", "seed", "steps", "david_steps", "finish_reason"):
        assert over[name] == here[name]
    assert over["bytes_up"] > over["bytes_down"] > here["bytes_down"] == 0


def _signal_when(ready: Any, number: signal.Signals) -> threading.Thread:
    """Signal this process, which runs a program, once `ready` returns."""

    def act() -> None:
        ready()
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_waiting_for_a_silent_server(ask: Any, number: signal.Signals) -> None:
    callers = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = _signal_when(lambda: callers.append(listener.accept()[0]), number)
        told = ask("--goliath", f"127.0.0.1:{listener.getsockname()[1]}", "--insecure")
        thread.join()
    callers[0].close()
    assert told.code == ExitCode.INTERRUPTED
    assert "interrupted" in told.err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.DONE)]
)
def test_a_server_that_is_stopped_while_it_starts(
    run: Any, pair: Pair, number: signal.Signals, code: ExitCode
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def listening() -> None:
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                return

    thread = _signal_when(listening, number)
    told = run("goliath", "serve", pair.goliath, "--listen", f"127.0.0.1:{port}", "--insecure")
    thread.join()
    assert told.code == code


def test_a_server_that_is_killed(pair: Pair) -> None:
    with serve(pair) as server:
        place = ("--goliath", address_of(server), "--insecure", "--steps", 1000)
        with process("david_client", "ask", PROMPT, "--model", pair.david, *place) as david:
            event(server, "session.opened")
            server.kill()
            told = ended(david)
    assert told.code == ExitCode.UNREACHABLE
    assert len(told.err.splitlines()) <= 3
    assert told.out == ""


def test_another_projects_common_is_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "common"
    foreign.mkdir()
    (foreign / "__init__.py").write_text("")
    for side in ("goliath_server", "david_client"):
        for files in ((), ("wire.py",)):
            for name in files:
                (foreign / name).write_text("")
            done = subprocess.run(
                [sys.executable, "-c", CODE.format(side=side), "models"],
                cwd=tmp_path,
                env=os.environ | {"PYTHONPATH": str(tmp_path)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == ExitCode.USAGE
            assert "another project" in done.stderr
