"""Cross-entropy along the path of the true text."""

import numpy as np
import pytest

from common.collaboration.opening import plan_for
from common.collaboration.settings import Codec
from common.collaboration.timing import Every
from common.errors import UsageError
from common.evaluation.generation import question_seed
from common.evaluation.pair import Pair
from common.evaluation.path import path_loss
from common.processes.simplex import conditioning
from common.processes.simplex.settings import SelfConditioning
from common.text.templates import asked
from tests.evaluation.quality_bench import terms
from tests.tiny import QUESTIONS, predict, tiny_model, tiny_vocabulary, view_at


@pytest.fixture(scope="module")
def pair():
    vocabulary = tiny_vocabulary()
    return Pair(tiny_model(vocabulary, seed=1), tiny_model(vocabulary, seed=2), vocabulary)


@pytest.fixture(scope="module")
def along(pair):
    def measured(questions=QUESTIONS[:2], **changes):
        return path_loss(pair, questions, **terms(pair, steps=5, **changes), seed=3)

    return measured


def by_hand(pair, model, question):
    """Mean loss of one model along the path, from its own predictions."""
    settings = terms(pair, steps=5, seed=question_seed(3, question), max_tokens=16)["settings"]
    plan = plan_for(pair.models[0], settings, messages=asked(question.instruction))
    ids = pair.vocabulary.encode(question.response).ids[:16]
    condition, losses = None, []
    target = np.array([*ids, *[pair.vocabulary.end] * (16 - len(ids))])
    for step in range(settings.steps):
        estimate = target[:, None] if step else np.empty((16, 0), np.int64)
        state = plan.process.state(0, step, estimate)
        logits = predict(model, [view_at(state, plan.prompt, condition=condition)])
        condition = conditioning.from_logits(logits)
        chosen = logits[0, : len(ids)].log_softmax(-1)[range(len(ids)), ids]
        losses.append(-chosen.mean().item())
    return sum(losses) / len(losses), len(ids)


def test_without_contributions_it_is_goliath_along_the_truth(pair, along):
    nats, tokens = by_hand(pair, pair.goliath, QUESTIONS[0])
    found = along(QUESTIONS[:1], weight=0.0)
    assert found.nats == pytest.approx(nats, abs=1e-5)
    assert found.tokens == tokens


def test_at_full_weight_it_is_david_along_the_truth(pair, along):
    nats, _ = by_hand(pair, pair.david, QUESTIONS[0])
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
