"""`david batch --resume`: a run that was killed goes on after its last answer."""

import json
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from common.errors import ExitCode
from tests.programs import Pair, process

PROMPT = "how do i make soup"
LINES = [{"prompt": PROMPT, "seed": seed} for seed in (1, 2, 3)]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Three questions, and a blank line between."""
    first, *others = (json.dumps(line) + "\n" for line in LINES)
    path = tmp_path / "questions.jsonl"
    path.write_text(f"{first}\n{''.join(others)}", encoding="utf-8")
    return path


@pytest.fixture
def batch(run: Any, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command with the tiny pair."""
    monkeypatch.setenv("DAVID_GOLIATH_MODEL", str(pair.goliath))
    return lambda *arguments: run("david", "batch", *arguments, "--model", pair.david, "--json")


def texts(path: Path) -> list[tuple[int, str]]:
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(record["line"], record["text"]) for record in records]


@pytest.mark.timeout(300)
def test_a_killed_run_goes_on(batch: Any, pair: Pair, questions: Path, tmp_path: Path) -> None:
    steps, whole, kept = ("--steps", 12), tmp_path / "whole.jsonl", tmp_path / "kept.jsonl"
    assert batch(questions, *steps, "--resume", whole).code == 0
    asking = ("batch", questions, *steps, "--model", pair.david, "--resume", kept)
    with process("david_client", *asking) as david:
        _kill_after_a_line(david, kept)
    held = kept.read_bytes()
    first = held[: held.index(b"\n") + 1]
    kept.write_bytes(first + held[:100])  # a second one, half written
    told = batch(questions, *steps, "--resume", kept)
    assert told.code == 0
    assert told.err == f"{kept} has the answers up to line 1\n"
    assert [json.loads(line)["line"] for line in told.out.splitlines()] == [3, 4]
    assert kept.read_bytes().startswith(first)
    assert texts(kept) == texts(whole)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def _kill_after_a_line(child: subprocess.Popen[str], path: Path) -> None:
    until = time.monotonic() + 100
    while not path.exists() or b"\n" not in path.read_bytes():
        assert child.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()


def test_questions_that_changed_are_refused(batch: Any, questions: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    assert batch(questions, "--steps", 1, "--resume", kept).code == 0
    held, asked = kept.read_bytes(), questions.read_text()
    for changed in (asked.replace("soup", "cake", 1), f"\n{asked}", asked[: asked.rindex("{")]):
        questions.write_text(changed)
        # Without a model: it is refused before one is loaded.
        told = batch(questions, "--resume", kept, "--model", "none")
        assert (told.code, told.out) == (ExitCode.BAD_INPUT, "")
        assert "is not the one that" in told.err
    questions.write_text(asked + json.dumps({"prompt": PROMPT, "seed": 9, "steps": 1}))
    more = batch(questions, "--resume", kept)
    assert [json.loads(line)["line"] for line in more.out.splitlines()] == [5]
    assert kept.read_bytes().startswith(held)


@pytest.mark.parametrize("held", [b"mine", b"mine\n", b'{"a": 1}\n', b'{"a": 1}', b"[]\n{", b"5\n"])
def test_a_file_of_another_kind_stays_as_it_is(
    batch: Any, questions: Path, tmp_path: Path, held: bytes
) -> None:
    (tmp_path / "notes").write_bytes(held)
    told = batch(questions, "--resume", tmp_path / "notes")
    assert told.code == ExitCode.BAD_INPUT
    assert "something else than answers of david batch" in told.err
    assert (tmp_path / "notes").read_bytes() == held


def test_files_that_cannot_be_used(batch: Any, questions: Path, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "no" / "folder", Path("/dev/null")):
        told = batch(questions, "--resume", place)
        assert told.code == ExitCode.BAD_INPUT
        assert str(place) in told.err
