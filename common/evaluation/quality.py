"""How good is the text? Goliath, David and the pair on held-out questions, beside real and shuffled
text, by a judge's perplexity and by measures that dull or repeated text cannot fool; and how well
David copies from a private context, with contrast and without.

Real text is the reference response, read through the models' vocabulary and cut to the tokens that
an answer may have. Shuffled text is the same words in random order: a bound from below.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from common.collaboration.settings import ContributorSettings, SessionSettings
from common.evaluation import text
from common.evaluation.answers import Answers, Cell, Row
from common.evaluation.generation import BATCH, generate, question_seed
from common.evaluation.judge import Judge
from common.evaluation.pair import Pair, Question
from common.text.wordpiece import WordPieceVocabulary

REFERENCES = ("real", "shuffled")


@dataclass(frozen=True, slots=True)
class Task:
    """Held-out questions under a name."""

    name: str
    questions: tuple[Question, ...]
    """Those that are asked."""
    wanted: tuple[set[str], ...]
    """The rare words of each real answer, as far as it is compared."""
    facts: tuple[set[str], ...]
    """What of each real answer, as far as it is compared, only the context tells; empty where there
    is none."""

    @property
    def private(self) -> bool:
        """Whether any question has a context."""
        return any(question.context for question in self.questions)

    @property
    def keys(self) -> list[str]:
        """What names each question in a file of answers."""
        return [_key(question) for question in self.questions]


@dataclass(frozen=True, slots=True)
class Bench:
    """What all answers of a run share."""

    pair: Pair
    judge: Judge
    settings: SessionSettings
    mine: ContributorSettings
    """David's; the weight is that of the pair."""
    """Settings of every answer; steps, seed and, for the systems alone, weight are set for each."""
    seed: int
    contrast: float
    """The factor of the system `contrast`."""
    batch: int = BATCH


def make_task(
    name: str,
    questions: Sequence[Question],
    vocabulary: WordPieceVocabulary,
    *,
    max_tokens: int,
    limit: int | None = None,
) -> Task:
    """Prepare a file's questions.

    Args:
        name: what the table calls them.
        questions: all records of the file: what is rare, and what is common to all facts, is
            counted over all of them.
        vocabulary: the pair's.
        max_tokens: longest answer; real text is cut to it.
        limit: ask only so many, chosen by hash and so spread over the file.
    """
    common = text.common_words([rendered(q.response, vocabulary) for q in questions])
    facts = _facts(questions, vocabulary, max_tokens)
    chosen = sorted(questions, key=_key)[:limit]
    return Task(
        name,
        tuple(chosen),
        tuple(_wanted(q, vocabulary, common, max_tokens) for q in chosen),
        tuple(facts.get(q, set()) for q in chosen),
    )


def _wanted(
    question: Question, vocabulary: WordPieceVocabulary, common: set[str], max_tokens: int
) -> set[str]:
    asked, whole = (rendered(t, vocabulary) for t in (question.instruction, question.response))
    begun = rendered(question.response, vocabulary, max_tokens)
    # The cut can go through a word, and nobody can know the half of one.
    return text.rare_words(asked, begun, common) & text.content_words(whole)


def _facts(
    questions: Sequence[Question], vocabulary: WordPieceVocabulary, max_tokens: int
) -> dict[Question, set[str]]:
    """What the answer to each question that has a context should have from it."""

    def read(question: Question) -> tuple[str, str, str]:
        parts = (question.instruction, question.context, question.response)
        asked, context, response = (rendered(words, vocabulary) for words in parts)
        return asked, context, response

    private = [question for question in questions if question.context]
    found = zip(private, text.facts([read(q) for q in private]), strict=True)
    return {
        q: facts & text.words_and_numbers(rendered(q.response, vocabulary, max_tokens))
        for q, facts in found
    }


def rendered(words: str, vocabulary: WordPieceVocabulary, limit: int | None = None) -> str:
    """A text as a model would have written it: cut to `limit` tokens, without what the vocabulary
    cannot write.
    """
    ids = [i for i in vocabulary.encode(words).ids if i != vocabulary.unk]
    return vocabulary.decode(ids[:limit])


def cells(task: Task, systems: Sequence[str], steps: Sequence[int]) -> Iterator[Cell]:
    """The lines of the table for one task, references first; no contrast without any context."""
    asked = [system for system in systems if task.private or system != "contrast"]
    yield from (Cell(task.name, reference, 0) for reference in REFERENCES)
    yield from (Cell(task.name, system, count) for count in steps for system in asked)


def fill(
    bench: Bench,
    task: Task,
    cell: Cell,
    answers: Answers,
    *,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[Row]:
    """All rows of a cell in question order; those that are missing are made, and kept at once.

    Args:
        bench: models, judge and settings.
        task: the questions.
        cell: the line of the table.
        answers: rows that are there already; gets the new ones.
        progress: called with (answers there, answers in all).

    Raises:
        BadDataError: a question does not fit a model.
    """
    keys = task.keys
    missing = [i for i, key in enumerate(keys) if answers.get(cell, key) is None]
    for start in range(0, len(missing), bench.batch):
        chunk = missing[start : start + bench.batch]
        progress(len(keys) - len(missing) + start, len(keys))
        questions = [task.questions[i] for i in chunk]
        texts = _texts(bench, cell, questions)
        pairs = [(q.instruction, text) for q, text in zip(questions, texts, strict=True)]
        scores = bench.judge.score(pairs)
        answers.add(
            Row(cell.data, cell.system, cell.steps, keys[i], words, score.nats, score.tokens)
            for i, words, score in zip(chunk, texts, scores, strict=True)
        )
    progress(len(keys), len(keys))
    rows = [answers.get(cell, key) for key in keys]
    return [row for row in rows if row is not None]


def _texts(bench: Bench, cell: Cell, questions: Sequence[Question]) -> list[str]:
    vocabulary, settings = bench.pair.vocabulary, bench.settings
    if cell.system in REFERENCES:
        real = [rendered(q.response, vocabulary, settings.max_tokens) for q in questions]
        if cell.system == "real":
            return real
        seeds = [question_seed(bench.seed, question) for question in questions]
        return [
            text.shuffled(words, np.random.default_rng(seed))
            for words, seed in zip(real, seeds, strict=True)
        ]
    weight = {"goliath": 0.0, "david": 1.0}.get(cell.system, bench.mine.weight)
    results = generate(
        bench.pair,
        questions,
        settings=replace(settings, steps=cell.steps),
        mine=replace(bench.mine, weight=weight),
        seed=bench.seed,
        contrast=bench.contrast if cell.system == "contrast" else 0.0,
        batch=bench.batch,
    )
    return [vocabulary.decode(result.ids) for result in results]


def _key(question: Question) -> str:
    parts = "\n".join((question.instruction, question.context, question.response))
    return hashlib.sha256(parts.encode()).hexdigest()[:16]
