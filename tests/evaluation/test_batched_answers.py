"""Answers in batches are those of the product."""

from dataclasses import replace

import numpy as np
import pytest
from common.collaboration.local import LocalDavid, run_local
from common.collaboration.plan import plan_for

from common.collaboration.codec import reach_of
from common.collaboration.compatibility import default_settings
from common.collaboration.contributor import Contributor, Voicing
from common.errors import BadDataError
from common.evaluation.generation import generate, question_seed
from common.evaluation.pair import Question
from common.processes.simplex.settings import SelfConditioning, draw_of
from tests.evaluation.quality_bench import QUESTIONS


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
