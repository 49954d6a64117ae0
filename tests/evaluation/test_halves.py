"""Which half of the questions each is in, and how many questions `goliath evaluate` needs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadDataError, ExitCode
from common.evaluation.pair import LEAST, Pair, Question, evaluate_pair, halves_of
from common.evaluation.questions import read_questions
from tests.tiny import save_tiny, tiny_model, tiny_vocabulary

WORDS = st.text("ab", max_size=2)
QUESTIONS = st.lists(st.builds(Question, WORDS, WORDS, WORDS), max_size=12)


@given(QUESTIONS)
def test_halves_are_equally_large(questions: list[Question]) -> None:
    ones = int(halves_of(questions).sum())
    assert ones - (len(questions) - ones) in (0, 1)


@given(QUESTIONS)
def test_what_is_asked_in_the_same_words_stays_together(questions: list[Question]) -> None:
    halves = halves_of(questions)
    split = {
        q.instruction
        for q in questions
        if len(
            {h for h, x in zip(halves, questions, strict=True) if x.instruction == q.instruction}
        )
        > 1
    }
    assert len(split) <= 1


@given(QUESTIONS, st.randoms())
def test_the_order_of_the_file_does_not_matter(questions: list[Question], random: Any) -> None:
    different = list(dict.fromkeys(questions))
    before = dict(zip(different, halves_of(different), strict=True))
    random.shuffle(different)
    assert dict(zip(different, halves_of(different), strict=True)) == before


def test_a_half_that_cannot_be_scored_is_said() -> None:
    vocabulary = tiny_vocabulary()
    pair = Pair(tiny_model(vocabulary, seed=1), tiny_model(vocabulary, seed=2), vocabulary)
    long = Question("soup " * 300, "", "stir it.")
    with pytest.raises(BadDataError, match="short enough"):
        evaluate_pair(pair, [long, long, long, Question("cake?", "", "bake it.")], weights=(0.5,))


# --- the command ---


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """188 records, which ask the same of private notes: the hash of the instruction is one."""
    rows = [
        {
            "instruction": "what do i add to the soup?" if number < 150 else f"what is {number}?",
            "context": f"add {number} eggs to the soup.",
            "response": f"add {number} eggs.",
        }
        for number in range(188)
    ]
    path = tmp_path / "notes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def evaluate(run: Any, notes: Path, tmp_path: Path) -> Callable[..., Any]:
    tiny = save_tiny(tmp_path / "tiny", seed=1)
    usual = ("--goliath", tiny, "--data", notes, "--weights", 0.5, "--json")
    return lambda *more, david=tiny: run("goliath", "evaluate", *usual, "--david", david, *more)


@pytest.mark.parametrize("limit", [4, 5, 64])
def test_limits(evaluate: Any, limit: int) -> None:
    told = evaluate("--limit", limit)
    assert told.code == 0, told.err
    report = json.loads(told.out)
    assert report["n"] == limit
    assert set(report["best_weight"]) == {"half 0", "half 1"}


def test_the_limit_that_is_needed_is_said_before_a_model_is_loaded(evaluate: Any) -> None:
    told = evaluate("--limit", 3, david="nowhere")
    assert told.code == ExitCode.USAGE
    assert "--limit" in told.err
    assert str(LEAST) in told.err
    assert "nowhere" not in told.err


def test_too_small_a_file_is_said_before_a_model_is_loaded(evaluate: Any, notes: Path) -> None:
    notes.write_text("".join(notes.read_text().splitlines(keepends=True)[:3]))
    told = evaluate("--limit", 64, david="nowhere")
    assert told.code == ExitCode.BAD_INPUT
    assert f"at least {LEAST} questions" in told.err
    assert "got 3" in told.err
    assert "nowhere" not in told.err
    assert len(read_questions(notes)) == 3  # for `quality` and `bench`, which halve nothing
