"""`goliath bench` as a command: the wire, latency, servers that run already, and wrong usage."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.errors import (
    ExitCode,
)
from goliath_server.bench.figures import (
    LATENCY_MODES,
    WIRE_MODES,
    WireMode,
)
from goliath_server.bench.processes import make_certificates
from tests.tiny import QUESTIONS, save_tiny, tiny_vocabulary

WIRE_KEYS = {
    *("codec", "projection", "temperature", "down_ratio", "up_ratio"),
    *("down_bytes_per_step", "up_bytes_per_step", "certified_share", "asks_per_step"),
    *("tokens_identical", "tokens_total", "wall_ratio", "entries_p50", "entries_p99"),
    *("uncertified", "threads", "down_ratio_fp32", "up_ratio_fp32", "prompts", "steps"),
}
LATENCY_KEYS = {
    *("rtt_ms", "mode", "steps", "step_ms", "added_rtts_per_step", "wall_ratio"),
    *("cross_entropy", "judge_perplexity", "repetition", "threads"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("bench")
    save_tiny(root / "g", seed=1)
    save_tiny(root / "d", seed=2)
    records = [{"instruction": q.instruction, "response": q.response} for q in QUESTIONS]
    data = root / "questions.jsonl"
    data.write_text("".join(json.dumps(record) + "\n" for record in records))
    options = ("--model", root / "g", "--david", root / "d", "--data", data)
    return SimpleNamespace(goliath=root / "g", options=(*options, "--prompts", 2, "--steps", 4))


@pytest.fixture
def bench(run, monkeypatch, files, tmp_path):
    """Runs the command; the programs that it starts are real."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    usual = (*files.options, "--judge", tmp_path)
    return lambda what, *arguments: run("goliath", "bench", what, *usual, *arguments)


def few(monkeypatch, *codecs):
    """One row for each codec."""
    modes = [WireMode(codec, "sample", 0.7, {"codec": codec}) for codec in codecs]
    monkeypatch.setattr("goliath_server.bench.figures.WIRE_MODES", modes)


@pytest.mark.timeout(300)
def test_the_wire_end_to_end(bench, monkeypatch):
    # Settings of this machine are not those of the bench.
    monkeypatch.setenv("DAVID_STEPS", "99")
    monkeypatch.setenv("GOLIATH_MAX_STEPS", "1")
    code, out, err = bench("wire", "--json")
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(r["codec"], r["projection"], r["temperature"]) for r in rows] == [
        (m.codec, m.projection, m.temperature) for m in WIRE_MODES
    ]
    for row in rows:
        assert set(row) >= WIRE_KEYS
        assert (row["prompts"], row["steps"], row["threads"]) == (2, 4, 1)
        numbers = 16 * tiny_vocabulary().size
        assert row["up_bytes_per_step"] > (2 * numbers if row["codec"] == "dense" else 64 * 4)
        assert row["up_ratio"] < 2 * numbers / row["up_bytes_per_step"]
        assert row["up_ratio_fp32"] == 2 * row["up_ratio"]
        assert row["opening_down_bytes"] > 1000  # certificates
        if row["codec"] == "dense":
            assert row["tokens_identical"] == row["tokens_total"] > 0
            assert row["entries_p50"] == row["entries_p99"] == tiny_vocabulary().size
    assert "topk, sample, temperature 0: 2/2" in err


@pytest.mark.timeout(300)
def test_latency_end_to_end(bench):
    code, out, err = bench("latency", "--json", "--rtts", "60")
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(r["mode"], r["rtt_ms"]) for r in rows] == [(m.name, 60) for m in LATENCY_MODES]
    assert all(set(row) >= LATENCY_KEYS for row in rows)
    lock_step, alone = rows[0], rows[-1]
    # A step waits for David's answer from far away; without him states just stream.
    assert lock_step["step_ms"] >= 60
    assert lock_step["added_rtts_per_step"] > alone["added_rtts_per_step"]
    assert lock_step["cross_entropy"] != alone["cross_entropy"]
    assert {row["judge_perplexity"] for row in rows} == {None}
    assert "scripts/judge" in err


