"""A tiny model."""

import pytest

from tests.tiny import tiny_model, tiny_vocabulary


@pytest.fixture(scope="module")
def model():
    return tiny_model(tiny_vocabulary(), seed=0)
