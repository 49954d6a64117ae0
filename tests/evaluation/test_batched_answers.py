"""Answers in batches are those of the product."""

from dataclasses import replace

import numpy as np
import pytest

from common.collaboration.codec import reach_for
from common.collaboration.contributor import Contributor, Encoding
from common.collaboration.opening import plan_for
from common.errors import BadDataError
from common.evaluation.generation import generate, question_seed
from common.evaluation.pair import Question
from common.processes.simplex.settings import SelfConditioning
from common.text.templates import asked
from tests.evaluation.quality_bench import QUESTIONS, terms
from tests.loops import rows_by, run_local


@pytest.mark.parametrize("mode", SelfConditioning)
@pytest.mark.parametrize(
    ("weight", "contrast"), [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (0.5, 0.5), (1.0, 0.5)]
)
def test_one_question_is_the_embedded_answer(pair, mode, weight, contrast):
    how = terms(pair, steps=5, max_tokens=40, weight=weight, self_conditioning=mode)
    question = Question("how do i make soup?", "salt water in a pot", "")
    (batched,) = generate(pair, [question], **how, seed=3, contrast=contrast)
    goliath, david = pair.models
    agreed = replace(how["settings"], seed=question_seed(3, question))
    messages = asked(question.instruction)
    plan = plan_for(goliath, agreed, messages=messages)
    contributor = Contributor(
        rows_by(pair.david),
        plan.process,
        [david.template.ids(messages, question.context), david.template.ids(messages)],
        contrast=contrast,
        encoding=Encoding(reach=reach_for(plan.process.draw, weight)),
    )
    davids = {"david": (contributor, weight)} if weight else {}
    alone = run_local(plan, pair.goliath, davids)
    assert batched.ids.tolist() == alone.ids.tolist()
    assert (batched.block, batched.step) == (alone.block, alone.step)


def test_answers_keep_the_order_of_questions(pair, bench):
    how = {"settings": replace(bench.settings, max_tokens=20), "mine": bench.mine}
    done = []
    many = generate(pair, QUESTIONS, **how, seed=1, batch=4, progress=done.append)
    assert done == [4, 6]
    for question, result in zip(QUESTIONS[:2], many, strict=False):
        (single,) = generate(pair, [question], **how, seed=1)
        assert np.mean(single.ids[:5] == result.ids[:5]) > 0.5


def test_a_question_has_its_own_noise():
    seeds = {question_seed(0, q) for q in QUESTIONS} | {question_seed(1, QUESTIONS[0])}
    assert len(seeds) == 7
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_a_context_that_is_too_long_is_said(pair, bench):
    long = Question("soup?", "salt " * 300, "x")
    with pytest.raises(BadDataError, match="David's 256"):
        generate(pair, [long], settings=bench.settings, mine=bench.mine, seed=0)
    generate(pair, [long], **terms(pair, weight=0.0, steps=1), seed=0)
