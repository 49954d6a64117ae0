"""David's part in a session: what of a question is refused before it begins."""

from typing import Any

import pytest

from common.collaboration.compatibility import default_settings
from common.collaboration.contributor import Contributor
from common.collaboration.opening import plan_for
from common.errors import BadDataError, UsageError
from tests.serving import DAVID, GOLIATH, mine, question


def contributor(**asked: Any) -> Contributor:
    one = question(**asked)
    settings = one.settings(default_settings(GOLIATH))
    process = plan_for(GOLIATH, settings, messages=one.messages).process
    return one.contributor(DAVID, DAVID.predictor.predict, process, settings, mine())


def test_contrast_without_a_context_is_refused() -> None:
    with pytest.raises(UsageError, match="contrast"):
        contributor(contrast=0.5)
    contributor(contrast=0.5, context="add salt.")


def test_texts_too_long_for_david_are_refused() -> None:
    with pytest.raises(BadDataError, match="256 positions"):
        contributor(context="salt " * 300)
