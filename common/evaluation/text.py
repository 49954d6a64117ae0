"""Measures of text: repetition, distinct runs of words, recall of rare words and of facts.

All of them read a text as lower-case words and marks, so that case and spacing do not count.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

RUN = 4
"""Words of a run: repetition and distinct runs are those of 4-grams."""
RARE_SHARE = 0.05
"""A rare word is in at most this share of the responses of a data file."""
RARE_LETTERS = 4
"""A content word has at least so many letters: a cheap stand-in for a list of stop words."""
FACT_SHARE = 0.1
"""A word of a fact is looked up for at most this share of the questions of a data file: names and
numbers, but not what puts them into a sentence."""

_TOKEN = re.compile(r"\w+|[^\w\s]")


def tokens(text: str) -> list[str]:
    """The words and marks of a text, lower case."""
    return _TOKEN.findall(text.lower())


def runs(words: Sequence[str], length: int = RUN) -> list[tuple[str, ...]]:
    """All runs of `length` neighbours, in order."""
    return list(zip(*(words[start:] for start in range(length)), strict=False))


def repetition(words: Sequence[str], length: int = RUN) -> float:
    """Share of the runs that occur before in the same text; NaN where the text has no run."""
    found = runs(words, length)
    return 1 - len(set(found)) / len(found) if found else float("nan")


def doubled(words: Sequence[str]) -> float:
    """Share of neighbours that are the same word or mark; NaN below two words."""
    pairs = runs(words, 2)
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else float("nan")


def distinct(texts: Iterable[Sequence[str]], limit: int, length: int = RUN) -> float:
    """Share of different runs among the first `limit` runs of many texts, in order.

    The share falls with the amount of text, so that only shares of the same `limit` compare; see
    `count_runs`. NaN where there is no run.
    """
    found = [run for words in texts for run in runs(words, length)][:limit]
    return len(set(found)) / len(found) if found else float("nan")


def count_runs(texts: Iterable[Sequence[str]], length: int = RUN) -> int:
    """How many runs the texts have, repeats included."""
    return sum(max(len(words) - length + 1, 0) for words in texts)


def shuffled(text: str, rng: np.random.Generator) -> str:
    """The words of a text in random order; marks stay with the word that they are written to."""
    words = text.split()
    return " ".join(words[i] for i in rng.permutation(len(words)))


def content_words(text: str) -> set[str]:
    """The words of letters alone that are long enough to carry meaning."""
    return {word for word in tokens(text) if word.isalpha() and len(word) >= RARE_LETTERS}


def common_words(responses: Sequence[str], share: float = RARE_SHARE) -> set[str]:
    """The content words that are in more than `share` of the responses, and in more than one."""
    return _frequent([content_words(response) for response in responses], share)


def _frequent(texts: Sequence[set[str]], share: float) -> set[str]:
    counts = Counter(word for words in texts for word in words)
    most = max(1.0, share * len(texts))
    return {word for word, count in counts.items() if count > most}


def rare_words(question: str, response: str, common: set[str]) -> set[str]:
    """What an answer should know: content words of the response that are not common and that the
    question does not say, since to repeat those is no knowledge.
    """
    return content_words(response) - common - content_words(question)


def words_and_numbers(text: str) -> set[str]:
    """The tokens that are no marks, however short."""
    return {word for word in tokens(text) if word.isalnum()}


def facts(records: Sequence[tuple[str, str, str]], share: float = FACT_SHARE) -> list[set[str]]:
    """What each answer must have from its context: the words and numbers of the response that are
    in the context and not in the question, but for those that it is so with in more than `share`
    of the records, and in more than one.

    Args:
        records: (question, context, response) of all records of a file that have a context.
        share: of the records, in (0, 1].

    Returns:
        A set for each record; empty where the question says it all.
    """
    found = [
        words_and_numbers(response) & words_and_numbers(context) - words_and_numbers(question)
        for question, context, response in records
    ]
    common = _frequent(found, share)
    return [words - common for words in found]


def recall(answers: Sequence[str], wanted: Sequence[set[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Share of each question's wanted words that its answer contains, and the control.

    The control is the same share of the wanted words of another question, averaged over all others:
    what an answer gets right without knowing its question.

    Args:
        answers: one text a question.
        wanted: `rare_words` or `facts` of each question; empty ones are left out (NaN).

    Returns:
        (questions,) float64 recall, and (questions,) float64 control of each answer.
    """
    listed = sorted(set().union(*wanted)) if wanted else []
    place = {word: column for column, word in enumerate(listed)}
    said = np.zeros((len(answers), len(listed)), np.float32)
    asked = np.zeros_like(said)
    for row, (answer, words) in enumerate(zip(answers, wanted, strict=True)):
        said[row, [place[word] for word in tokens(answer) if word in place]] = 1
        asked[row, [place[word] for word in words]] = 1
    sizes = asked.sum(1).astype(np.float64)
    known = np.flatnonzero(sizes)
    shares = np.full((len(answers), len(answers)), np.nan)
    shares[:, known] = (said @ asked[known].T) / sizes[known]
    own = np.diagonal(shares).copy()
    others = np.nansum(shares, axis=1) - np.nan_to_num(own)
    count = len(known) - (sizes > 0)
    control = np.divide(others, count, out=np.full(len(answers), np.nan), where=count > 0)
    return own, control
