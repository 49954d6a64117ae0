"""The two programs as a user meets them: streams, exit codes, signals, settings, bad input."""

import contextlib
import io
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from common.console import print_parts
from common.errors import ExitCode
from tests.tiny import save_tiny

PROMPT = "how do i make soup"
CODE = "import sys; from {side}.cli import main; main()"


class Pair(NamedTuple):
    goliath: Path
    david: Path


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    root = tmp_path_factory.mktemp("pair")
    return Pair(save_tiny(root / "g", seed=1), save_tiny(root / "d", seed=2))


def _no_news_of_old_loops(record: logging.LogRecord) -> bool:
    """With many loops in one process gRPC wakes closed ones; a program has only one."""
    return "PollerCompletionQueue" not in record.getMessage()


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No settings of this machine; handlers that the programs install go again."""
    for name in [n for n in os.environ if n.startswith(("GOLIATH_", "DAVID_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    before, handlers = signal.getsignal(signal.SIGTERM), logging.getLogger().handlers
    quiet = logging.getLogger("asyncio")
    quiet.addFilter(_no_news_of_old_loops)
    yield
    quiet.removeFilter(_no_news_of_old_loops)
    signal.signal(signal.SIGTERM, before)
    logging.getLogger().handlers = handlers


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    def program(name: str, *arguments: object) -> Outcome:
        import david_client.cli
        import goliath_server.cli

        main = {"david": david_client.cli.main, "goliath": goliath_server.cli.main}[name]
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Outcome(int(ended.value.code or 0), out, err)

    return program


@pytest.fixture
def ask(run: Any, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DAVID_GOLIATH_MODEL", str(pair.goliath))

    def asked(*arguments: object, prompt: str = PROMPT) -> Outcome:
        usual = () if "--model" in arguments else ("--model", pair.david)
        return run("david", "ask", prompt, *usual, *arguments)

    return asked


@contextlib.contextmanager
def process(side: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", CODE.format(side=side), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as started:
        try:
            yield started
        finally:
            if started.poll() is None:
                started.kill()


def serve(pair: Pair, *more: object) -> Any:
    listen = ("--listen", "127.0.0.1:0", "--insecure", "--json", "--log-format", "json")
    return process("goliath_server", "serve", pair.goliath, *listen, *more)


def address_of(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    told = json.loads(server.stdout.readline())
    assert told["type"] == "serving"
    return str(told["address"])


def event(server: subprocess.Popen[str], *names: str) -> dict[str, Any]:
    """The next event of one of these names in the server's log."""
    assert server.stderr is not None
    for line in server.stderr:
        if line.startswith("{"):
            record: dict[str, Any] = json.loads(line)
            if record["event"] in names:
                return record
    raise AssertionError(f"the log ended without {names}")


def ended(child: subprocess.Popen[str]) -> Outcome:
    out, err = child.communicate(timeout=60)
    assert "Traceback" not in err
    return Outcome(child.returncode, out, err)


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
    with serve(pair) as server:
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


def test_the_answer_alone_on_stdout(ask: Any) -> None:
    told = ask("--steps", 3, "--seed", 4)
    assert told.code == 0
    assert told.out.count("\n") == 1
    assert "seed 4" in told.err
    again = ask("--steps", 3, "--seed", 4)
    assert again.out == told.out
    drawn = json.loads(ask("--steps", 1, "--json").out)["seed"]
    assert drawn != json.loads(ask("--steps", 1, "--json").out)["seed"]


def test_weights_and_contrast_are_told(ask: Any, tmp_path: Path) -> None:
    context = tmp_path / "context.txt"
    context.write_text("cold soup of milk")
    told = ask("--steps", 2, "--weight", 1, "--contrast", 0.5, "--context", context, "--json")
    record = json.loads(told.out)
    assert (record["weight"], record["contrast"], record["david_steps"]) == (1.0, 0.5, 2)
    assert json.loads(ask("--steps", 2, "--weight", 0, "--json").out)["david_steps"] == 0


def test_ways_of_sampling_are_chosen_and_told(ask: Any) -> None:
    usual = json.loads(ask("--steps", 3, "--seed", 4, "--json").out)
    assert (usual["projection"], usual["self_conditioning"]) == ("sample", "own")
    assert usual["halt"] == {"patience": 0, "margin": 0.0}
    ways = ("--projection", "multi-hot", "--self-conditioning", "fused", "--halt", "2:0.5")
    told = ask("--steps", 3, "--seed", 4, *ways, "--json")
    assert told.code == 0, told.err
    record = json.loads(told.out)
    assert (record["projection"], record["self_conditioning"]) == ("multi-hot", "fused")
    assert record["halt"] == {"patience": 2, "margin": 0.5}
    assert record["steps_run"] == record["david_steps"] <= 3


