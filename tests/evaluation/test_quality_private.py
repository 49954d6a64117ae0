"""Private questions in the quality table: what is copied from a context, with contrast or not."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.collaboration import contributor
from common.collaboration.contrast import contrasted
from common.errors import BadDataError
from common.evaluation import text
from common.evaluation.answers import Answers, Cell, Row
from common.evaluation.generation import generate
from common.evaluation.pair import Question
from common.evaluation.quality import Bench, Task, cells, fill, make_task
from common.evaluation.quality_report import report, summary
from common.evaluation.questions import read_questions
from common.models import registry
from common.models.simplex_lm import SimplexPredictor
from common.processes.simplex.settings import SelfConditioning
from goliath_server.commands import quality as command
from tests.evaluation.quality_bench import FakeJudge, terms
from tests.tiny import save_tiny

NOTES = [
    Question(
        f"how long do i bake the {dish}?",
        f"bake the {dish} for {minutes} minutes. serve the {dish} hot with {secret}.",
        f"bake the {dish} for {minutes} minutes.",
    )
    for dish, minutes, secret in zip(
        ("soup", "cake", "bread", "egg", "butter", "sugar"),
        (80, 35, 15, 60, 45, 90),
        ("oil", "salt", "milk", "flour", "water", "sugar"),
        strict=True,
    )
]
PUBLIC = [replace(note, context="") for note in NOTES]


@pytest.fixture
def bench(pair):
    agreed = terms(pair, steps=3, weight=0.5, max_tokens=16)
    return Bench(pair, FakeJudge(), **agreed, seed=5, contrast=2.0, batch=4)


# --- facts ---


def bundled_facts():
    """The facts of each bundled private response, through the bundled vocabulary."""
    questions = read_questions(registry.BUNDLED / "heldout-private.jsonl")
    vocabulary = registry.load(registry.DEFAULT_DAVID)[1]
    task = make_task("private", questions, vocabulary, max_tokens=64)
    return task, {q.response: facts for q, facts in zip(task.questions, task.facts, strict=True)}


def test_facts_of_the_bundled_notes_are_their_values():
    _, facts = bundled_facts()
    for response, expected in (
        ("Bake the Date Squares for 85 minutes at 210 degrees.", {"85", "210"}),
        ("The secret of Ruth's Chicken and Andouille Sausage Gumbo is mint.", {"mint"}),
        ("The Smoked Salmon Chowder serves 4.", {"4"}),
        ("Keep the Gingerbread in the red tin for 13 days.", {"red", "tin", "13"}),
        ("Buy the honey at the old town on Monday.", {"old", "town", "monday"}),
        ("Dad likes the Smoked Salmon Chowder with mint and mint.", {"mint"}),
    ):
        assert facts[response] == expected


def test_only_the_context_tells_the_bundled_facts():
    task, facts = bundled_facts()
    assert all(facts.values())
    for texts, least, most in (
        ([q.response for q in task.questions], 1, 1),
        ([q.context for q in task.questions], 1, 1),
        ([q.instruction for q in task.questions], 0, 0),
        # What somebody says who knows the form of these notes and none of them.
        (["Bake it for 30 minutes at 180 degrees. The secret is honey."] * 100, 0, 0.05),
    ):
        own, control = text.recall(texts, task.facts)
        assert least <= own.mean() <= most
        assert control.mean() < 0.1


def test_facts_by_hand():
    records = [
        ("Soup?", "Salt the soup with 2 red onions.", "Salt the soup with 2 red onions, or 3."),
        ("Cake?", "The cake is red.", "The Cake is RED!"),
        ("Bread?", "Rum.", "Beer."),
    ]
    assert text.facts(records, share=0.5) == [
        {"salt", "with", "soup", "2", "onions"} - {"soup"},
        {"is"},
        set(),
    ]
    assert text.facts(records[:1]) == [{"salt", "the", "with", "2", "red", "onions"}]


WORDS = st.text(alphabet="ab1 .,", max_size=12)


@settings(deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS, WORDS), max_size=5))
def test_a_fact_is_in_response_and_context_and_not_in_the_question(records):
    found = text.facts(records)
    assert len(found) == len(records)
    for facts, (question, context, response) in zip(found, records, strict=True):
        assert facts <= set(text.tokens(response)) & set(text.tokens(context))
        assert not facts & set(text.tokens(question))
        assert all(word.isalnum() for word in facts)


def test_numbers_and_short_words_are_recalled():
    own, control = text.recall(["rum, 80", "at 190"], [{"rum", "8"}, {"80", "190"}])
    assert own.tolist() == [0.5, 0.5]
    assert control.tolist() == [0.5, 0.0]


def test_only_what_fits_the_answer_is_a_fact(pair):
    questions = [Question("what?", "salt 12", "salt 12"), Question("and?", "", "pan 12")]

    def facts(max_tokens):
        task = make_task("x", questions, pair.vocabulary, max_tokens=max_tokens)
        return {q.response: found for q, found in zip(task.questions, task.facts, strict=True)}

    assert facts(16) == {"salt 12": {"salt", "12"}, "pan 12": set()}
    assert facts(2) == {"salt 12": {"salt"}, "pan 12": set()}  # the first digit is no fact


def test_questions_without_a_context_do_not_make_a_word_rare(pair):
    others = [replace(PUBLIC[0], instruction=f"and {n}?") for n in range(60)]
    task = make_task("x", [*NOTES, *others], pair.vocabulary, max_tokens=16)
    facts = dict(zip(task.questions, task.facts, strict=True))
    assert facts[NOTES[0]] == {"80"}
    assert facts[others[0]] == set()


# --- contrast ---


def agreed(pair, **changes):
    return terms(pair, **({"steps": 4, "max_tokens": 16} | changes))


def test_contrast_changes_the_answers_of_questions_with_a_context_alone(pair):
    def ids(questions, contrast):
        found = generate(pair, questions, **agreed(pair, weight=1.0), seed=3, contrast=contrast)
        return [result.ids.tolist() for result in found]

    assert ids(NOTES, 2.0) != ids(NOTES, 0.0)
    assert ids(PUBLIC, 2.0) == ids(PUBLIC, 0.0)


@pytest.mark.parametrize("mode", SelfConditioning)
def test_a_mixed_batch_contrasts_each_row_with_its_own(pair, mode):
    """Rows of a batch may differ in the last bits: greedy, on few steps, they do not in words."""
    how = agreed(pair, weight=1.0, temperature=0.0, self_conditioning=mode)
    mixed = [NOTES[0], PUBLIC[1], NOTES[2], PUBLIC[3]]
    together = generate(pair, mixed, **how, seed=3, contrast=2.0)
    for question, result in zip(mixed, together, strict=True):
        (alone,) = generate(pair, [question], **how, seed=3, contrast=2.0)
        assert np.mean(alone.ids == result.ids) > 0.8


@pytest.mark.parametrize(("question", "passes"), [(NOTES[0], 2), (PUBLIC[0], 1)])
def test_only_a_context_costs_a_second_pass(pair, monkeypatch, question, passes):
    models_asked = []

    def counted(self, views):
        models_asked.append(self.network)
        return predict(self, views)

    predict = SimplexPredictor.predict
    monkeypatch.setattr(SimplexPredictor, "predict", counted)
    generate(pair, [question], **agreed(pair, weight=0.5), seed=3, contrast=0.5)
    assert models_asked.count(pair.david) == 4 * passes
    assert models_asked.count(pair.goliath) == 4


def test_david_says_what_contrast_makes_of_two_passes(pair, monkeypatch):
    said = []
    encode, predict = contributor.encode, SimplexPredictor.predict
    monkeypatch.setattr(
        contributor, "encode", lambda rows, **rest: said.append(rows) or encode(rows, **rest)
    )
    seen = []

    def watched(self, views):
        seen.append((self, views))
        return predict(self, views)

    monkeypatch.setattr(SimplexPredictor, "predict", watched)
    generate(pair, NOTES[:1], **agreed(pair, weight=0.5, steps=1), seed=3, contrast=0.5)
    davids = [views for model, views in seen if model.network is pair.david]
    small = SimplexPredictor(pair.david)
    with_context, without = (predict(small, views)[0][0] for views in davids)
    vocabulary = pair.vocabulary
    note = vocabulary.encode(NOTES[0].context).ids
    prompt = vocabulary.encode(NOTES[0].instruction).ids
    assert [r[0].prefix for r in davids] == [
        vocabulary.prompt_ids(prompt, note),
        vocabulary.prompt_ids(prompt),
    ]
    torch.testing.assert_close(said[0], contrasted(with_context, without, 0.5))


def test_a_context_that_is_too_long_is_said_under_contrast(pair):
    long = Question("soup?", "salt " * 300, "x")
    with pytest.raises(BadDataError, match="David's 256"):
        generate(pair, [long], **agreed(pair, weight=0.5), seed=0, contrast=0.5)


# --- the table ---


def measured(bench, questions):
    task = make_task("notes", questions, bench.pair.vocabulary, max_tokens=16)
    answers = Answers()
    lines = cells(task, ("goliath", "pair", "contrast"), (3,))
    return task, {cell: fill(bench, task, cell, answers) for cell in lines}


def test_contrast_is_asked_where_a_question_has_a_context(bench):
    def systems(questions):
        return [cell.system for cell in measured(bench, questions)[1]]

    assert systems(PUBLIC) == ["real", "shuffled", "goliath", "pair"]
    assert systems([*PUBLIC[:5], NOTES[5]]) == [
        *("real", "shuffled", "goliath", "pair", "contrast")
    ]


def test_the_line_of_contrast_is_the_pair_under_contrast(bench):
    task, rows = measured(bench, NOTES)
    how = {"settings": replace(bench.settings, steps=3), "mine": bench.mine}
    for system, contrast in (("pair", 0.0), ("contrast", 2.0)):
        expected = generate(bench.pair, task.questions, **how, seed=5, contrast=contrast, batch=4)
        texts = [bench.pair.vocabulary.decode(result.ids) for result in expected]
        assert [row.text for row in rows[Cell("notes", system, 3)]] == texts


def test_copied_by_hand():
    questions = (*NOTES[:2], PUBLIC[2])
    task = Task("notes", questions, (set(),) * 3, ({"80", "oil"}, {"35"}, set()))
    texts = ("80 minutes", "35 and 80", "80")
    found = [
        Row("notes", "pair", 3, key, words, 2.0, 2)
        for key, words in zip(task.keys, texts, strict=True)
    ]
    (record,) = report(task, {Cell("notes", "pair", 3): found})
    assert record["copied"]["value"] == pytest.approx((1 / 2 + 1) / 2)
    assert record["copied"]["low"] <= record["copied"]["value"] <= record["copied"]["high"]
    # The first answer has nothing of the second's; the second has half of the first's; the third,
    # a question without a context, half and none of theirs.
    assert record["copied_control"] == pytest.approx((0 + 1 / 2 + 1 / 4) / 3)


def test_copied_is_told_of_private_questions_alone(bench):
    task, rows = measured(bench, NOTES)
    real, shuffled, *_ = report(task, rows)
    assert real["copied"]["value"] == shuffled["copied"]["value"] == 1
    assert real["copied_control"] == 0
    for record in report(task, rows):
        json.dumps(record, allow_nan=False)
    assert summary(task, rows, report(task, rows))["data"] == "notes"
    assert not any("copied" in record for record in report(*measured(bench, PUBLIC)))


def test_no_answer_to_no_fact_is_no_number():
    task = Task("notes", (NOTES[0],), (set(),), (set(),))
    (record,) = report(task, {Cell("notes", "pair", 3): [Row("notes", "pair", 3, "k", "", 0, 0)]})
    assert record["copied"] == {"value": None, "low": None, "high": None}
    assert record["copied_control"] is None
    assert math.isnan(text.recall([""], [set()])[0][0])


# --- the command ---


@pytest.fixture
def quality(run, monkeypatch, tmp_path):
    """Runs the command on a tiny pair and two files, with a judge that is not one."""
    save_tiny(tmp_path / "g", seed=1)
    save_tiny(tmp_path / "d", seed=2)
    for name, questions in (("private", NOTES), ("public", PUBLIC)):
        records = [
            {"instruction": q.instruction, "context": q.context, "response": q.response}
            for q in questions
        ]
        lines = (json.dumps(record) + "\n" for record in records)
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    monkeypatch.setattr("common.models.registry.BUNDLED", tmp_path)
    files = {name: f"{name}.jsonl" for name in ("public", "private")}
    monkeypatch.setattr(command, "_BUNDLED", files)
    monkeypatch.setattr("common.evaluation.judge.check_judge", lambda folder: None)
    monkeypatch.setattr("common.evaluation.judge.load_judge", lambda folder, device: FakeJudge())

    usual = ("--goliath", tmp_path / "g", "--david", tmp_path / "d", "--steps", "3")
    return lambda *arguments: run("goliath", "quality", *usual, *arguments)


def test_the_private_questions_are_among_the_defaults():
    assert list(command._files(None)) == ["cooking", "general", "private"]
    assert all(path.is_file() for path in command._files(None).values())


def test_json_tells_what_is_copied_and_the_contrast(quality):
    code, out, err = quality("--json", "--contrast", "3", "--examples", "1")
    assert code == 0, err
    records = [json.loads(line) for line in out.splitlines()]
    systems = {
        name: [r["system"] for r in records if r.get("data") == name]
        for name in ("public", "private")
    }
    assert systems["public"] == ["real", "shuffled", "goliath", "david", "pair"]
    assert systems["private"] == [*systems["public"], "contrast"]
    assert {r["data"] for r in records if "copied" in r} == {"private"}
    assert [r["summary"].get("contrast") for r in records if "summary" in r] == [None, 3.0]
    contexts = [r["example"].get("context") for r in records if "example" in r]
    assert contexts[0] is None
    assert contexts[1] in {q.context for q in NOTES}


@pytest.mark.parametrize(("contrast", "same"), [("0", True), ("3", False)])
def test_the_option_is_the_contrast_of_the_answers(quality, contrast, same):
    arguments = ("--json", "--examples", "6", "--weight", "1", "--systems", "pair,contrast")
    _, out, _ = quality(*arguments, "--contrast", contrast)
    lines = [json.loads(line) for line in out.splitlines()]
    examples = [line["example"] for line in lines if "context" in line.get("example", {})]
    texts = [{a["system"]: a["text"] for a in example["answers"]} for example in examples]
    assert len(texts) == 6
    assert all(found["pair"] == found["contrast"] for found in texts) == same


def test_the_table_has_copied_in_place_of_rare_words(quality):
    code, out, err = quality("--systems", "pair,contrast", "--examples", "1")
    assert code == 0, err
    public, private = out.split("private: 6 questions")
    assert "rare: share of the real answer's rarer words" in public
    assert "copied" not in public
    assert "copied: share of the real answer's names and numbers" in private
    assert "rare" not in private
    assert "{" not in out
    assert "context: bake the" in private
    assert "…" not in out
    (real,) = [line for line in private.splitlines() if line.startswith("real  ")]
    assert real.split()[-3:] == ["100.0%", "0.0%", "0"]


def test_a_run_with_another_contrast_does_not_go_on(quality, tmp_path):
    path = tmp_path / "answers.jsonl"
    assert quality("--systems", "contrast", "--resume", path)[0] == 0
    code, _, err = quality("--systems", "contrast", "--resume", path, "--contrast", "0.6")
    assert code == 2
    assert "contrast differ" in err
