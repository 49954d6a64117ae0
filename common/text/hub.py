"""The vocabulary of a model from the hub: any tokenizer that transformers reads from
tokenizer.json.
"""

import bisect
import functools
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from common.errors import BadModelError
from common.text.detokenising import Printed
from common.text.summary import VocabularySummary, summarise
from common.text.vocabulary import BLANK, Encoded
from common.text.wordpiece import TOKENIZER_FILE

GENERATION_FILE = "generation_config.json"
_HALF = "\ufffd"
"""What a decoder writes in the place of a character of which bytes are missing."""
_WORD = re.compile(r"\w+|[^\w\s]")


class HubVocabulary:
    """Text to ids and back, by a tokenizer of any kind."""

    def __init__(self, tokenizer: Any, ends: Sequence[int]) -> None:
        """Wrap a tokenizer.

        Args:
            tokenizer: a `transformers.PreTrainedTokenizerFast`.
            ends: ids that end an answer, at least one.
        """
        self.tokenizer = tokenizer
        self.ends = tuple(ends)
        self._ids = frozenset(tokenizer.get_vocab().values())
        self.size = max(self._ids) + 1

    @classmethod
    def load(cls, folder: Path) -> "HubVocabulary":
        """Read a model folder: its tokenizer, and which ids end an answer.

        Raises:
            BadModelError: a file is missing or damaged, or no id ends an answer.
        """
        from transformers import PreTrainedTokenizerFast

        if not (folder / TOKENIZER_FILE).is_file():
            raise BadModelError(
                f"expected {TOKENIZER_FILE} in {folder}; found none",
                remedy="Give a model with a fast tokenizer",
            )
        ends: list[Any] = []
        try:
            tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
            if (folder / GENERATION_FILE).is_file():
                named = json.loads((folder / GENERATION_FILE).read_text(encoding="utf-8"))
                ends = _flat(named.get("eos_token_id"))
            known = set(tokenizer.get_vocab().values())
            ends = [i for i in dict.fromkeys([*ends, tokenizer.eos_token_id]) if i in known]
        except Exception as error:  # tokenizers raises bare Exception, the others each their own
            raise BadModelError(
                f"the tokenizer in {folder} cannot be read: a file of it is damaged",
                remedy="Copy the folder again",
            ) from error
        ends = ends or _flat(tokenizer.sep_token_id)
        if not ends:
            raise BadModelError(
                f"expected a token that ends an answer in {folder}; its tokenizer has none",
                remedy=f"Name one as eos_token_id in {GENERATION_FILE}",
            )
        return cls(tokenizer, ends)

    @property
    def mask(self) -> int:
        """Id that stands for a token that is not known.

        Raises:
            BadModelError: there is none.
        """
        if self.tokenizer.mask_token_id is None:
            raise BadModelError(
                "expected a tokenizer with a mask token; this one has none",
                remedy="Use a masked language model, or name the mask_token of its tokenizer",
            )
        return int(self.tokenizer.mask_token_id)

    @functools.cached_property
    def forbidden(self) -> tuple[int, ...]:
        """Ids that an answer must not contain: special tokens but the ends, and ids of nothing."""
        added = self.tokenizer.added_tokens_decoder
        special = {i for i, token in added.items() if token.special}
        barred = special.union(self.tokenizer.all_special_ids, set(range(self.size)) - self._ids)
        return tuple(sorted(barred.difference(self.ends)))

    @functools.cached_property
    def summary(self) -> VocabularySummary:
        """What a peer compares with its own vocabulary."""
        return summarise(self.tokenizer.backend_tokenizer.to_str(), self.ends)

    def encode(self, text: str) -> Encoded:
        """Ids of a text, and what could not be written; special tokens in it are text."""
        found = self.tokenizer(
            text,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
            verbose=False,
        )
        unknown = tuple(
            text[a:b]
            for i, (a, b) in zip(found["input_ids"], found["offset_mapping"], strict=True)
            if i == self.tokenizer.unk_token_id
        )
        return Encoded(tuple(found["input_ids"]), unknown)

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """The piece of each id, as stored."""
        backend = self.tokenizer.backend_tokenizer
        return [BLANK if i < 0 else backend.id_to_token(int(i)) or _HALF for i in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """Text for reading, cut at the first id that ends an answer."""
        return self.printed(ids).text

    def printed(self, ids: Iterable[int]) -> Printed:
        """The text of `decode`, with the place of each id in it.

        Ids that have but some bytes of a character stand at it together. A character is not shown
        before its last byte is there.
        """
        text, whole = "", ""
        before: list[int] = []
        pending: list[int] = []
        places: list[tuple[int, int]] = []
        for i in itertools.takewhile(lambda i: i not in self.ends, ids):
            begin = len(text) + len(whole)
            if i < 0:
                text, whole, pending = f"{text}{whole} {BLANK}", "", []
                places.append((begin, len(text)))
                continue
            pending.append(int(i))
            # A decoder looks at the id before: at the beginning of a text it leaves spaces out.
            piece = self._text((*before, *pending))[len(self._text(before)) :]
            whole = piece.rstrip(_HALF)
            places.append((begin, max(len(text) + len(whole), begin + (whole != piece))))
            if whole == piece:
                text, whole, before, pending = text + piece, "", pending, []
        text += whole
        starts = [word.start() for word in _WORD.finditer(text)]
        spans = tuple(_shown(text, *place) for place in places)
        words = tuple(max(0, bisect.bisect_right(starts, begin) - 1) for begin, _ in spans)
        return Printed(text, spans, words)

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False)
        return text


def _flat(ids: int | list[int] | None) -> list[int]:
    """The ids of a configuration, which may name one, several or none."""
    if ids is None:
        return []
    return ids if isinstance(ids, list) else [ids]


def _shown(text: str, begin: int, end: int) -> tuple[int, int]:
    """A place without the white space at its ends."""
    part = text[begin:end]
    end = begin + len(part.rstrip())
    return min(end, begin + len(part) - len(part.lstrip())), end
