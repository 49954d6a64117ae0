"""Rows of logits to contributions and back; the embedded run goes through here too."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from common.collaboration.contribution import LOWEST, Answer, Ask, Contribution
from common.collaboration.settings import Codec
from common.denoising.sampling import Draw
from common.errors import InternalError

LEAST_ENTRIES = 8
"""Entries that every row sends in the codec topk, however sure it is."""
MOST_ENTRIES = 240
"""Entries that no row exceeds in the codec topk, however flat it is."""
CORE_LEAD = 8.0
"""By how many logits the large model may prefer an id that was left out to the best one sent,
before that id could be a candidate.
"""

LEAST_SHARE = 1e-4
"""Where full rows are read: the least probability, as a share of the best one's and after the
weight, of an entry that is sent. On the bundled pair's rows what is left out changes the best
probability of a fused row by .0004 on average at a weight of .75, as 240 entries a row do.
"""
LEAST_REST = 1e-6
"""Mass of what was not sent that rounding the sent values may hide."""

ROWS_AT_ONCE = 8
"""Rows encoded together: no copy of all logits is made, and these stay in the processor's cache."""


def reach_of(*, temperature: float, min_p: float, weight: float) -> float:
    """How far below its best entry a row is sent, in logits.

    An entry below this reach is of no candidate, unless the large model prefers its id to the best
    one by more than `CORE_LEAD`, or the best one must not appear. What a row then sends follows
    from the row and the agreed settings alone.

    Args:
        temperature: T of the session; 0 is greedy.
        min_p: least probability of a candidate, as a share of the best one's; in (0, 1].
        weight: the contributor's share; 0 has no end.
    """
    if weight == 0:
        return math.inf
    return (max(0.0, 1.0 - weight) * CORE_LEAD - temperature * math.log(min_p)) / weight


def reach_for(draw: Draw | None, weight: float) -> float:
    """The reach for a process that draws so; None for one that reads full rows."""
    if draw is None:
        return -math.log(LEAST_SHARE) / weight if weight else math.inf
    return reach_of(temperature=draw.temperature, min_p=draw.min_p, weight=weight)


def encode(
    rows: Tensor,
    *,
    block: int,
    step: int,
    codec: Codec,
    entries: int = MOST_ENTRIES,
    reach: float = math.inf,
) -> Contribution:
    """Rows of logits to a contribution: largest entry 0, clamped to [-30000, 0], rounded to fp16.

    In the codec topk a row sends the entries within the reach; at least `LEAST_ENTRIES` and at most
    `entries`: the largest, of equal ones those of the lowest ids.

    Args:
        rows: (positions, V) logits; -inf is allowed, NaN and +inf are not.
        block: block of the step that is answered.
        step: the step.
        codec: how the rows are written.
        entries: most entries of a row in the codec topk, at least 1.
        reach: how far below the best entry, in logits, entries are sent in the codec topk.
    """
    parts = [_part(some, codec, entries, reach) for some in rows.split(ROWS_AT_ONCE)]
    counts, ids, values, floors, log_mass = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    return Contribution(
        block=block,
        step=step,
        codec=codec,
        counts=counts,
        ids=ids,
        values=values,
        floors=floors,
        log_mass=log_mass,
    )


