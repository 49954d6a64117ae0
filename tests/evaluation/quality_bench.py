"""Questions and a judge for tests of the quality table."""

from typing import Any

from common.collaboration.compatibility import default_settings
from common.collaboration.settings import ContributorSettings, Requested
from common.evaluation.judge import Score
from common.evaluation.pair import Pair, Question

QUESTIONS = [
    Question(f"how do i make {a} {b}?", "", f"stir the {a}, add {b} to it. heat {c} until hot.")
    for a, b, c in zip(
        ("soup", "cake", "bread", "sugar", "butter", "milk"),
        ("salt", "egg", "oil", "water", "flour", "salt"),
        ("bowl", "oven", "minutes", "pan", "pot", "sugar"),
        strict=True,
    )
]
RUN = {"weight": 0.5}


def terms(pair: Pair, **requested: Any) -> dict[str, Any]:
    """The session's settings and David's, as arguments of what takes both."""
    asked = Requested(requested)
    return {
        "settings": asked.session(default_settings(pair.models[0])),
        "mine": asked.contributor(ContributorSettings()),
    }


class FakeJudge:
    """Finds every word equally likely: 2 nats each."""

    def __init__(self):
        self.asked = []

    def score(self, pairs):
        self.asked += pairs
        return [Score(2.0 * len(answer.split()), len(answer.split())) for _, answer in pairs]
