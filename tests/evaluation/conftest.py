"""A tiny pair and the table's bench."""

from dataclasses import replace

import pytest

from common.collaboration.compatibility import default_settings
from common.evaluation.pair import Pair
from common.evaluation.quality import Bench
from tests.evaluation.quality_bench import FakeJudge
from tests.tiny import tiny_model, tiny_vocabulary


@pytest.fixture(scope="module")
def pair():
    vocabulary = tiny_vocabulary()
    return Pair(tiny_model(vocabulary, seed=1), tiny_model(vocabulary, seed=2), vocabulary)


@pytest.fixture
def bench(pair):
    terms = replace(default_settings(pair.goliath.config), steps=3, weight=0.5)
    return Bench(pair, FakeJudge(), terms, seed=5, contrast=1.0, batch=4)
