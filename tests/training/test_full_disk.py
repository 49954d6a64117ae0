"""A disk that fills up: one plain line, exit code 7, nothing half-written; later the run goes on.

A child process may write only small files (RLIMIT_FSIZE), which anybody can set: its writes fail in
the midst, as on a full disk. Where file systems can be mounted, a small one is filled for real.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import ExitCode
from tests.programs import CODE, Outcome, Pair
from tests.tiny import save_rows

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no limits of file sizes there")

SMALL = 20_000
"""Bytes: config and metrics are smaller, weights and vocabularies larger."""


def child(code: str, *arguments: object, largest: int | None = None) -> Outcome:
    """Run Python in a process that can write no larger files than `largest` bytes."""

    def limit() -> None:
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=100,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def told_plainly(told: Outcome, *says: str) -> None:
    assert told.code == ExitCode.BAD_INPUT, told.err
    lines = [line for line in told.err.splitlines() if "cannot write to" in line]
    assert len(lines) == 1, told.err
    assert all(said in lines[0] for said in says), lines
    assert not any(word in told.err for word in ("fault", "Traceback", "Safetensor", "os error"))


def files(folder: Path) -> dict[str, bytes]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return save_rows(tmp_path / "rows.jsonl")


@pytest.fixture
def options(data: Path, pair: Pair) -> tuple[object, ...]:
    usual = ("train", data, "--held-out", data, "--start", pair.david)
    return (*usual, "--batch", 4, "--threads", 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if (
        sys.platform != "linux"
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("file systems cannot be mounted here; the limit of file sizes is tested anyway")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def filled(folder: Path, *, left: int) -> Path:
    """A file that leaves so many bytes of its file system."""
    ballast = folder / "ballast"
    space = os.statvfs(folder)
    ballast.write_bytes(b"\0" * (space.f_bavail * space.f_frsize - left))
    return ballast


def check_goes_on(
    run: Any, options: Any, out: Path, fails: Callable[[Any], Outcome], says: str
) -> None:
    """Two steps, two more that cannot be saved, and the same two again."""
    command = (*options, "--out", out, "--steps")
    assert run("david", *command, 2).code == 0
    before = files(out)
    told_plainly(fails((*command, 4)), str(out / "step-0000004"), says)
    after = files(out)
    metrics = after.pop("metrics.jsonl").decode()
    assert metrics.startswith(before.pop("metrics.jsonl").decode())
    assert [json.loads(line)["step"] for line in metrics.splitlines()] == [1, 2, 3, 4]
    assert after == before
    again = run("david", *command, 4, "--json")
    steps = [json.loads(line).get("step") for line in again.out.splitlines()]
    assert (again.code, steps) == (0, [3, 4, None]), again.err


def test_a_checkpoint_that_cannot_be_saved(run: Any, options: Any, tmp_path: Path) -> None:
    def fails(command: Any) -> Outcome:
        return child(CODE.format(side="goliath_server"), *command, largest=SMALL)

    check_goes_on(run, options, tmp_path / "out", fails, "File too large")


def test_a_checkpoint_on_a_full_disk(run: Any, options: Any, small_disk: Path) -> None:
    def fails(command: Any) -> Outcome:
        ballast = filled(small_disk, left=60_000)
        told = child(CODE.format(side="david_client"), *command)
        ballast.unlink()
        return told

    check_goes_on(run, options, small_disk / "out", fails, "No space left on device")


def test_a_finished_model_that_cannot_be_saved(run: Any, options: Any, tmp_path: Path) -> None:
    command = (*options, "--out", tmp_path / "out", "--steps", 2)
    assert run("david", *command).code == 0
    (tmp_path / "out/model/README.md").write_text("The user's own card.")
    before = files(tmp_path / "out")
    david = CODE.format(side="david_client")
    told_plainly(child(david, *command, largest=SMALL), "model", "File too large")
    assert files(tmp_path / "out") == before
    assert run("david", *command).code == 0
    assert files(tmp_path / "out").keys() == before.keys()


def test_a_disk_that_is_full_at_the_first_step(options: Any, tmp_path: Path) -> None:
    out = tmp_path / "new/deep/out"
    told = child(CODE.format(side="david_client"), *options, "--out", out, largest=100)
    told_plainly(told, "metrics.jsonl")
    assert not (tmp_path / "new").exists()


def test_a_guide_that_cannot_be_saved(pair: Pair, tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    rows = [
        {"text": f"{word} it", "label": label} for word, label in (("bake", "a"), ("stir", "b"))
    ]
    texts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ("train-guide", texts, "--held-out", texts, "--start", pair.david, "--steps", 1)
    out = tmp_path / "new/guide"
    told = child(CODE.format(side="david_client"), *command, "--out", out, largest=SMALL)
    told_plainly(told, str(out), "File too large")
    assert not (tmp_path / "new").exists()


TRIM = "import runpy; runpy.run_module('common.training.trim', run_name='__main__')"


def test_a_vocabulary_that_cannot_be_saved(pair: Pair, data: Path, tmp_path: Path) -> None:
    command = (data, "--source", pair.david / "tokenizer.json", "--out", tmp_path / "new/pieces")
    told_plainly(child(TRIM, *command, largest=1000), "pieces", "File too large")
    assert not (tmp_path / "new").exists()
    told = child(TRIM, *command)
    assert told.code == 0, told.err
    assert files(tmp_path / "new/pieces").keys() == {"tokenizer.json"}


ANSWERS = """
import sys
from pathlib import Path
from common.evaluation.answers import Row, resume
from common.program.console import run

def main():
    answers = resume(Path(sys.argv[1]), {"seed": 1})
    for number in range(9):
        answers.add([Row("cooking", "pair", 8, str(number), "stir the soup", 3.5, 4)])

run(main, program="goliath")
"""


def test_answers_that_cannot_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    told_plainly(child(ANSWERS, path, largest=500), "answers.jsonl", "File too large")
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert 1 < len(kept) < 9
    assert child(ANSWERS, path).code == 0
    assert len(path.read_text().splitlines()) == len(kept) + 9