@contextlib.contextmanager
def served(files, folder):
    made = make_certificates(folder)
    options = ("--tls-cert", made.server.certificate, "--tls-key", made.server.key)
    options = (*options, "--client-ca", made.server.authority, "--listen", "127.0.0.1:0")
    code = "from goliath_server.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", files.goliath, *options, "--json"]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as server:
        try:
            address = json.loads(server.stdout.readline())["address"]
            mine = ("--tls-cert", made.client.certificate, "--tls-key", made.client.key)
            yield server, ("--goliath", address, "--server-ca", made.client.authority, *mine)
        finally:
            server.kill()


@pytest.mark.timeout(300)
def test_a_server_that_runs_already(bench, files, tmp_path, monkeypatch):
    few(monkeypatch, "dense")
    with served(files, tmp_path) as (server, place):
        code, out, err = bench("wire", *place)
        assert code == 0, err
        assert "wire: 2 prompts, 4 steps" in out
        assert "…" not in out
        assert "starting a server" not in err
        # The server has another model than the one that is here: nothing to compare with.
        monkeypatch.setattr("goliath_server.bench.runs.find", lambda _: SimpleNamespace(name="x"))
        code, out, err = bench("wire", *place, "--json")
        assert code == 0, err
        row = json.loads(out)
        assert row["tokens_identical"] is row["wall_ratio"] is None
        assert row["goliath"] == place[1]
        assert "which is not here" in err
        # It dies after the first row.
        few(monkeypatch, "dense", "topk")

        def kill(_name, done, of):
            if done == of:
                server.kill()
                server.wait()

        monkeypatch.setattr("goliath_server.commands.bench._progress", kill)
        code, out, err = bench("wire", *place, "--json")
    assert code == ExitCode.UNREACHABLE, err
    assert len(out.splitlines()) == 1
    assert f"nobody answers at {place[1]}" in err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--goliath", "127.0.0.1:1", "--insecure"), ExitCode.UNREACHABLE, "nobody answers"),
        (("--goliath", "127.0.0.1:7600"), ExitCode.USAGE, "TLS"),
        (("--goliath", "192.0.2.1:7600", "--insecure"), ExitCode.USAGE, "loopback"),
        (("--insecure",), ExitCode.USAGE, "--goliath"),
        (("--prompts", 5), ExitCode.USAGE, "at most 4 prompts"),
        (("--steps", 1), ExitCode.USAGE, "--steps"),
        (("--rtts", "0,x"), ExitCode.USAGE, "round trips"),
        (("--rtts", "-1"), ExitCode.USAGE, "round trips"),
        (("--rtts", "nan"), ExitCode.USAGE, "round trips"),
        (("--data", "/nowhere.jsonl"), ExitCode.BAD_INPUT, "/nowhere.jsonl"),
    ],
)
def test_what_cannot_be_benched(bench, arguments, code, says):
    told, out, err = bench("latency", *arguments)
    assert (told, out) == (code, "")
    assert says in err


@pytest.mark.timeout(300)
def test_a_model_that_is_not_there(bench):
    code, out, err = bench("wire", "--model", "/nowhere")
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert "/nowhere" in err


def children(pid):
    with contextlib.suppress(FileNotFoundError):
        return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return set()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for children in /proc")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_children(files, number):
    code = "from goliath_server.cli import main; main()"
    command = [sys.executable, "-c", code, "bench", "wire", *files.options, "--steps", 1000]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as running:
        lines = iter(running.stderr.readline, "")
        assert any("waking David" in line for line in lines)
        started = children(running.pid)
        assert started
        running.send_signal(number)
        _, err = running.communicate(timeout=60)
    assert running.returncode == ExitCode.INTERRUPTED
    assert "interrupted" in err
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []
