"""Word pieces to printed text, and where in it each piece stands."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NO_SPACE_BEFORE = set(".,;:!?%)]}°")
_NO_SPACE_AFTER = set("([{$£€#")
_TIGHT = {"-", "/"}
_ENDINGS = {"s", "t", "m", "d", "re", "ve", "ll"}
"""What follows the apostrophe of a contraction or a possessive."""
_ELIDED = {"o", "d", "l", "y"}
"""What an apostrophe joins to the word after it: o'clock, d'oeuvre, l'orange, y'all."""
_DOMAINS = {"com", "org", "net", "edu", "gov"}
_LOWER_CASE = {"e.g.", "i.e.", "a.m.", "p.m."}
_NO_SENTENCE_END = re.compile(r"(?:\b(?:[A-Za-z]\.){2,}|\b(?:vs|oz|tsp|tbsp|lbs?|approx)\.)$")
_INITIALS = re.compile(r"\b(?:[a-z]\.){2,}")
_SENTENCE = re.compile(r"(?:^|(?<=[.!?])\s+|(?<=[.!?]\))\s+)[\"'(]*[a-z]")


@dataclass(frozen=True, slots=True)
class Printed:
    """A text for reading, and its pieces in it."""

    text: str
    spans: tuple[tuple[int, int], ...]
    """Where each piece begins and ends, in characters; the spaces between belong to none."""
    words: tuple[int, ...]
    """The number of the word that each piece is part of; a punctuation mark is a word."""


def for_reading(pieces: Sequence[str]) -> str:
    """Join word pieces with the spacing of printed text, and begin sentences with capitals.

    Case and accents are not in the vocabulary: proper names stay lower case but for "I", initials
    and the beginnings of sentences. Dashes are set tight: the vocabulary has one piece for them and
    for hyphens.
    """
    return printed(pieces).text


def printed(pieces: Sequence[str]) -> Printed:
    """The text of `for_reading`, with the place of each piece."""
    words: list[str] = []
    inside: list[tuple[int, int, int]] = []
    """Of each piece: its word, and where in it the piece begins and ends."""
    for piece in pieces:
        part = piece.removeprefix("##")
        if part != piece and words:
            words[-1] += part
        else:
            words.append(part)
        inside.append((len(words) - 1, len(words[-1]) - len(part), len(words[-1])))
    text, places = _spaced(words)
    spans = tuple((places[word] + begin, places[word] + end) for word, begin, end in inside)
    return Printed(_capitals(text), spans, tuple(word for word, _, _ in inside))


def _spaced(words: Sequence[str]) -> tuple[str, list[int]]:
    """The words with the spaces of printed text, and where each begins."""
    text, glue_next = "", True
    places: list[int] = []
    open_quotes: set[str] = set()
    for i, word in enumerate(words):
        before, after = words[i - 1] if i else "", words[i + 1] if i + 1 < len(words) else ""
        glue = glue_next or word in _NO_SPACE_BEFORE or word in _TIGHT or _is_joined(words, i)
        glue_next = word in _NO_SPACE_AFTER or word in _TIGHT
        if word == "'" and before.isalnum() and (after in _ENDINGS or before in _ELIDED):
            glue = glue_next = True
        elif word == "'" and before.endswith("s") and word not in open_quotes:
            glue = True
        elif word in {'"', "'"}:
            closes = word in open_quotes
            open_quotes ^= {word}
            glue, glue_next = glue or closes, not closes
        text += word if glue else f" {word}"
        places.append(len(text) - len(word))
    return text, places


def _is_joined(words: Sequence[str], i: int) -> bool:
    """Whether a word belongs to the mark before it: in numbers, times, initials and addresses."""
    if i < 2:
        return False
    first, mark, word = words[i - 2 : i + 1]
    if first.isdigit() and word[:1].isdigit():
        digits = len(word) - len(word.lstrip("0123456789"))
        thousands = mark == "," and digits == 3 and len(first) <= 3
        # A year at the end of a sentence is likelier than four digits before a decimal point.
        decimals = mark == "." and len(first) <= 3
        return thousands or decimals or (mark == ":" and digits == 2)
    if mark == ".":
        ends = i + 1 < len(words) and words[i + 1] == "."
        initials = len(first) == len(word) == 1 and first.isalpha() and word.isalpha() and ends
        return initials or word in _DOMAINS or first == "www"
    return False


def _capitals(text: str) -> str:
    """Capitals where print has them; the length stays, since only ASCII letters change."""

    def initials(match: re.Match[str]) -> str:
        return match[0] if match[0] in _LOWER_CASE else match[0].upper()

    def sentence(match: re.Match[str]) -> str:
        goes_on = _NO_SENTENCE_END.search(match.string[: match.start()])
        return match[0] if goes_on else match[0][:-1] + match[0][-1].upper()

    text = _INITIALS.sub(initials, text)
    text = re.sub(r"\bi\b(?!\.[a-z])", "I", text)
    text = re.sub(r"°[cf]\b", lambda m: m[0].upper(), text)
    text = re.sub(r"\b(?:mr|mrs|ms|dr)\.", lambda m: m[0].capitalize(), text)
    return _SENTENCE.sub(sentence, text)
