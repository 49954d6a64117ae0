"""The tokenizer that a pair shares, its hashes, and the template that puts prompt and context
before a block.

Template v1: `[CLS] ([CONTEXT] context [SEP])? prompt [SEP] finished blocks`, then the block, then
`(suffix [SEP])?`. [END] ends an answer and fills the block after it.
"""

import functools
import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from common.errors import BadModelError
from common.text.detokenising import Printed, printed
from common.text.summary import VocabularySummary, summarise
from common.text.vocabulary import BLANK, Encoded

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


class WordPieceVocabulary:
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
    def load(cls, folder: Path) -> "WordPieceVocabulary":
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
            raise BadModelError(
                f"{path} is not a tokenizer file", remedy="Copy the folder again"
            ) from error

    def save(self, folder: Path) -> None:
        """Write tokenizer.json into a model folder."""
        spec = self._tokenizer.to_str(pretty=True)
        (folder / TOKENIZER_FILE).write_text(spec, encoding="utf-8", newline="\n")

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 (32 bytes) of the canonical (id -> piece, normaliser, pre-tokeniser, special
        ids): `tokenizer_sha256` of a model's config.json.
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

    @functools.cached_property
    def summary(self) -> VocabularySummary:
        """What a peer compares with its own vocabulary."""
        return summarise(self._tokenizer.to_str(), self.ends)

    @property
    def ends(self) -> tuple[int, ...]:
        """Ids that end an answer."""
        return (self.end,)

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
        piece = self._tokenizer.id_to_token
        return [BLANK if i < 0 else piece(int(i)) or SPECIAL[1] for i in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """Text for reading: cut at the first [END], spacing round punctuation and sentence case
        restored.
        """
        return self.printed(ids).text

    def printed(self, ids: Iterable[int]) -> Printed:
        """The text of `decode`, with the place of each id before the first [END]."""
        kept = itertools.takewhile(lambda i: i != self.end, ids)
        return printed(self.pieces(kept))
