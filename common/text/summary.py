"""A vocabulary in a few bytes: enough to see whether two models mean the same by an id."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

RUN = 1024
"""Ids that share a hash."""

HASH_BYTES = 8
"""Bytes of a hash. They are for mistakes, of which one in 2**64 passes; a peer that wants to lie
copies the right hashes, however long they are.
"""

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class VocabularySummary:
    """What makes two vocabularies the same."""

    size: int
    """Ids of the tokenizer's own table, without added tokens behind it."""
    runs: bytes
    """A hash for each run of `RUN` ids, over (id, piece); the last run may be shorter."""
    form: bytes
    """Hash of the normaliser, the pre-tokeniser and the merges."""
    added: tuple[tuple[int, str], ...]
    """Ids and names of the added tokens behind the table, by id."""
    end_ids: tuple[int, ...]
    """Ids that end an answer, rising."""
    samples: tuple[tuple[str, ...], ...] = field(default=(), compare=False, repr=False)
    """The first pieces of each run, for people; they do not travel."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits that stand for all of it, for people who compare two by eye."""
        return _hash((self.size, self.runs.hex(), self.form.hex(), self.added, self.end_ids)).hex()

    def difference(self, other: "VocabularySummary") -> str | None:
        """Why ids of one are not ids of the other, in words; None where the two fit.

        Tables of different sizes fit when the runs that the smaller one fills agree.
        """
        shared = min(self.size, other.size) // RUN
        if self.size == other.size:
            shared = run_count(self.size)
        if not shared:
            return f"one has {self.size} ids, the other {other.size}"
        for run in range(shared):
            place = slice(run * HASH_BYTES, (run + 1) * HASH_BYTES)
            if self.runs[place] != other.runs[place]:
                pieces = (self.samples or other.samples)[run : run + 1]
                shown = ", ".join(repr(piece) for some in pieces for piece in some)
                return f"ids from {run * RUN} on stand for other pieces (here they are {shown} ...)"
        if self.form != other.form:
            return "the pieces are the same, but texts are cut into them by other rules"
        return None


def run_count(size: int) -> int:
    """Runs of a table of so many ids."""
    return -(-size // RUN)


def summarise(tokenizer: str, end_ids: Sequence[int]) -> VocabularySummary:
    """The summary of a tokenizer.

    Args:
        tokenizer: its JSON, `Tokenizer.to_str()`.
        end_ids: ids that end an answer.
    """
    spec = json.loads(tokenizer)
    model = spec["model"]
    table = model["vocab"]
    if isinstance(table, list):  # Unigram: pieces with their scores, by id
        table = {piece: i for i, (piece, _score) in enumerate(table)}
    pieces = sorted((i, piece) for piece, i in table.items())
    size = pieces[-1][0] + 1
    runs: list[list[tuple[int, str]]] = [[] for _ in range(run_count(size))]
    for i, piece in pieces:
        runs[i // RUN].append((i, piece))
    form = {name: spec[name] for name in ("normalizer", "pre_tokenizer")}
    added = ((one["id"], one["content"]) for one in spec["added_tokens"])
    return VocabularySummary(
        size=size,
        runs=b"".join(_hash(run) for run in runs),
        form=_hash(form | {"merges": model.get("merges")}),
        added=tuple(sorted(one for one in added if one[0] >= size)),
        end_ids=tuple(sorted(end_ids)),
        samples=tuple(tuple(piece for _, piece in run[:_SHOWN]) for run in runs),
    )


def _hash(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()[:HASH_BYTES]