def test_certify_is_chosen_and_told(ask: Any) -> None:
    options = ("--steps", 3, "--temperature", 0, "--weight", 0.5)
    record = json.loads(ask(*options, "--certify", "--json").out)
    assert record["certify"]
    assert record["uncertified"] == 0
    assert "0 positions uncertified after" in ask(*options, "--certify").err
    assert "uncertified" not in ask(*options).err


@pytest.mark.parametrize("halt", ["", "x", "-1", "2:", "2:x", "2:-1", "2:nan", "2:1001", "0:1"])
def test_rules_of_halting_that_are_none(ask: Any, halt: str) -> None:
    told = ask("--halt", halt)
    assert told.code == ExitCode.USAGE
    assert "halt: expected" in told.err


def test_latency_is_chosen_and_told(ask: Any) -> None:
    usual = json.loads(ask("--steps", 3, "--seed", 4, "--json").out)
    assert (usual["lag"], usual["every"]) == (0, None)
    late = json.loads(ask("--steps", 3, "--seed", 4, "--lag", 1, "--json").out)
    assert (late["lag"], late["every"]) == (1, None)
    reused = json.loads(ask("--steps", 3, "--seed", 4, "--every", "1:4:1", "--json").out)
    assert (reused["lag"], reused["every"]) == (0, {"first": 1, "period": 4, "last": 1})
    assert reused["david_steps"] == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        *((("--every", every), "every: ") for every in ("", "4", "1:0:1", "1:x:1", "-1:2:0")),
        (("--every", "1:65536:1"), "every: expected FIRST and LAST"),
        (("--lag", "17"), "lag: "),
        (("--lag", "-1"), "lag: "),
        (("--lag", "2", "--every", "4:4:2"), "every: expected none together with a lag of 2"),
    ],
)
def test_latencies_that_are_none(ask: Any, options: tuple[str, ...], says: str) -> None:
    told = ask(*options)
    assert told.code == ExitCode.USAGE
    assert says in told.err


