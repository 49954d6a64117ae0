"""David's part in a session: what of a question is refused before it begins."""

from typing import Any

import pytest

from common.collaboration.contributor import Contributor
from common.errors import BadDataError, UsageError
from tests.serving import DAVID, question


def contributor(**asked: Any) -> Contributor:
    return question(**asked).contributor(DAVID.predictor.predict)


def test_contrast_without_a_context_is_refused() -> None:
    with pytest.raises(UsageError, match="contrast"):
        contributor(contrast=0.5)
    contributor(contrast=0.5, context="add salt.")


def test_texts_too_long_for_david_are_refused() -> None:
    with pytest.raises(BadDataError, match="256 positions"):
        contributor(context="salt " * 300)
