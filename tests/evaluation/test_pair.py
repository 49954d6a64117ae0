"""Evaluation of pairs: the numbers it gives mean what they say."""

import json

import numpy as np
import pytest
import torch

from common.denoising.streams import Words
from common.errors import BadDataError
from common.evaluation.pair import Pair, Question, _difference, _parts, evaluate_pair
from common.evaluation.questions import read_questions
from common.training.denoising import loss_curve, two_passes
from common.training.examples import collate, epoch_batches, read_records
from tests.tiny import tiny_model, tiny_vocabulary

WEIGHTS = (0.25, 0.5, 0.75)


@pytest.fixture(scope="module")
def vocabulary():
    return tiny_vocabulary()


@pytest.fixture(scope="module")
def questions():
    return [
        Question(f"how do i make {a} {b}?", "", f"stir the {a} and add {b} to it until hot.")
        for a in ("soup", "cake", "bread", "sugar")
        for b in ("salt", "milk", "egg")
    ]


@pytest.fixture(scope="module")
def report(vocabulary, questions):
    pair = Pair(tiny_model(vocabulary, seed=1), tiny_model(vocabulary, seed=2), vocabulary)
    return evaluate_pair(pair, questions, weights=WEIGHTS)


def test_keys(report, questions):
    assert set(report) == {
        *("goliath", "david", "pair", "best_weight", "best", "best_vs_goliath", "best_vs_david"),
        *(
            "by_t",
            "n",
            "tokens",
            "calibrated",
            "best_vs_calibrated_goliath",
            "best_vs_calibrated_david",
        ),
    }
    assert list(report["pair"]) == ["0.25", "0.5", "0.75"]
    assert set(report["best_vs_david"]) == {"delta", "low", "high"}
    assert report["n"] == len(questions)
    json.dumps(report)


def test_the_average_is_that_of_its_times(report):
    for name in ("goliath", "david"):
        mean = np.mean([report["by_t"][t][name] for t in ("0.2", "0.25", "0.3", "0.35")])
        assert report[name] == pytest.approx(mean)


def test_the_weight_is_chosen_on_the_other_half(report):
    assert set(report["best_weight"].values()) <= set(WEIGHTS)
    assert (
        report["best"] >= min(report["pair"].values()) - 1e-9
        or len(set(report["best_weight"].values())) == 2
    )


def test_differences_are_those_of_the_means(report):
    for name in ("goliath", "david"):
        difference = report[f"best_vs_{name}"]
        assert difference["delta"] == pytest.approx(report["best"] - report[name])
        assert difference["low"] <= difference["delta"] <= difference["high"]


def test_a_pair_of_twins_is_no_better_than_one(vocabulary, questions):
    twin = tiny_model(vocabulary, seed=1)
    report = evaluate_pair(Pair(twin, twin, vocabulary), questions, weights=(0.5,))
    assert report["best"] == pytest.approx(report["goliath"], abs=1e-6)
    assert report["best_vs_goliath"]["delta"] == pytest.approx(0, abs=1e-6)


def test_cross_entropy_is_that_of_the_logits(vocabulary, questions):
    pair = Pair(tiny_model(vocabulary, seed=1), tiny_model(vocabulary, seed=2), vocabulary)
    report = evaluate_pair(pair, questions, weights=(0.5,))
    total, count = 0.0, 0
    for part in _parts(pair, questions):
        with torch.inference_mode():
            logits, _ = pair.logits(part, 0.25)
        target = part.goliath.target[part.goliath.scored]
        total -= logits.log_softmax(-1).gather(-1, target[:, None]).sum().item()
        count += len(target)
    assert report["by_t"]["0.25"]["goliath"] == pytest.approx(total / count, rel=1e-5)
    assert report["tokens"] == count


def test_fused_conditioning_is_that_of_both_predictions(vocabulary, questions):
    pair = Pair(tiny_model(vocabulary, seed=1), tiny_model(vocabulary, seed=2), vocabulary)
    own, fused = (
        evaluate_pair(pair, questions, weights=(0.01, 0.5, 0.99), fused=fused)
        for fused in (False, True)
    )
    for name in ("goliath", "david"):
        assert fused[name] == own[name]
    assert fused["pair"]["0.5"] != pytest.approx(own["pair"]["0.5"], abs=1e-6)
    part = _parts(pair, questions)[0]
    with torch.inference_mode():
        alone = pair.logits(part, 0.3)
        (first, _), (_, last) = pair.fused_logits(part, 0.3, (0.0, 1.0))
    # At the ends of the weight the fused prediction is one model's own.
    assert torch.equal(first, alone[0])
    assert torch.equal(last, alone[1])


def test_only_response_tokens_count(vocabulary, questions):
    pair = Pair(tiny_model(vocabulary, seed=1), tiny_model(vocabulary, seed=2), vocabulary)
    expected = sum(len(vocabulary.encode(q.response).ids) for q in questions)
    assert sum(int(part.goliath.scored.sum()) for part in _parts(pair, questions)) == expected


def test_david_alone_sees_the_context(vocabulary):
    pair = Pair(tiny_model(vocabulary, seed=1), tiny_model(vocabulary, seed=2), vocabulary)
    part = _parts(pair, [Question("soup?", "salt water", "add salt.")])[0]
    secret = set(vocabulary.encode("salt water").ids)
    start = int(part.goliath.block_start[0])
    assert not secret & set(part.goliath.input_ids[0, :start].tolist())
    assert secret <= set(part.david.input_ids[0].tolist())


def test_bootstrap_interval_covers_a_known_difference():
    rng = np.random.default_rng(1)
    counts = np.full(400, 10.0)
    theirs = rng.normal(30, 3, 400)
    found = _difference(theirs - 1 + rng.normal(0, 1, 400), theirs, counts)
    assert found["low"] < -0.1 < found["high"] < 0


def test_the_curve_uses_the_same_noise_each_time(vocabulary, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "' + "stir the soup and add salt. " * 10 + '"}\n')
    records = read_records(path, vocabulary)
    plan = epoch_batches(
        records, vocabulary, shares={}, block_length=16, batch_size=1, seed=0, epoch=0
    )
    batches = [collate(b, vocabulary) for b in plan]
    model = tiny_model(vocabulary, seed=1)
    first = loss_curve(model, batches, (0.2, 0.4), seed=3)
    assert first == loss_curve(model, batches, (0.2, 0.4), seed=3)
    assert first != loss_curve(model, batches, (0.2, 0.4), seed=4)


def test_the_second_pass_sees_the_first(vocabulary):
    model = tiny_model(vocabulary, seed=1)
    pair = Pair(model, model, vocabulary)
    part = _parts(pair, [Question("soup?", "", "add salt.")])[0]
    stream = Words([1], [0], [0], torch.device("cpu"))
    t = torch.tensor([0.3], dtype=torch.float64)
    with torch.inference_mode():
        before = two_passes(model, part.goliath, stream, t)
        model.condition_map.weight.data.zero_()
        after = two_passes(model, part.goliath, stream, t)
    assert not torch.allclose(before, after)


@pytest.mark.parametrize("line", ["nope", "{}", '{"instruction": "a", "response": 1}'])
def test_bad_questions_name_their_line(tmp_path, line):
    path = tmp_path / "q.jsonl"
    path.write_text('{"instruction": "a?", "response": "b"}\n' + line + "\n")
    with pytest.raises(BadDataError, match=r"q\.jsonl|strings"):
        read_questions(path)


def test_too_few_questions_to_halve(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"instruction": "a?", "response": "b"}\n')
    with pytest.raises(BadDataError, match="each half"):
        read_questions(path, halved=True)
