"""A tiny pair and the table's bench."""

import pytest

from common.evaluation.pair import Pair
from common.evaluation.quality import Bench
from tests.evaluation.quality_bench import FakeJudge, terms
from tests.tiny import tiny_model, tiny_vocabulary


@pytest.fixture(scope="module")
def pair():
    vocabulary = tiny_vocabulary()
    return Pair(tiny_model(vocabulary, seed=1), tiny_model(vocabulary, seed=2), vocabulary)


@pytest.fixture
def bench(pair):
    agreed = terms(pair, steps=3, weight=0.5)
    return Bench(pair, FakeJudge(), **agreed, seed=5, contrast=1.0, batch=4)
