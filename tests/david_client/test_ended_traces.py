"""Traces of runs that were killed, and who may read a trace."""

import json
import os
import signal
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from common.errors import ExitCode
from david_client.replay import read_trace
from david_client.trace import open_trace
from tests.programs import Pair, process

PROMPT = "how do i make soup"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277])
def test_a_new_trace_is_its_owners_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with open_trace(tmp_path / "t.jsonl"):
            pass
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "t.jsonl").stat().st_mode) == 0o600


def test_an_empty_file_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.touch()
    path.chmod(0o640)
    with open_trace(path):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_trace_cut_anywhere_is_shown_up_to_there(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, cut = trace.read_bytes(), tmp_path / "cut"
    ends = [i for i, byte in enumerate(whole) if byte == ord("\n")]
    # Without its end a last line is still whole.
    for size in [*range(ends[0] + 2, ends[1], 7), *range(ends[-2] + 2, ends[-1], 97)]:
        cut.write_bytes(whole[:size])
        complete = whole[:size].count(b"\n")
        assert len(list(read_trace(cut))) == complete
        assert f"line {complete + 1} is half written" in capsys.readouterr().err
    cut.write_bytes(whole[:-1])
    assert len(list(read_trace(cut))) == len(ends)
    assert capsys.readouterr().err == ""


def test_a_header_that_is_half_written_is_no_trace(run: Any, trace: Path, tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(trace.read_bytes()[:40])
    told = run("david", "show", tmp_path / "cut")
    assert told.code == ExitCode.BAD_INPUT
    assert "its run ended before an answer began" in told.err


def test_damage_in_the_middle_stays_an_error(run: Any, trace: Path, tmp_path: Path) -> None:
    lines = trace.read_bytes().splitlines(keepends=True)
    (tmp_path / "bad").write_bytes(b"".join([*lines[:2], lines[2][:50] + b"\n", *lines[3:]]))
    told = run("david", "show", tmp_path / "bad")
    assert told.code == ExitCode.BAD_INPUT
    assert "line 3: expected a JSON object of the type header, step, reply or fail" in told.err
    (tmp_path / "bad").write_bytes(b"".join(lines[:2]) + lines[2].replace(b'"t"', b'"T"'))
    assert "line 3: t is missing" in run("david", "show", tmp_path / "bad").err


@pytest.mark.timeout(300)
def test_the_trace_of_a_run_that_was_killed(
    own_settings: None, run: Any, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAVID_GOLIATH_MODEL", str(pair.goliath))
    path = tmp_path / "t.jsonl"
    asking = ("ask", PROMPT, "--model", pair.david, "--steps", 5000, "--trace", path)
    with process("david_client", *asking) as david:
        until = time.monotonic() + 100
        while not path.exists() or path.read_bytes().count(b"\n") < 5:
            assert time.monotonic() < until
            time.sleep(0.02)
        david.send_signal(signal.SIGKILL)
        david.wait()
    held = path.read_bytes()
    whole = held.count(b"\n")
    path.write_bytes(held[: held.rfind(b"\n") - 9])  # a kill rarely falls into a write
    told = run("david", "show", path, "--json")
    assert told.code == 0
    assert len([json.loads(line) for line in told.out.splitlines()]) == whole - 1
    assert told.err.splitlines() == [
        f"line {whole} is half written: the run that wrote it was ended, or goes on",
        "the trace ends before the answer does",
    ]
