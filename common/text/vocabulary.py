"""The seam between text and token ids."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from common.text.detokenising import Printed
from common.text.summary import VocabularySummary

BLANK = "_"
"""Printed in the place of an id below 0, which says that nothing is known yet."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text as ids."""

    ids: tuple[int, ...]
    """Token ids, without template tokens."""
    unknown: tuple[str, ...] = ()
    """The pieces of text that the vocabulary cannot write."""


class Vocabulary(Protocol):
    """Text to token ids and back."""

    @property
    def size(self) -> int:
        """Number of token ids; ids are 0 to size - 1."""

    @property
    def ends(self) -> tuple[int, ...]:
        """Ids that end an answer, at least one; the first is written where one is needed."""

    @property
    def mask(self) -> int:
        """Id that stands for a token that is not known."""

    @property
    def forbidden(self) -> tuple[int, ...]:
        """Ids that an answer must not contain."""

    @property
    def summary(self) -> VocabularySummary:
        """All that makes two vocabularies the same."""

    def encode(self, text: str) -> Encoded:
        """Ids of a text; special tokens in it are text, never control."""

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """The piece of each id, as stored; `BLANK` for an id below 0."""

    def decode(self, ids: Iterable[int]) -> str:
        """Text for reading, cut at the first id that ends an answer."""

    def printed(self, ids: Iterable[int]) -> Printed:
        """The text of `decode`, with the place of each id in it."""
