"""The two programs as a user meets them: processes, signals, settings, models, wrong usage."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import ExitCode
from tests.programs import CODE, Outcome, Pair, address_of, ended, event, process, serve
from tests.tiny import save_tiny

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


def test_help_is_fast_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from {side}.cli import app; from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['{verb}', '-h']).exit_code == 0\n"
        "heavy = {{'torch', 'transformers', 'grpc', 'pydantic_settings'}} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    for side, verb in (("goliath_server", "serve"), ("david_client", "ask")):
        subprocess.run([sys.executable, "-c", code.format(side=side, verb=verb)], check=True)


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


def _broken(pair: Pair, folder: Path, kind: str) -> Path:
    if kind == "missing folder":
        return folder / "nowhere"
    shutil.copytree(pair.david, folder / "model")
    weights = folder / "model" / "model.safetensors"
    if kind == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif kind == "foreign":
        import numpy as np
        from safetensors.numpy import save_file

        save_file({"w": np.zeros(3, np.float32)}, weights)
    elif kind == "pickle":
        weights.unlink()
        (folder / "model" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    elif kind == "garbage":
        weights.write_bytes(b"no weights at all")
    elif kind == "no tokenizer":
        (folder / "model" / "tokenizer.json").unlink()
    return folder / "model"


@pytest.mark.parametrize(
    "kind", ["missing folder", "truncated", "foreign", "pickle", "garbage", "no tokenizer"]
)
def test_models_that_cannot_be_loaded(
    ask: Any, run: Any, pair: Pair, tmp_path: Path, kind: str
) -> None:
    folder = _broken(pair, tmp_path, kind)
    told = ask("--model", folder)
    assert told.code == ExitCode.BAD_INPUT, told.err
    assert told.out == ""
    served = run("goliath", "serve", folder, "--listen", "127.0.0.1:0", "--insecure")
    assert served.code == ExitCode.BAD_INPUT, served.err
    assert len(told.err.splitlines()) <= 4


def test_models_that_do_not_fit(ask: Any, tmp_path: Path) -> None:
    told = ask("--model", save_tiny(tmp_path / "other", seed=3, simplex_value=4.0))
    assert told.code == ExitCode.INCOMPATIBLE
    assert "k: Goliath 5.0, David 4.0" in told.err


def test_a_port_in_use(run: Any, pair: Pair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        told = run("goliath", "serve", pair.goliath, "--listen", address, "--insecure")
        assert told.code == ExitCode.USAGE
        assert "in use" in told.err
        doctor = run("goliath", "doctor", pair.goliath, "--listen", address, "--insecure")
        assert doctor.code == ExitCode.USAGE
        assert "FAIL  address" in doctor.out
        assert "pass  one step" in doctor.out


def test_nobody_and_strangers_at_the_address(ask: Any) -> None:
    told = ask("--goliath", "127.0.0.1:1", "--insecure")
    assert told.code == ExitCode.UNREACHABLE
    assert "goliath serve" in told.err
    with _web_server() as address:
        told = ask("--goliath", address, "--insecure")
    assert told.code == ExitCode.UNREACHABLE
    assert "not a Goliath" in told.err


@contextlib.contextmanager
def _web_server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    caller, _ = listener.accept()
                    with caller:
                        caller.recv(100)
                        caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_hanging_server_runs_out_of_time(ask: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = ("--goliath", f"127.0.0.1:{listener.getsockname()[1]}", "--insecure")
        told = ask(*place, "--timeout", 0.5)
    assert told.code in {ExitCode.OUT_OF_TIME, ExitCode.UNREACHABLE}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--weight", 1.5), "weight"),
        (("--steps", 0), "steps"),
        (("--late", "never"), "late"),
        (("--contrast", 0.5), "context"),
        (("--goliath", "nowhere"), "HOST:PORT"),
        (("--goliath", "192.0.2.1:7600", "--insecure"), "loopback"),
        (("--goliath", "127.0.0.1:7600"), "TLS"),
        (("--goliath", "127.0.0.1:7600", "--tls-cert", "x.pem"), "--tls-key"),
        (("--device", "abacus"), "abacus"),
        (("--config", "/nowhere.toml"), "/nowhere.toml"),
        (("--sideways",), "sideways"),
    ],
)
def test_wrong_usage(ask: Any, arguments: Any, says: str) -> None:
    told = ask(*arguments)
    assert told.code == ExitCode.USAGE, told.err
    assert says in told.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--listen", "0.0.0.0:0", "--insecure"), "loopback"),
        (("--listen", "127.0.0.1:0"), "TLS"),
        (("--listen", "127.0.0.1:0", "--tls-cert", "x", "--tls-key", "y"), "--client-ca"),
        (("--max-sessions", 0), "max_sessions"),
    ],
)
def test_wrong_usage_of_serve(run: Any, pair: Pair, arguments: Any, says: str) -> None:
    told = run("goliath", "serve", pair.goliath, *arguments)
    assert told.code == ExitCode.USAGE
    assert says in told.err


def test_settings_command_line_over_environment_over_file(
    run: Any, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tomllib

    file = tmp_path / "config" / "goliath-david" / "david.toml"
    file.parent.mkdir(parents=True)
    file.write_text('steps = 2\nweight = 0.25\ncontrast = 0.0\nlate = "solo"\n')
    monkeypatch.setenv("DAVID_WEIGHT", "0.75")
    shown = tomllib.loads(run("david", "config").out)
    assert (shown["steps"], shown["weight"], shown["late"]) == (2, 0.75, "solo")
    assert json.loads(run("david", "config", "--json").out)["weight"] == 0.75
    told = json.loads(ask("--weight", 1, "--json").out)
    assert (told["steps"], told["weight"], told["late_rule"]) == (2, 1.0, "solo")

    other = tmp_path / "other.toml"
    other.write_text("steps = 7\n")
    assert tomllib.loads(run("david", "config", "--config", other).out)["steps"] == 7
    for text, says in (("stepz = 7\n", "stepz is no setting"), ("steps = [", "not TOML")):
        other.write_text(text)
        told = run("david", "config", "--config", other)
        assert told.code == ExitCode.USAGE
        assert says in told.err


def test_described_settings_are_read_back(tmp_path: Path, run: Any) -> None:
    file = tmp_path / "goliath.toml"
    file.write_text('model = "a \\"b\\" \\\\ c"\ninsecure = true\nthreads = 2\n')
    first = run("goliath", "config", "--config", file).out
    file.write_text(first)
    assert run("goliath", "config", "--config", file).out == first


def test_models_are_listed(run: Any, pair: Pair, tmp_path: Path) -> None:
    shutil.copytree(pair.david, tmp_path / "data" / "goliath-david" / "models" / "mine")
    for program in ("david", "goliath"):
        assert "mine" in run(program, "models").out
        listed = json.loads(run(program, "models", "--json").out)["models"]
        assert {"name": "mine", "origin": "user"}.items() <= listed[0].items()


def test_doctors_name_what_fails(run: Any, pair: Pair, tmp_path: Path) -> None:
    told = run("david", "doctor", "--model", tmp_path / "none", "--goliath", "127.0.0.1:1")
    assert told.code == ExitCode.BAD_INPUT
    assert "FAIL  model" in told.out
    good = run("goliath", "doctor", pair.goliath, "--listen", "127.0.0.1:0", "--insecure")
    assert good.code == 0, good.out
    lost = run("david", "doctor", "--model", pair.david, "--goliath", "127.0.0.1:1", "--insecure")
    assert lost.code == ExitCode.UNREACHABLE
    assert "FAIL  server" in lost.out


def test_embedded_doctor(run: Any, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAVID_GOLIATH_MODEL", str(pair.goliath))
    told = run("david", "doctor", "--model", pair.david)
    assert told.code == 0, told.out
    assert "pass  one step" in told.out


def test_versions(run: Any) -> None:
    assert run("david", "--version").out == run("goliath", "--version").out
