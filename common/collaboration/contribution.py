"""What a David returns for one step: rows of logits, dense or sparse, and more when asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from common.collaboration.settings import Codec

LOWEST = -30000.0
"""Values of rows are clamped here from below: fp16 holds it, and it stays finite in every sum."""


@dataclass(frozen=True, slots=True, eq=False)
class Contribution:
    """The encoded rows of one contributor for one step: one for each open position, in order."""

    block: int
    step: int
    codec: Codec
    counts: np.ndarray
    """(rows,) int32 entries of each row; dense: the vocabulary size; 0 for a row of strength 0."""
    ids: np.ndarray
    """(sum counts,) int32 token ids, unique within a row; dense: empty."""
    values: np.ndarray
    """(sum counts,) float16, at most 0; the maximum of each row is 0."""
    floors: np.ndarray
    """(rows,) float16, at most the smallest sent value of the row; dense: empty."""
    log_mass: np.ndarray
    """(rows,) float32, logsumexp of the row after its maximum was subtracted."""
    strengths: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))
    """(rows,) uint8, what each row is worth by the contributor's own judgement, in 255ths of its
    weight; empty when all are 255.
    """


def for_open(contribution: Contribution, was: np.ndarray, now: np.ndarray) -> Contribution:
    """A contribution to one step as one to another step of the block: rows of positions that are
    not open any more are dropped, and a position without a row has one of strength 0.

    Args:
        contribution: rows for the positions `was`.
        was: (rows,) int64 positions, rising.
        now: (open,) int64 positions of the other step, rising.
    """
    if np.array_equal(was, now):
        return contribution
    kept = np.isin(was, now)
    entries, places = np.repeat(kept, contribution.counts), np.searchsorted(now, was[kept])

    def placed(column: np.ndarray) -> np.ndarray:
        rows = np.zeros(len(now), column.dtype)
        rows[places] = column[kept]
        return rows

    stated, dense = len(contribution.strengths) > 0, contribution.codec is Codec.DENSE
    strengths = contribution.strengths if stated else np.full(len(was), 255, np.uint8)
    return replace(
        contribution,
        counts=placed(contribution.counts),
        ids=contribution.ids if dense else contribution.ids[entries],
        values=contribution.values[entries],
        floors=contribution.floors if dense else placed(contribution.floors),
        log_mass=placed(contribution.log_mass),
        strengths=placed(strengths),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """Asks one contributor for entries that a contribution left out."""

    block: int
    step: int
    positions: np.ndarray
    """(asked,) int32, which rows of the contribution, rising."""
    counts: np.ndarray
    """(asked,) int32 ids asked for at each of them, at least 1."""
    ids: np.ndarray
    """(sum counts,) int32 token ids, unique at a position."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The entries that an `Ask` asked for."""

    block: int
    step: int
    values: np.ndarray
    """(ids asked for,) float16, in the order of the `Ask`."""


@dataclass(slots=True)
class Tally:
    """What certification came to, over the steps of a session."""

    uncertified: int = 0
    """Positions where entries that were not sent could have mattered."""
    asks: int = 0
    """Asks to a David."""
    asked_ids: int = 0
    """Ids in them."""
    asked_positions: int = 0
    """Positions in them."""

    @property
    def doubted(self) -> int:
        """Most positions that were not certified at once: those asked about, and those left."""
        return self.asked_positions + self.uncertified

    def count(self, ask: Ask) -> None:
        """Count an ask."""
        self.asks += 1
        self.asked_ids += len(ask.ids)
        self.asked_positions += len(ask.positions)


def entries_at(rows: Mapping[int, int], share: float) -> int:
    """The number of entries that this share of rows does not pass: 0.5 is their median.

    Args:
        rows: how many rows have how many entries; at least one.
        share: in (0, 1].
    """
    wanted, seen = share * sum(rows.values()), 0
    for entries in sorted(rows):
        seen += rows[entries]
        if seen >= wanted:
            break
    return entries