def test_the_prompt_from_standard_input(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pipe:
        def __init__(self, data: bytes) -> None:
            self.buffer = self
            self._data = data

        def read(self, _: int) -> bytes:
            return self._data

    expected = ask("--steps", 2, "--seed", 1).out
    monkeypatch.setattr(sys, "stdin", Pipe(PROMPT.encode()))
    assert ask("--steps", 2, "--seed", 1, prompt="-").out == expected
    monkeypatch.setattr(sys, "stdin", Pipe(b"\xff\xfe"))
    assert ask(prompt="-").code == ExitCode.BAD_INPUT


def test_unknown_pieces_are_counted(ask: Any) -> None:
    told = ask("--steps", 1, prompt="soup \u2603 with \u4e2d")
    assert told.code == 0
    assert "2 pieces of the prompt" in told.err


@pytest.mark.parametrize(
    ("prompt", "says"), [("", "empty"), ("  \n ", "empty"), ("soup " * 300, "256 positions")]
)
def test_prompts_that_cannot_be_asked(ask: Any, prompt: str, says: str) -> None:
    told = ask(prompt=prompt)
    assert told.code == ExitCode.BAD_INPUT
    assert says in told.err
    assert told.out == ""


def test_contexts_that_cannot_be_used(ask: Any, tmp_path: Path) -> None:
    files = {"binary": b"\xff\xfe\x00", "empty": b" \n", "huge": b"soup " * 2**20}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for path in (*(tmp_path / name for name in files), tmp_path / "missing", tmp_path):
        told = ask("--context", path)
        assert told.code == ExitCode.BAD_INPUT, told.err
        assert "context" in told.err


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


SUFFIX = "then serve it hot."
GAPS = "Heat the water. [[...]] Add salt, then [[...6]] serve Hot."


def test_an_answer_leads_into_a_suffix(ask: Any) -> None:
    options = ("--steps", 3, "--seed", 4, "--suffix", SUFFIX)
    told, record = ask(*options), json.loads(ask(*options, "--json").out)
    assert told.code == 0
    assert told.out == record["text"] + "\n"
    assert record["suffix"] == SUFFIX
    assert record["full_text"].startswith(record["text"])
    assert record["full_text"].endswith(SUFFIX)
    plain = json.loads(ask("--steps", 3, "--seed", 4, "--json").out)
    assert (plain["suffix"], plain["full_text"]) == ("", plain["text"])
    assert plain["tokens"] != record["tokens"]


def test_gaps_are_filled(ask: Any) -> None:
    options = ("--steps", 3, "--seed", 4)
    told = ask(*options, prompt=GAPS)
    record = json.loads(ask(*options, "--json", prompt=GAPS).out)
    assert told.code == 0
    assert told.out == record["text"] + "\n"
    assert "seed 4, 6 steps" in told.err
    assert re.fullmatch(r"Heat the water\..* ?Add salt, then.* ?serve Hot\.", record["text"])
    assert len(record["gaps"][1]["tokens"]) <= 6
    ended_by = ask(*options, "--suffix", "Enjoy it.", prompt=GAPS)
    assert ended_by.out.endswith("serve Hot. Enjoy it.\n")


def test_literal_gaps_are_text(ask: Any) -> None:
    told = ask("--steps", 2, "--literal", "--json", prompt=GAPS)
    assert "gaps" not in json.loads(told.out)
    assert ask("--steps", 2, "--literal", prompt="[[...x]]").code == 0


@pytest.mark.parametrize(
    ("prompt", "options", "says"),
    [
        ("[[...]] serve hot.", (), "begins with a gap"),
        ("soup [[...0]]", (), "number of tokens"),
        ("soup [[...]]" + " hot" * 300, (), "256 positions"),
        ("soup", ("--suffix", " "), "the suffix is empty"),
        ("soup", ("--suffix", "hot " * 300), "256 positions"),
    ],
)
def test_what_cannot_be_filled(ask: Any, prompt: str, options: tuple[str, ...], says: str) -> None:
    told = ask(*options, prompt=prompt)
    assert told.code == ExitCode.BAD_INPUT
    assert says in told.err
    assert told.out == ""


@pytest.mark.timeout(300)
def test_gaps_over_the_wire(pair: Pair, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--steps", 3, "--seed", 4, "--json")
    monkeypatch.setenv("GOLIATH_MAX_PROMPT_BYTES", "256")
    with serve(pair) as server:
        place = ("--goliath", address_of(server), "--insecure")
        with process("david_client", "ask", GAPS, "--model", pair.david, *place, *options) as david:
            over = ended(david)
        long = ("--suffix", "serve hot " * 30)
        with process("david_client", "ask", "soup", "--model", pair.david, *place, *long) as david:
            refused = ended(david)
    assert over.code == 0, over.err
    there, here = json.loads(over.out), json.loads(ask(*options, prompt=GAPS).out)
    assert there["text"] == here["text"]
    assert there["bytes_up"] > there["bytes_down"] > here["bytes_down"] == 0
    assert refused.code == ExitCode.REFUSED
    assert "suffix bytes" in refused.err


def test_unknown_pieces_of_a_suffix_and_between_gaps(ask: Any) -> None:
    told = ask("--steps", 1, "--suffix", "hot \u2603")
    assert "1 pieces of the suffix" in told.err
    told = ask("--steps", 1, prompt="soup \u2603 [[...3]] \u4e2d")
    assert told.err.count("pieces of the prompt") == 1
    assert "2 pieces of the prompt" in told.err


@pytest.mark.parametrize("terminal", [True, False])
def test_fillings_stand_out_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, *, terminal: bool
) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    stream = Stream()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("TERM", "xterm")
    words = "stir " * 40
    print_parts((("soup [b]\n", False), (f"{words}\x1b[31m", True), (" hot", False)))
    shown = stream.getvalue()
    plain = f"soup [b]\n{words} [31m hot\n"
    assert re.sub("\x1b\\[[0-9;]*m", "", shown) == plain
    assert ("\x1b[1m" in shown) == terminal


def test_versions(run: Any) -> None:
    assert run("david", "--version").out == run("goliath", "--version").out


def test_an_interrupt_in_the_embedded_run(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("david_client.embedded.run_local", interrupt)
    told = ask("--steps", 2)
    assert told.code == ExitCode.INTERRUPTED
    assert "interrupted" in told.err
