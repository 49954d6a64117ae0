"""A small vocabulary."""

import pytest

from common.text.vocabulary import Vocabulary
from common.training.trim import trim
from tests.text.source import source_tokenizer


@pytest.fixture(scope="module")
def trimmed() -> Vocabulary:
    return trim(source_tokenizer(), ["the soup cook don add salt hello we"] * 5, 400)
