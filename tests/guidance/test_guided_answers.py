"""What guides do to answers."""

import numpy as np

from common.collaboration.settings import Limits
from common.guidance.choice import GuideChoice
from common.guidance.classifier import SimplexClassifier
from goliath_server.session import Host
from tests.guidance.trained_guides import generate, log_probability, towards
from tests.serving import GOLIATH, embedded, question, serving


def test_answers_are_steered_in_the_eyes_of_another(
    classifier: SimplexClassifier, judge: SimplexClassifier
) -> None:
    seeds = range(5)
    free, turned = [generate(seed, None) for seed in seeds], 0
    for label in (0, 1):
        steered = [generate(seed, towards(classifier, label)) for seed in seeds]
        for model in (classifier, judge):
            before = [log_probability(model, ids, label) for ids in free]
            after = [log_probability(model, ids, label) for ids in steered]
            assert np.mean(after) > np.mean(before)
            assert np.exp(np.mean(after)) > 0.9
            unsure = [(a, b) for a, b in zip(after, before, strict=True) if np.exp(b) < 0.9]
            assert all(a > b for a, b in unsure)
            turned += len(unsure)
    assert turned >= 6


def test_a_stronger_guide_is_surer(classifier: SimplexClassifier) -> None:
    weak, strong = (towards(classifier, 0, strength) for strength in (20.0, 500.0))
    reached = [
        np.mean([log_probability(classifier, generate(seed, guide), 0) for seed in range(4)])
        for guide in (None, weak, strong)
    ]
    assert reached == sorted(reached)
    assert reached[0] < reached[2]


async def test_the_network_changes_nothing(classifier: SimplexClassifier) -> None:
    asked = question(weight=0.5, max_tokens=32, temperature=1.0)
    free = embedded(asked)
    guide = towards(classifier, 1)
    here = embedded(asked, guide)
    assert here.ids != free.ids
    assert here.record()["guide"] == {"model": "guide", "label": "sweet", "strength": 500.0}
    async with serving(guide=guide) as served:
        over = await served.ask(asked)
    assert over.ids == here.ids
    assert over.record()["guide"] is None
    none = towards(classifier, 1, 0.0)
    assert embedded(asked, none).ids == free.ids
    async with serving(guide=none) as served:
        assert (await served.ask(asked)).ids == free.ids


def test_a_guided_server_says_so() -> None:
    for strength, features in ((None, 0), (0.0, 0), (10.0, 1)):
        choice = None if strength is None else GuideChoice("guide", "sweet", strength)
        info = Host(GOLIATH, Limits(), choice).info(software_version="test")
        assert info.features.count("guided") == features
        assert not {"guide", "sweet"} & set(info.features)
