"""Cross-entropy along the path of the true text."""

from dataclasses import replace

import pytest
import torch
from common.collaboration.plan import plan_for

from common.collaboration.compatibility import default_settings
from common.collaboration.contribution import Codec
from common.collaboration.timing import Every
from common.denoising.loop import Predict
from common.errors import UsageError
from common.evaluation.generation import question_seed
from common.evaluation.pair import Pair
from common.evaluation.path import _state, path_loss
from common.models.simplex_lm import predict
from common.processes.simplex import conditioning
from common.processes.simplex.settings import SelfConditioning
from tests.tiny import QUESTIONS, tiny_model, tiny_vocabulary


@pytest.fixture(scope="module")
def pair():
    vocabulary = tiny_vocabulary()
    return Pair(tiny_model(vocabulary, seed=1), tiny_model(vocabulary, seed=2), vocabulary)


@pytest.fixture(scope="module")
def along(pair):
    terms = replace(default_settings(pair.goliath.config), steps=5)

    def measured(questions=QUESTIONS[:2], **changes):
        return path_loss(pair, questions, settings=replace(terms, **changes), seed=3)

    measured.terms = terms
    return measured


def by_hand(pair, model, terms, question):
    """Mean loss of one model along the path, from its own predictions."""
    terms = replace(terms, seed=question_seed(3, question), max_tokens=16)
    plan = plan_for(pair.goliath.config, pair.vocabulary, terms, prompt=question.instruction)
    ids = pair.vocabulary.encode(question.response).ids[:16]
    condition, losses = None, []
    target = torch.tensor([*ids, *[plan.end] * (16 - len(ids))])
    for step in range(terms.steps):
        request = Predict(
            _state(plan, step, target.numpy()), plan.prefix, (), condition, *([None] * 2)
        )
        logits = predict(model, [request])
        condition = conditioning.from_logits(logits)
        chosen = logits[0, : len(ids)].log_softmax(-1)[range(len(ids)), ids]
        losses.append(-chosen.mean().item())
    return sum(losses) / len(losses), len(ids)


def test_without_contributions_it_is_goliath_along_the_truth(pair, along):
    nats, tokens = by_hand(pair, pair.goliath, along.terms, QUESTIONS[0])
    found = along(QUESTIONS[:1], weight=0.0)
    assert found.nats == pytest.approx(nats, abs=1e-5)
    assert found.tokens == tokens


def test_at_full_weight_it_is_david_along_the_truth(pair, along):
    nats, _ = by_hand(pair, pair.david, along.terms, QUESTIONS[0])
    assert along(QUESTIONS[:1], weight=1.0).nats == pytest.approx(nats, abs=0.01)


def test_the_timing_says_whose_contribution_counts(along):
    ways = ({}, {"lag": 1}, {"lag": 2}, {"every": Every(1, 9, 0)}, {"every": Every(2, 2, 1)})
    losses = [along(weight=0.9, **way).nats for way in ways]
    assert len(set(losses)) == len(ways)
    assert losses[0] == along(weight=0.9, every=Every(1, 1, 0)).nats, "fresh at every step"
    assert losses[0] == along(weight=0.9, temperature=0.3).nats, "a loss has no temperature"
    assert losses[0] == along(weight=0.9, codec=Codec.DENSE).nats, "and reads no floors"


def test_models_that_condition_on_the_sessions_scores_are_refused(along):
    with pytest.raises(UsageError, match="own predictions"):
        along(self_conditioning=SelfConditioning.ESTIMATE)
