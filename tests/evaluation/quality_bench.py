"""Questions and a judge for tests of the quality table."""

from common.evaluation.judge import Score
from common.evaluation.pair import Question

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


class FakeJudge:
    """Finds every word equally likely: 2 nats each."""

    def __init__(self):
        self.asked = []

    def score(self, pairs):
        self.asked += pairs
        return [Score(2.0 * len(answer.split()), len(answer.split())) for _, answer in pairs]
