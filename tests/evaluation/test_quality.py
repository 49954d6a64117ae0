"""The quality table: its rows, its figures, and runs that go on."""

import json
import math
from dataclasses import replace

import pytest

from common.evaluation.answers import Answers, Cell, Row, resume
from common.evaluation.pair import Question
from common.evaluation.quality import cells, fill, make_task, rendered
from common.evaluation.quality_report import report, summary
from tests.evaluation.quality_bench import QUESTIONS, RUN


def measured(bench, *, systems=("goliath", "pair"), steps=(2, 3), answers=None, **limits):
    task = make_task("cooking", QUESTIONS, bench.pair.vocabulary, max_tokens=16, **limits)
    answers = answers or Answers()
    return task, {c: fill(bench, task, c, answers) for c in cells(task, systems, steps)}


def test_real_text_is_cut_like_an_answer(pair):
    words = "Stir the SOUP, add salt to it. Heat ∞ water."
    assert rendered(words, pair.vocabulary) == "Stir the soup, add salt to it. Heat water."
    assert rendered(words, pair.vocabulary, 4) == "Stir the soup,"


def test_each_cell_has_a_row_for_each_question(bench):
    task, rows = measured(bench)
    assert [(cell.system, cell.steps) for cell in rows] == [
        *(("real", 0), ("shuffled", 0), ("goliath", 2), ("pair", 2), ("goliath", 3), ("pair", 3))
    ]
    assert all([row.question for row in found] == task.keys for found in rows.values())
    assert {question for question, _ in bench.judge.asked} == {q.instruction for q in QUESTIONS}


def test_figures_of_real_and_shuffled_text(bench):
    task, rows = measured(bench)
    real, shuffled, *made = report(task, rows)
    assert real["rare_recall"]["value"] == shuffled["rare_recall"]["value"] == 1
    assert real["rare_recall_control"] == shuffled["rare_recall_control"] < 1
    assert real["words"] == shuffled["words"]
    assert real["perplexity"] == {name: pytest.approx(math.e**2) for name in real["perplexity"]}
    assert [r["steps"] for r in (real, shuffled, *made)] == [None, None, 2, 2, 3, 3]
    assert len({r["distinct_runs"] for r in (real, *made)}) == 1
    for record in (real, *made):
        found = record["words"]
        assert found["low"] <= found["value"] <= found["high"]
        json.dumps(record, allow_nan=False)


def test_a_limit_takes_the_same_questions_in_any_order(pair):
    def chosen(questions, limit):
        return make_task("x", questions, pair.vocabulary, max_tokens=8, limit=limit).questions

    assert chosen(QUESTIONS, 3) == chosen(QUESTIONS[::-1], 3) == chosen(QUESTIONS, 4)[:3]


def test_half_a_word_is_not_wanted(pair):
    def wanted(max_tokens):
        questions = [Question("what?", "", "stir the peppers")]
        return make_task("x", questions, pair.vocabulary, max_tokens=max_tokens).wanted

    assert wanted(16) == ({"stir", "peppers"},)
    assert wanted(6) == ({"stir"},)


def test_steps_are_compared_on_questions_that_both_answered(bench):
    task, _ = measured(bench, steps=())
    few = [Row("cooking", "pair", 32, key, "a", 3.0, 2) for key in task.keys]
    many = [Row("cooking", "pair", 128, key, "a", 1.0, 2) for key in task.keys]
    many[0] = replace(many[0], text="", nats=0.0, tokens=0)
    rows = {few[0].cell: few, many[0].cell: many}
    end = summary(task, rows, report(task, rows))
    assert end["steps_32_vs_128"] == {"pair": {"delta": 1.0, "low": 1.0, "high": 1.0, "n": 5}}
    assert end["against_real"] == []


def test_empty_answers_are_counted(bench):
    task, rows = measured(bench, systems=("pair",), steps=(2,))
    cell = Cell("cooking", "pair", 2)
    rows[cell] = [replace(row, text="", nats=0.0, tokens=0) for row in rows[cell]]
    records = report(task, rows)
    assert records[-1]["empty"] == 6
    assert records[-1]["words"]["value"] == 0
    assert records[-1]["perplexity"] == {"value": None, "low": None, "high": None}
    assert records[-1]["distinct"] is records[0]["distinct"] is None
    (against,) = summary(task, rows, records)["against_real"]
    assert against["perplexity"] is against["distinct"] is None


def test_a_run_goes_on_where_it_ended(bench, tmp_path):
    path = tmp_path / "answers.jsonl"
    whole = resume(path, RUN)
    _, rows = measured(bench, answers=whole)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-5]))
    asked = len(bench.judge.asked)
    again = resume(path, RUN)
    _, second = measured(bench, answers=again)
    assert len(bench.judge.asked) - asked == 5
    assert list(second) == list(rows)
    assert [len(found) for found in second.values()] == [6] * 6
    assert len(path.read_text().splitlines()) == len(lines)
