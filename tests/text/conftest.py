"""A small vocabulary."""

import pytest

from common.text.wordpiece import WordPieceVocabulary
from common.training.trim import trim
from tests.text.source import source_tokenizer


@pytest.fixture(scope="module")
def trimmed() -> WordPieceVocabulary:
    return trim(source_tokenizer(), ["the soup cook don add salt hello we"] * 5, 400)