def _part(rows: Tensor, codec: Codec, entries: int, reach: float) -> tuple[np.ndarray, ...]:
    """Counts, ids, values, floors and log-masses of some rows."""
    size = rows.shape[-1]
    shifted = _shifted(rows)
    log_mass = shifted.logsumexp(-1).cpu().numpy()
    rounded = shifted.half()
    if codec is Codec.DENSE:
        whole = np.full(len(rows), size, np.int32)
        values = rounded.flatten().cpu().numpy()
        return whole, np.empty(0, np.int32), values, np.empty(0, np.float16), log_mass
    sent, floors = _sent(rounded.float(), entries, reach)
    places = sent.sort().values
    return (
        torch.bincount(places // size, minlength=len(rows)).to(torch.int32).cpu().numpy(),
        (places % size).to(torch.int32).cpu().numpy(),
        rounded.view(-1)[places].cpu().numpy(),
        floors.half().cpu().numpy(),
        log_mass,
    )


def _shifted(rows: Tensor) -> Tensor:
    """(positions, V) fp32 in [-30000, 0]; the largest of each row is 0."""
    top = rows.amax(-1, keepdim=True)
    if not torch.isfinite(top).all():
        raise InternalError("expected finite logits from the model, got NaN or infinity")
    return (rows.float() - top).clamp_(LOWEST, 0.0)


def _sent(rounded: Tensor, entries: int, reach: float) -> tuple[Tensor, Tensor]:
    """(sent,) int64, position * V + id of what is sent, in no order; and (positions,) the floors.

    Args:
        rounded: (positions, V) fp32, the entries as they are sent.
        entries: most of a row.
        reach: how far below 0 they are sent.
    """
    size = rounded.shape[-1]
    least, most = min(LEAST_ENTRIES, entries, size), min(entries, size)
    best = rounded.topk(min(most + 1, size), dim=-1)
    counts = (best.values >= -reach).sum(-1, keepdim=True).clamp(least, most)
    # Where a row is sent whole, nothing stands at its floor.
    below = torch.nn.functional.pad(best.values, (0, 1), value=LOWEST)
    floors = below.gather(-1, counts)
    # Which of equal entries topk gives is not defined: those at the cut are chosen by id.
    tied = (below.gather(-1, counts - 1) == floors) & (counts < size)
    ranks = torch.arange(best.values.shape[-1], device=rounded.device)
    taken = (ranks < counts) & ~tied
    starts = torch.arange(0, rounded.numel(), size, device=rounded.device).unsqueeze(-1)
    found = [(best.indices + starts)[taken]]
    for row in tied.squeeze(-1).nonzero().flatten().tolist():
        mine = largest(rounded[row : row + 1], int(counts[row]))
        found.append(mine.flatten().nonzero().flatten() + row * size)
    return torch.cat(found), floors.squeeze(-1)


def largest(rows: Tensor, count: int) -> Tensor:
    """(rows, V) bool, the `count` largest entries of each row, of equal ones the lowest ids."""
    cut = rows.topk(count, dim=-1).values[:, -1:]
    above, tied = rows > cut, rows == cut
    room = count - above.sum(-1, keepdim=True)
    return above | (tied & (tied.cumsum(-1) <= room))


def answer_from(rows: Tensor, ask: Ask) -> Answer:
    """The values that a contribution of these rows has for the ids that are asked for.

    Args:
        rows: (positions, V) logits, those that were encoded for the step.
        ask: positions and ids in their range.
    """
    places = torch.from_numpy(np.repeat(ask.positions, ask.counts).astype(np.int64))
    ids = torch.from_numpy(ask.ids.astype(np.int64))
    places, ids = places.to(rows.device), ids.to(rows.device)
    top = rows.amax(-1).float()[places]
    values = (rows[places, ids].float() - top).clamp(LOWEST, 0.0)
    return Answer(ask.block, ask.step, values.half().cpu().numpy())


def with_true_mass(contribution: Contribution, vocabulary_size: int) -> Contribution:
    """A contribution that decodes to rows of the true mass: its floors, now fp32, are the share of
    what was not sent in the rest of the mass, and at most what they were.
    """
    if contribution.codec is Codec.DENSE:
        return contribution
    counts = contribution.counts
    mass = np.exp(contribution.values.astype(np.float64))
    sent = np.bincount(np.repeat(np.arange(len(counts)), counts), mass, len(counts))
    rest = np.exp(contribution.log_mass.astype(np.float64)) - sent
    share = np.log(np.maximum(rest, LEAST_REST) / np.maximum(vocabulary_size - counts, 1))
    floors = np.minimum(contribution.floors.astype(np.float32), share.astype(np.float32))
    return replace(contribution, floors=floors)


def decode(contribution: Contribution, vocabulary_size: int, device: torch.device) -> Tensor:
    """The full rows that a contribution stands for, (positions, V) fp32: what was not sent has the
    row's floor. For measures and tests: fusing makes no such rows of a sparse contribution.
    """
    values = torch.from_numpy(contribution.values.astype(np.float32))
    positions = len(contribution.counts)
    if contribution.codec is Codec.DENSE:
        return values.view(positions, vocabulary_size).to(device)
    floors = torch.from_numpy(contribution.floors.astype(np.float32))
    rows = floors.unsqueeze(1).expand(positions, vocabulary_size).contiguous()
    rows.view(-1)[torch.from_numpy(places_of(contribution, vocabulary_size))] = values
    return rows.to(device)


def places_of(contribution: Contribution, vocabulary_size: int) -> np.ndarray:
    """(sum counts,) int64, position * V + id of each entry of a sparse contribution."""
    rows = np.arange(len(contribution.counts), dtype=np.int64)
    places: np.ndarray = np.repeat(rows, contribution.counts) * vocabulary_size
    places += contribution.ids
    return places
