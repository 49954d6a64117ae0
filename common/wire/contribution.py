"""Contributions, asks and answers between dataclasses and protobuf, and the joining of parts."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from common.collaboration.contribution import LOWEST, Answer, Ask, Contribution
from common.collaboration.settings import Codec, ContributorSettings
from common.errors import LimitExceededError
from common.pb import collaboration_pb2 as pb
from common.wire.checks import (
    choice,
    id_bits,
    ids_from_bytes,
    ids_to_bytes,
    integer,
    length,
    numbers_from_bytes,
    refuse,
    unique_in_rows,
)
from common.wire.frames import ContributionChunk, Opened
from common.wire.settings import ENUMS
from common.wire.states import moment

_FRAME_OVERHEAD = 256
"""Bytes of a part beside its arrays: field tags, lengths and small numbers."""

_MASS_SLACK = 1e-3
"""How far rounding may carry a log mass out of [0, log vocabulary]."""


def split_contribution(
    contribution: Contribution, *, vocabulary_size: int, max_message_bytes: int
) -> Iterator[ContributionChunk]:
    """The parts of a contribution, each small enough for one message.

    Raises:
        LimitExceededError: One row alone is too large for a message.
    """
    counts = contribution.counts
    ends = np.cumsum(counts, dtype=np.int64)
    topk = contribution.codec is Codec.TOPK
    sizes = counts.astype(np.int64) * 2 + (8 if topk else 4) + (len(contribution.strengths) > 0)
    if topk:
        sizes += -(-counts.astype(np.int64) * id_bits(vocabulary_size) // 8)
    room = max_message_bytes - _FRAME_OVERHEAD
    if sizes.max(initial=0) > room:
        raise LimitExceededError(
            f"contribution: a row takes {sizes.max()} bytes, a message holds {room}",
            remedy="Use the codec topk, or raise the server's message limit",
        )
    starts = [0]
    used = 0
    for row, size in enumerate(sizes.tolist()):
        if used + size > room:
            starts.append(row)
            used = 0
        used += size
    for index, (start, end) in enumerate(zip(starts, [*starts[1:], len(counts)], strict=True)):
        entries = slice(int(ends[start] - counts[start]), int(ends[end - 1]))
        yield ContributionChunk(
            block=contribution.block,
            step=contribution.step,
            codec=contribution.codec,
            index=index,
            count=len(starts),
            first_row=start,
            counts=counts[start:end],
            # Slices of an array that the codec leaves empty are empty.
            ids=contribution.ids[entries],
            values=contribution.values[entries],
            floors=contribution.floors[start:end],
            log_mass=contribution.log_mass[start:end],
            strengths=contribution.strengths[start:end],
        )


def chunk_to_proto(chunk: ContributionChunk, *, vocabulary_size: int) -> pb.Contribution:
    """The message of one part."""
    topk = chunk.codec is Codec.TOPK
    return pb.Contribution(
        block=chunk.block,
        step=chunk.step,
        codec=ENUMS[Codec][chunk.codec],
        chunk_index=chunk.index,
        chunk_count=chunk.count,
        first_row=chunk.first_row,
        rows=len(chunk.counts),
        counts=chunk.counts.astype("<u2").tobytes() if topk else b"",
        ids=ids_to_bytes("ids", chunk.ids, vocabulary_size=vocabulary_size),
        values=chunk.values.astype("<f2", copy=False).tobytes(),
        floors=chunk.floors.astype("<f2", copy=False).tobytes(),
        log_mass=chunk.log_mass.astype("<f4", copy=False).tobytes(),
        strengths=chunk.strengths.tobytes(),
    )


def chunk_from_proto(
    message: pb.Contribution, opened: Opened, agreed: ContributorSettings
) -> ContributionChunk:
    """One part, checked against what was agreed; that all parts together have a row for each open
    position, a `ContributionAssembler` checks.

    Raises:
        InvalidFrameError: The part breaks the contract.
    """
    block, step = moment(message.block, message.step, opened)
    codec = choice("contribution.codec", message.codec, ENUMS[Codec])
    if codec is not agreed.codec:
        raise refuse("contribution.codec", f"the agreed {agreed.codec}", codec)
    positions = opened.settings.block_length
    count = integer("contribution.chunk_count", message.chunk_count, low=1, high=positions)
    index = integer("contribution.chunk_index", message.chunk_index, low=0, high=count - 1)
    first = integer("contribution.first_row", message.first_row, low=0, high=positions - 1)
    rows = integer("contribution.rows", message.rows, low=1, high=positions - first)
    stated = length("contribution.strengths", message.strengths, rows if message.strengths else 0)
    strengths = np.frombuffer(stated, np.uint8)
    counted = strengths > 0 if stated else np.ones(rows, np.bool_)
    length("contribution.bounds", message.bounds, 0)  # rows of the mode delta are refused at Open
    read = _dense_arrays if codec is Codec.DENSE else _topk_arrays
    counts, ids, values, floors = read(message, counted, opened)
    highest_mass = math.log(opened.vocabulary_size) + _MASS_SLACK
    log_mass = numbers_from_bytes(
        "contribution.log_mass",
        message.log_mass,
        code="<f4",
        count=rows,
        low=-_MASS_SLACK,
        high=highest_mass,
    )
    return ContributionChunk(
        block=block,
        step=step,
        codec=codec,
        index=index,
        count=count,
        first_row=first,
        counts=counts,
        ids=ids,
        values=values,
        floors=floors,
        log_mass=log_mass,
        strengths=strengths,
    )


_Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _dense_arrays(message: pb.Contribution, counted: np.ndarray, opened: Opened) -> _Arrays:
    """Counts, ids, values and floors; `counted` (rows,) bool, which rows have a strength."""
    for name in ("counts", "ids", "floors"):
        length(f"contribution.{name}", getattr(message, name), 0)
    width = opened.vocabulary_size
    values = _values("contribution.values", message.values, int(counted.sum()) * width)
    _check_tops(values.reshape(-1, width).max(axis=1))
    counts = np.where(counted, width, 0).astype(np.int32)
    return counts, np.empty(0, np.int32), values, np.empty(0, np.float16)


def _topk_arrays(message: pb.Contribution, counted: np.ndarray, opened: Opened) -> _Arrays:
    size, rows = opened.vocabulary_size, len(counted)
    counts = numbers_from_bytes(
        "contribution.counts",
        message.counts,
        code="<u2",
        count=rows,
        low=0,
        high=min(opened.limits.max_entries, size),
    ).astype(np.int32)
    if ((counts > 0) != counted).any():
        raise refuse("contribution.counts", "entries in each row with a strength", counts[:16])
    total = int(counts.sum(dtype=np.int64))
    ids = ids_from_bytes("contribution.ids", message.ids, count=total, vocabulary_size=size)
    values = _values("contribution.values", message.values, total)
    floors = _values("contribution.floors", message.floors, rows)
    unique_in_rows("contribution.ids", ids, counts)
    starts = (np.cumsum(counts, dtype=np.int64) - counts)[counted]
    _check_tops(np.maximum.reduceat(values, starts))
    lowest = np.minimum.reduceat(values, starts)
    above = np.flatnonzero(floors[counted] > lowest)
    if above.size:
        row = above[0]
        raise refuse(
            "contribution.floors",
            f"at most {lowest[row]}, the row's smallest",
            floors[counted][row],
        )
    return counts, ids.astype(np.int32), values, floors


def _values(name: str, data: bytes, count: int) -> np.ndarray:
    return numbers_from_bytes(name, data, code="<f2", count=count, low=LOWEST, high=0.0)


def _check_tops(tops: np.ndarray) -> None:
    if (tops != 0).any():
        raise refuse("contribution.values", "0 as the largest of each row", tops[tops != 0][0])


class ContributionAssembler:
    """Joins the parts of one contributor's contributions.

    Holds at most one unfinished contribution: its parts come in order and without gaps, so no more
    than rows x vocabulary fp16 values (and as many ids, for `topk`) are ever kept.
    """

    def __init__(self, rows: int) -> None:
        """Expect contributions of this many rows: one for each open position of their step."""
        self._rows = rows
        self._parts: list[ContributionChunk] = []
        self._dense = np.empty(0, np.float16)
        self._filled = 0

    def add(self, chunk: ContributionChunk) -> Contribution | None:
        """The whole contribution, if this was its last part.

        Raises:
            InvalidFrameError: The part does not follow the one before.
        """
        self._check_order(chunk)
        self._parts.append(self._placed(chunk) if chunk.codec is Codec.DENSE else chunk)
        if chunk.index + 1 < chunk.count:
            return None
        parts, self._parts = self._parts, []
        filled, self._filled = self._filled, 0
        return Contribution(
            block=chunk.block,
            step=chunk.step,
            codec=chunk.codec,
            counts=_joined([part.counts for part in parts]),
            ids=_joined([part.ids for part in parts]),
            values=(
                self._dense[:filled]
                if chunk.codec is Codec.DENSE
                else _joined([part.values for part in parts])
            ),
            floors=_joined([part.floors for part in parts]),
            log_mass=_joined([part.log_mass for part in parts]),
            strengths=_joined([part.strengths for part in parts]),
        )

    def _placed(self, chunk: ContributionChunk) -> ContributionChunk:
        """The part with its values in the one array that holds all dense rows."""
        if not self._filled:
            self._dense = np.empty(self._rows * int(chunk.counts.max()), np.float16)
        place = self._dense[self._filled : self._filled + len(chunk.values)]
        place[:] = chunk.values
        self._filled += len(place)
        return replace(chunk, values=place)

    def _check_order(self, chunk: ContributionChunk) -> None:
        first = 0
        if self._parts:
            last = self._parts[-1]
            first = last.first_row + len(last.counts)
            came, expected = (
                (one.block, one.step, one.codec, one.count, len(one.strengths) > 0)
                for one in (chunk, last)
            )
            if came != expected:
                raise refuse("contribution", f"a part of {expected}", came)
        if chunk.index != len(self._parts):
            raise refuse("contribution.chunk_index", str(len(self._parts)), chunk.index)
        if chunk.first_row != first:
            raise refuse("contribution.first_row", str(first), chunk.first_row)
        end = first + len(chunk.counts)
        left = chunk.count - chunk.index - 1
        # Each part that is still to come has at least one row.
        if end + left > self._rows or (left == 0 and end != self._rows):
            raise refuse("contribution.rows", f"{self._rows} rows in all parts", end)


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def ask_to_proto(ask: Ask, *, vocabulary_size: int) -> pb.Ask:
    """The message of an ask."""
    return pb.Ask(
        block=ask.block,
        step=ask.step,
        positions=ask.positions.astype("<u2").tobytes(),
        counts=ask.counts.astype("<u2").tobytes(),
        ids=ids_to_bytes("ask.ids", ask.ids, vocabulary_size=vocabulary_size),
    )


def ask_from_proto(message: pb.Ask, opened: Opened) -> Ask:
    """An ask, checked against the caps: it is a question about the client's private model.

    Raises:
        InvalidFrameError: It breaks the contract or passes a cap.
    """
    block, step = moment(message.block, message.step, opened)
    limits, asked = opened.limits, len(message.positions) // 2
    top = opened.settings.block_length
    integer("ask.positions", asked, low=1, high=min(top, limits.max_ask_ids))
    positions = numbers_from_bytes(
        "ask.positions", message.positions, code="<u2", count=asked, low=0, high=top - 1
    ).astype(np.int32)
    if (np.diff(positions) <= 0).any():
        raise refuse("ask.positions", "rising positions", positions.tolist()[:16])
    most = limits.max_ask_ids_per_position
    counts = numbers_from_bytes(
        "ask.counts", message.counts, code="<u2", count=asked, low=1, high=most
    ).astype(np.int32)
    total = integer("ask.ids", int(counts.sum(dtype=np.int64)), low=1, high=limits.max_ask_ids)
    size = opened.vocabulary_size
    ids = ids_from_bytes("ask.ids", message.ids, count=total, vocabulary_size=size)
    unique_in_rows("ask.ids", ids, counts)
    return Ask(block, step, positions, counts, ids.astype(np.int32))


def answer_to_proto(answer: Answer) -> pb.Answer:
    """The message of an answer."""
    return pb.Answer(
        block=answer.block,
        step=answer.step,
        values=answer.values.astype("<f2", copy=False).tobytes(),
    )


def answer_from_proto(message: pb.Answer, opened: Opened) -> Answer:
    """An answer; whether it is as long as its ask, the session knows.

    Raises:
        InvalidFrameError: It breaks the contract.
    """
    block, step = moment(message.block, message.step, opened)
    count = integer(
        "answer.values", len(message.values) // 2, low=1, high=opened.limits.max_ask_ids
    )
    return Answer(block, step, _values("answer.values", message.values, count))
