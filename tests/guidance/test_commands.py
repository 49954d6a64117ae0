"""The commands that train guides and ask with them."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from common.errors import (
    ExitCode,
    UsageError,
)
from common.guidance.choice import GuideChoice
from common.guidance.guide import guided
from common.guidance.loading import load_guide
from goliath_server.server import load_served
from goliath_server.settings import GoliathSettings
from tests.guidance.trained_guides import Trained, views
from tests.serving import GOLIATH
from tests.tiny import save_tiny


@pytest.fixture
def asking(run: Any, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Asks a tiny pair in this process."""
    monkeypatch.setenv("DAVID_GOLIATH_MODEL", str(save_tiny(tmp_path / "g", seed=1)))
    usual = ("ask", "what is hot", "--model", trained.start, "--steps", 4, "--seed", 2, "--json")
    return lambda *more: run("david", *usual, *more)


def test_david_trains_a_guide_and_asks_with_it(
    run: Any, asking: Any, trained: Trained, tmp_path: Path
) -> None:
    out = tmp_path / "made"
    data = (trained.data, "--held-out", trained.held_out, "--start", trained.start)
    code, told, _ = run("david", "train-guide", *data, "--out", out, "--steps", 3, "--json")
    assert code == 0
    *steps, done = [json.loads(line) for line in told.splitlines()]
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert (done["type"], done["labels"]) == ("trained", ["savoury", "sweet"])
    assert 0 <= done["held_out_accuracy"] <= 1
    code, told, _ = asking("--guide", out, "--label", "sweet", "--strength", 7)
    assert code == 0
    assert json.loads(told)["guide"] == {"model": str(out), "label": "sweet", "strength": 7.0}


def test_strength_0_changes_no_answer(asking: Any, trained: Trained) -> None:
    guide = ("--weight", 0, "--guide", trained.guide.folder, "--label", "sweet", "--strength")
    tokens = [json.loads(asking(*more)[1])["tokens"] for more in (("--weight", 0), (*guide, 0))]
    assert tokens[0] == tokens[1]
    assert json.loads(asking(*guide, 500)[1])["tokens"] != tokens[0]


def test_asking_wrongly(asking: Any, trained: Trained) -> None:
    guide = ("--guide", trained.guide.folder)
    for more, exit_code, says in (
        (guide, ExitCode.USAGE, "label"),
        (("--label", "sweet"), ExitCode.USAGE, "--guide"),
        ((*guide, "--label", "bitter"), ExitCode.USAGE, "savoury, sweet"),
        ((*guide, "--label", "sweet", "--strength", 1e9), ExitCode.USAGE, "strength"),
        (("--guide", trained.start, "--label", "sweet"), ExitCode.BAD_INPUT, "train-guide"),
    ):
        code, told, why = asking(*more)
        assert (code, told) == (exit_code, "")
        assert says in why


def test_a_guide_belongs_to_who_runs_goliath(asking: Any, trained: Trained) -> None:
    guide = ("--guide", trained.guide.folder, "--label", "sweet")
    code, _, why = asking("--goliath", "127.0.0.1:1", "--insecure", *guide)
    assert code == ExitCode.USAGE
    assert "goliath serve" in why


def test_training_wrongly(run: Any, trained: Trained, tmp_path: Path) -> None:
    data = ("train-guide", trained.data, "--held-out", trained.held_out, "--out", tmp_path / "out")
    for more, exit_code, says in (
        (("--start", tmp_path / "nowhere"), ExitCode.BAD_INPUT, "nowhere"),
        (("--start", trained.guide.folder), ExitCode.BAD_INPUT, "guide"),
        (("--out", trained.guide.folder), ExitCode.USAGE, "there already"),
        (("--out", trained.data / "out"), ExitCode.USAGE, "cannot write"),
        (("--held-out", tmp_path / "none"), ExitCode.BAD_INPUT, "JSONL"),
    ):
        code, told, why = run("david", *data, *("--start", trained.start), *more)
        assert (code, told) == (exit_code, ""), why
        assert says in why
    assert not list(tmp_path.glob("*out*"))


def test_a_server_with_a_guide_is_loaded_and_checked(
    trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_tiny(tmp_path / "g", seed=1)
    guide = {"guide": str(trained.guide.folder), "label": "sweet"}
    settings = GoliathSettings(model=str(folder), device="cpu", **guide)
    with caplog.at_level(logging.INFO):
        predict, host = load_served(settings)
    assert [r.message for r in caplog.records] == ["guide.chosen"]
    assert "guided" in host.features
    choice = GuideChoice(str(trained.guide.folder), "sweet", 500.0)
    same = guided(GOLIATH.predictor.predict, load_guide(choice, GOLIATH, longest_block=64))
    assert torch.equal(predict(views(1))[0], same(views(1))[0])
    with pytest.raises(UsageError, match="savoury, sweet"):
        load_served(GoliathSettings(model=str(folder), device="cpu", **guide | {"label": "sour"}))
