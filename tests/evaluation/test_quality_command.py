"""`goliath quality`: the table and the lines that it prints."""

import json

import pytest

from common.evaluation.judge import check_judge
from tests.evaluation.quality_bench import QUESTIONS, FakeJudge
from tests.tiny import save_tiny


@pytest.fixture
def quality(run, monkeypatch, tmp_path):
    """Runs the command on a tiny pair, with a judge that is not one."""
    save_tiny(tmp_path / "g", seed=1)
    save_tiny(tmp_path / "d", seed=2)
    file = tmp_path / "questions.jsonl"
    records = [{"instruction": q.instruction, "response": q.response} for q in QUESTIONS]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    monkeypatch.setattr("common.evaluation.judge.check_judge", lambda folder: None)
    monkeypatch.setattr("common.evaluation.judge.load_judge", lambda folder, device: FakeJudge())

    pair = ("--goliath", tmp_path / "g", "--david", tmp_path / "d")
    usual = (*pair, "--data", f"tiny={file}", "--steps", "2,3")
    return lambda *arguments: run("goliath", "quality", *usual, *arguments)


def test_json_has_one_object_a_line(quality):
    code, out, err = quality("--json", "--examples", "1", "--limit", "4")
    assert code == 0, err
    records = [json.loads(line) for line in out.splitlines()]
    lines = [(r["system"], r["steps"]) for r in records if "system" in r]
    systems = ("goliath", "david", "pair")
    assert lines == [("real", None), ("shuffled", None), *((s, n) for n in (2, 3) for s in systems)]
    assert {r["n"] for r in records if "n" in r} == {4}
    assert len(records[-2]["example"]["answers"]) == 8
    assert len(records[-1]["summary"]["against_real"]) == 6
    assert "pair, 3 steps: 4/4" in err


def test_the_table_and_the_examples_are_readable(quality):
    code, out, err = quality("--systems", "pair,david", "--examples", "1")
    assert code == 0, err
    assert "tiny: 6 questions" in out
    assert "…" not in out
    assert "shuffled" in out
    assert "real: Stir the" in out


def test_the_command_resumes(quality, tmp_path):
    path = tmp_path / "answers.jsonl"
    arguments = ("--json", "--systems", "pair", "--resume", path)
    first, second = (quality(*arguments) for _ in range(2))
    assert first[:2] == second[:2]
    assert len(path.read_text().splitlines()) == 1 + 4 * 6
    code, _, err = quality(*arguments, "--temperature", "0")
    assert code == 2
    assert "settings differ" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "numbers of steps"),
        (["--steps", "8,8"], "numbers of steps"),
        (["--systems", "pair,me"], "goliath, david, pair"),
        (["--contrast", "-1"], "0 to 100"),
        (["--contrast", "101"], "0 to 100"),
        (["--contrast", "nan"], "0 to 100"),
        (["--min-p", "0"], "above 0"),
        (["--top-p", "0"], "above 0"),
        (["--data", "file.jsonl"], "NAME=FILE"),
        (["--weight", "1.5"], "--weight"),
    ],
)
def test_wrong_options_are_said(quality, arguments, message):
    code, out, err = quality(*arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_the_command_needs_its_judge(quality, monkeypatch, tmp_path):
    monkeypatch.setattr("common.evaluation.judge.check_judge", check_judge)
    code, out, err = quality("--judge", tmp_path)
    assert (code, out) == (7, "")
    assert "scripts/judge" in err
