"""`david train` and `goliath train`: what they say, how they go on, and what they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import ExitCode
from common.models import registry
from common.training.trainer import Trainer
from tests.programs import Pair
from tests.tiny import save_tiny

ROWS = [
    {
        "instruction": f"how do i make {dish}?",
        "response": "stir the soup and add salt.",
        "source": s,
    }
    for dish, s in (("soup", "a"), ("cake", "b"), ("bread", "b"))
] * 8


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return file


@pytest.fixture
def train(run: Any, pair: Pair, data: Path, tmp_path: Path) -> Any:
    """Trains the tiny David for three steps, unless something else is said."""
    usual = ("train", data, "--held-out", data, "--out", tmp_path / "out", "--start", pair.david)
    usual = (*usual, "--steps", 3, "--batch", 4)
    return lambda *more, program="david": run(program, *usual, *more)


@pytest.mark.parametrize("program", ["david", "goliath"])
def test_json_is_an_object_a_step_and_the_model(train: Any, tmp_path: Path, program: str) -> None:
    told = train("--json", program=program)
    assert told.code == 0, told.err
    *steps, done = [json.loads(line) for line in told.out.splitlines()]
    assert [(one["type"], one["step"]) for one in steps] == [("progress", n) for n in (1, 2, 3)]
    assert steps[-1]["curve"]
    assert done == {"type": "trained", "model": str(tmp_path / "out/model")}
    assert registry.load(done["model"])[0].config.loss_curve


def test_people_are_told_the_held_out_loss(train: Any) -> None:
    told = train()
    assert (told.code, told.out) == (0, "")
    assert "held-out loss by t" in told.err


def test_what_is_chosen_is_what_is_trained_with(train: Any, pair: Pair, tmp_path: Path) -> None:
    shares = ("--share", "a=2", "--share", "b=0.5", "--mixed", 0.25, "--ramped", 0.125)
    beside = ("--beside", pair.goliath, "--weight", 0.5)
    told = train(*shares, *beside, "--rate", 1e-3, "--decay", 0.5, "--seed", 9)
    assert told.code == 0, told.err
    summary = json.loads((tmp_path / "out/model/training.json").read_text())
    assert summary["beside"] == str(pair.goliath)
    expected = {"shares": {"a": 2.0, "b": 0.5}, "mixed": 0.25, "ramped": 0.125, "weight": 0.5}
    expected |= {"decay_share": 0.5, "learning_rate": 1e-3, "seed": 9, "steps": 3, "batch_size": 4}
    assert expected.items() <= summary["config"].items()


def test_an_interrupted_run_goes_on_and_a_finished_one_is_done(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.step

    def interrupted(trainer: Trainer) -> Any:
        if trainer.steps_done == 2:
            raise KeyboardInterrupt
        return step(trainer)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "step", interrupted)
        told = train("--json")
    assert told.code == ExitCode.INTERRUPTED
    assert len(told.out.splitlines()) == 2
    again = [json.loads(line) for line in train("--json").out.splitlines()]
    assert [one.get("step") for one in again] == [3, None]
    assert [json.loads(line)["type"] for line in train("--json").out.splitlines()] == ["trained"]


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (("--share", "a"), ExitCode.USAGE, "SOURCE=PASSES"),
        (("--share", "a=many"), ExitCode.USAGE, "SOURCE=PASSES"),
        (("--share", "a=-1"), ExitCode.USAGE, "SOURCE=PASSES"),
        (("--share", "a=nan"), ExitCode.USAGE, "SOURCE=PASSES"),
        (("--share", "wiki=2"), ExitCode.USAGE, "wiki"),
        (("--share", "a=0", "--share", "b=0"), ExitCode.BAD_INPUT, "batch"),
        (("--batch", 1000), ExitCode.BAD_INPUT, "batch"),
        (("--mixed", 0.75, "--ramped", 0.5), ExitCode.USAGE, "1 together"),
        (("--mixed", 1.5), ExitCode.USAGE, "mixed"),
        (("--setting", "block_length"), ExitCode.USAGE, "NAME=VALUE"),
        (("--setting", "block_length=32"), ExitCode.USAGE, "block_length"),
        (("--width", 16), ExitCode.USAGE, "trained model"),
        (("--rate", "nan"), ExitCode.USAGE, "rate"),
        (("--rate", -1), ExitCode.USAGE, "rate"),
        (("--device", "abacus"), ExitCode.USAGE, "abacus"),
        (("--start", "nowhere"), ExitCode.BAD_INPUT, "nowhere"),
        (("--beside", "nowhere"), ExitCode.BAD_INPUT, "nowhere"),
        (("--held-out", "nowhere"), ExitCode.BAD_INPUT, "nowhere"),
    ],
)
def test_wrong_choices(train: Any, tmp_path: Path, more: Any, code: ExitCode, says: str) -> None:
    told = train(*more)
    assert told.code == code, told.err
    assert says in told.err
    assert told.out == ""
    assert not (tmp_path / "out/model").exists()


def test_a_folder_that_cannot_be_written(train: Any, data: Path) -> None:
    told = train("--out", data / "out")
    assert told.code == ExitCode.USAGE, told.err
    assert "cannot write" in told.err


def test_a_run_of_a_model_of_another_shape_is_not_gone_on_with(train: Any, tmp_path: Path) -> None:
    assert train().code == 0
    told = train("--start", save_tiny(tmp_path / "other", seed=3, local_width=3), "--steps", 4)
    assert told.code == ExitCode.BAD_INPUT, told.err
    assert "of this run's model" in told.err


def test_a_damaged_checkpoint_is_told(train: Any, tmp_path: Path) -> None:
    assert train().code == 0
    for file in ("optimizer.safetensors", "training.json"):
        (tmp_path / "out/step-0000003" / file).write_bytes(b"{no")
        told = train("--steps", 4)
        assert told.code == ExitCode.BAD_INPUT, told.err
        assert "step-0000003" in told.err


def test_few_held_out_examples_are_enough(train: Any, tmp_path: Path) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:2]))
    told = train("--held-out", few)
    assert told.code == 0, told.err
    assert "held-out loss by t" in told.err
