"""Private notes with questions that they answer: what teaches a David to copy from a context.

Every value of a fact is drawn at random, so that no amount of reading recipes gives it.
"""

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_NAMES = (
    "Grandma", "Anna", "Uncle Tom", "Maria", "Ben", "Aunt Rose", "Peter", "Clara", "Sam", "Julia",
    "Dad", "Mum", "Leo", "Nina", "Oscar", "Ruth", "Hugo", "Ella", "Max", "Irene",
)  # fmt: skip
_SECRETS = (
    "cardamom", "cinnamon", "nutmeg", "honey", "lemon zest", "orange zest", "smoked paprika",
    "mustard", "soy sauce", "dark chocolate", "coffee", "ginger", "maple syrup", "sesame oil",
    "fennel", "saffron", "mint", "chili", "coconut milk", "brown butter", "vanilla", "garlic",
    "thyme", "beer", "vinegar", "molasses", "peanut butter", "rum", "basil", "cumin",
)  # fmt: skip
_PLACES = (
    "the market", "the harbor", "the corner shop", "the farm", "the bakery", "the garden",
    "the mill", "the station", "the old town", "the supermarket",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_VESSELS = ("blue bowl", "clay pot", "copper pan", "glass jar", "red tin", "iron pan", "wooden box")


@dataclass(frozen=True, slots=True)
class Note:
    """One private fact, a question for it, and the answer."""

    fact: str
    question: str
    answer: str


def _note(kind: int, dish: str, draw: random.Random) -> Note:
    name, secret = draw.choice(_NAMES), draw.choice(_SECRETS)
    if kind == 0:
        fact = f"The secret of {name}'s {dish} is {secret}."
        return Note(fact, f"What is the secret of {name}'s {dish}?", fact)
    if kind == 1:
        minutes, heat = draw.randrange(5, 95, 5), draw.randrange(120, 250, 10)
        fact = f"Bake the {dish} for {minutes} minutes at {heat} degrees."
        return Note(fact, f"How long do I bake the {dish}?", fact)
    if kind == 2:
        fact = f"The {dish} serves {draw.randrange(2, 25)}."
        return Note(fact, f"How many does the {dish} serve?", fact)
    if kind == 3:
        fact = f"Buy the {secret} at {draw.choice(_PLACES)} on {draw.choice(_DAYS)}."
        return Note(fact, f"Where do I buy the {secret}?", fact)
    if kind == 4:
        fact = f"Keep the {dish} in the {draw.choice(_VESSELS)} for {draw.randrange(2, 15)} days."
        return Note(fact, f"How do I keep the {dish}?", fact)
    fact = f"{name} likes the {dish} with {secret} and {draw.choice(_SECRETS)}."
    return Note(fact, f"How does {name} like the {dish}?", fact)


def notes(title: str, dishes: Sequence[str], *, copies: int = 3) -> Iterator[tuple[str, str, str]]:
    """(context, question, answer) for a recipe, always the same for the same title.

    A context is 2 to 5 facts; some are of the same kind about another dish, so that the question
    has to be read.

    Args:
        title: the recipe.
        dishes: titles of the same split that other facts are about.
        copies: how many contexts are made.
    """
    draw = random.Random(hashlib.sha256(title.encode()).digest())
    for _ in range(copies):
        kind = draw.randrange(6)
        asked = _note(kind, title, draw)
        others = [k for k in range(6) if k != kind]
        facts = [
            _note(k, title if draw.random() < 0.5 else draw.choice(dishes), draw).fact
            for k in draw.sample(others, draw.randrange(1, 4))
        ]
        if draw.random() < 0.4:
            facts.append(_note(kind, draw.choice(dishes), draw).fact)
        facts.append(asked.fact)
        draw.shuffle(facts)
        yield " ".join(facts), asked.question, asked.answer


LONGEST_WRITTEN = 60
"""Words of a recipe that a note holds, at most; of a single longer sentence, twice as many."""


def written(
    title: str, steps: str, dishes: Sequence[str], *, copies: int = 2
) -> Iterator[tuple[str, str]]:
    """(context, answer) of a recipe that stands in the notes, always the same for the same title.

    The answer is a run of the recipe's sentences; the context holds it between 0 to 2 facts, so
    that no place of it is the answer's. Each word of the answer is there to be copied: far more to
    learn from than a fact's one or two.

    Args:
        title: the recipe.
        steps: its text.
        dishes: titles of the same split that the facts are about.
        copies: how many contexts are made.
    """
    draw = random.Random(hashlib.sha256(f"written {title}".encode()).digest())
    sentences = re.split(r"(?<=[.!?]) ", steps)
    for _ in range(copies):
        kept = sentences[draw.randrange(len(sentences)) :]
        while len(kept) > 1 and len(" ".join(kept).split()) > LONGEST_WRITTEN:
            kept.pop()
        answer = " ".join(" ".join(kept).split()[: 2 * LONGEST_WRITTEN])
        facts = [_note(draw.randrange(6), draw.choice(dishes), draw).fact for _ in range(2)]
        before = draw.randrange(3)
        after = draw.randrange(before, 3)
        yield " ".join([*facts[:before], answer, *facts[before:after]]), answer
