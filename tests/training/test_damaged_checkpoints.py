"""Damaged checkpoints: which file it is, and how a run goes on from the newest whole one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.errors import ExitCode
from common.training.run import Run
from common.training.run import train as train_model
from common.training.trainer import TrainingConfig
from tests.programs import Outcome, Pair
from tests.tiny import save_rows


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


def overwrite(file: Path) -> None:
    file.write_bytes(b"{no" * 100)


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_rows(tmp_path_factory.mktemp("data") / "rows.jsonl")


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, pair: Pair, data: Path) -> Path:
    """The folder of a run of four steps, with a checkpoint each two."""
    out = tmp_path_factory.mktemp("ended")
    config = TrainingConfig(steps=4, batch_size=4, save_every=2)
    train_model(Run([data], data, out, str(pair.david)), config)
    return out


@pytest.fixture
def train(run: Any, pair: Pair, data: Path, tmp_path: Path) -> Callable[..., Outcome]:
    """Goes on with the run for two steps more."""
    usual = ("train", data, "--held-out", data, "--out", tmp_path / "out", "--start", pair.david)
    usual = (*usual, "--steps", 6, "--batch", 4, "--save-every", 2, "--json")
    return lambda *more: run("david", *usual, *more)


@pytest.fixture
def out(ended: Path, tmp_path: Path) -> Path:
    """A copy of the run's folder."""
    return shutil.copytree(ended, tmp_path / "out")


def steps(told: Outcome) -> list[int | None]:
    assert told.code == 0, told.err
    return [json.loads(line).get("step") for line in told.out.splitlines()]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("model.safetensors", cut),
        ("optimizer.safetensors", overwrite),
        ("average.safetensors", empty),
        ("average.safetensors", Path.unlink),
        ("training.json", cut),
        ("training.json", Path.unlink),
    ],
)
def test_the_damaged_file_is_named_and_the_older_checkpoint_offered(
    train: Callable[..., Outcome], out: Path, name: str, damage: Callable[[Path], Any]
) -> None:
    damage(out / "step-0000004" / name)
    told = train()
    assert (told.code, told.out) == (ExitCode.BAD_INPUT, "")
    what, remedy = told.err.splitlines()
    assert str(out / "step-0000004" / name) in what
    assert "--skip-damaged" in remedy
    assert "step-0000002" in remedy

    told = train("--skip-damaged")
    assert steps(told) == [3, 4, 5, 6, None]
    assert str(out / "damaged-step-0000004") in told.err
    assert sorted(path.name for path in out.iterdir()) == [
        *("damaged-step-0000004", "metrics.jsonl", "model", "step-0000004", "step-0000006")
    ]
    rows = (out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [1, 2, 3, 4, 5, 6]


def test_where_none_is_whole_another_folder_is_the_remedy(
    train: Callable[..., Outcome], out: Path
) -> None:
    cut(out / "step-0000002/training.json")
    cut(out / "step-0000004/model.safetensors")
    for more in ((), ("--skip-damaged",)):
        told = train(*more)
        assert told.code == ExitCode.BAD_INPUT
        assert "step-0000004/model.safetensors" in told.err
        assert "--skip-damaged" not in told.err
        assert "another --out" in told.err
    assert (out / "step-0000004").is_dir()


def test_whole_checkpoints_are_left_alone(train: Callable[..., Outcome], out: Path) -> None:
    shutil.rmtree(out / "step-0000002")
    assert steps(train("--skip-damaged")) == [5, 6, None]
    assert not list(out.glob("damaged*"))


def test_a_line_of_metrics_that_a_kill_cut_is_written_anew(
    train: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/metrics.jsonl").write_text('{"step": 1, "lo')  # before the first checkpoint
    assert steps(train("--steps", 2)) == [1, 2, None]
    rows = (tmp_path / "out/metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [1, 2]
