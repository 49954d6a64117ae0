"""The tokenizer that a pair shares, its fingerprint, and the template that puts prompt and context
before a block.

Template v1: `[CLS] ([CONTEXT] context [SEP])? prompt [SEP] finished blocks`, then the block, then
`(suffix [SEP])?`. [END] ends an answer and fills the block after it.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from common.errors import BadModelError

TOKENIZER_FILE = "tokenizer.json"
TEMPLATE = "v1"
SPECIAL = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "[END]",
    "[CONTEXT]",
    "[GAP]",
    "[TURN]",
    *(f"[unused{i}]" for i in range(7)),
)
"""Ids 0 to 15, in this order. [GAP], [TURN] and the unused ones are kept for later templates."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text as ids."""

    ids: tuple[int, ...]
    """Token ids, without template tokens."""
    unknown: tuple[str, ...]
    """The pieces of text that the vocabulary cannot write; each became [UNK]."""


class Vocabulary:
    """Text to ids and back, for one pair."""

    def __init__(self, tokenizer: Tokenizer):
        """Wrap a loaded tokenizer; template tokens in user text are text, never control."""
        self._tokenizer = tokenizer
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        missing = [piece for i, piece in enumerate(SPECIAL) if tokenizer.token_to_id(piece) != i]
        if missing:
            raise BadModelError(
                f"expected the template token {missing[0]} as id {SPECIAL.index(missing[0])} in "
                f"{TOKENIZER_FILE}; it is elsewhere or missing",
                remedy="Use a tokenizer made by this project",
            )
        self.pad, self.unk, self.cls, self.sep, self.mask, self.end, self.context = range(7)
        self.size = tokenizer.get_vocab_size()

    @classmethod
    def load(cls, folder: Path) -> "Vocabulary":
        """Read tokenizer.json from a model folder."""
        path = folder / TOKENIZER_FILE
        if not path.is_file():
            raise BadModelError(
                f"expected {TOKENIZER_FILE} in {folder}; found none",
                remedy="Give a folder with a trained model",
            )
        try:
            return cls(Tokenizer.from_file(str(path)))
        except BadModelError:
            raise
        except Exception as error:  # tokenizers raises bare Exception
            raise BadModelError(f"{path} is not a tokenizer file: {error}") from error

    def save(self, folder: Path) -> None:
        """Write tokenizer.json into a model folder."""
        self._tokenizer.save(str(folder / TOKENIZER_FILE))

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 (32 bytes) of the canonical (id -> piece, normaliser, pre-tokeniser, special
        ids).
        """
        spec = json.loads(self._tokenizer.to_str())
        pieces = sorted(self._tokenizer.get_vocab().items(), key=lambda item: item[1])
        canonical = {
            "pieces": [[i, piece] for piece, i in pieces],
            "normalizer": spec["normalizer"],
            "pre_tokenizer": spec["pre_tokenizer"],
            "special": list(SPECIAL),
            "template": TEMPLATE,
        }
        text = json.dumps(canonical, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).digest()

    @property
    def forbidden(self) -> tuple[int, ...]:
        """Ids that an answer must not contain: every template token but [END]."""
        return tuple(i for i in range(len(SPECIAL)) if i != self.end)

    def encode(self, text: str) -> Encoded:
        """Ids of a text, and what could not be written."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        unknown = tuple(
            text[a:b]
            for i, (a, b) in zip(encoding.ids, encoding.offsets, strict=True)
            if i == self.unk
        )
        return Encoded(tuple(encoding.ids), unknown)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts."""
        return [e.ids for e in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def prompt_ids(self, prompt: Sequence[int], context: Sequence[int] = ()) -> tuple[int, ...]:
        """What stands before the answer, by the template."""
        before = (self.context, *context, self.sep) if context else ()
        return (self.cls, *before, *prompt, self.sep)

    def suffix_ids(self, suffix: Sequence[int]) -> tuple[int, ...]:
        """What stands after the block, by the template; nothing for no suffix."""
        return (*suffix, self.sep) if suffix else ()

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """The piece of each id, as stored (a continuation begins with ##)."""
        return [self._tokenizer.id_to_token(int(i)) or SPECIAL[1] for i in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """Text for reading: cut at the first [END], spacing round punctuation and sentence case
        restored.
        """
        kept: list[int] = []
        for i in ids:
            if i == self.end:
                break
            kept.append(int(i))
        return for_reading(self.pieces(kept))


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


def for_reading(pieces: Sequence[str]) -> str:
    """Join word pieces with the spacing of printed text, and begin sentences with capitals.

    Case and accents are not in the vocabulary: proper names stay lower case but for "I", initials
    and the beginnings of sentences. Dashes are set tight: the vocabulary has one piece for them and
    for hyphens.
    """
    words: list[str] = []
    for piece in pieces:
        if piece.startswith("##") and words:
            words[-1] += piece[2:]
        else:
            words.append(piece.removeprefix("##"))
    text, glue_next = "", True
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
    return _capitals(text)


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
