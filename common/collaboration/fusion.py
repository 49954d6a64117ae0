"""Fusion: the large model's logits and the contributions become one row of scores for each
position.

s = (1 - W) c + sum_k w_k u_k with W = sum_k w_k (SSD-2 section 3; Shi et al. 2023 write the
contrast the same way); at each position w_k is the contributor's weight times the strength of its
row. Sparse contributions are fused where they have entries: what no David sent is the large
model's score plus a constant of the position.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from common.collaboration.codec import places_of, with_true_mass
from common.collaboration.contribution import LOWEST, Contribution
from common.collaboration.settings import Codec
from common.denoising.loop import Fused


@dataclass(frozen=True, slots=True)
class Weighted:
    """One contributor's contribution to a step, with its weight."""

    contributor_id: str
    """They are summed in the order of these."""
    weight: float
    """At least 0."""
    contribution: Contribution

    @property
    def shares(self) -> np.ndarray:
        """(rows,) float64, the weight times the strength of each row."""
        contribution = self.contribution
        stated = len(contribution.strengths) > 0
        strengths = contribution.strengths / 255 if stated else np.ones(len(contribution.counts))
        return self.weight * strengths


@dataclass(frozen=True, slots=True)
class SparseSum:
    """The weighted sum of sparse contributions: (positions, V) rows of which only this is kept."""

    floors: Tensor
    """(positions,) fp32, the Davids' sum for every id that none of them sent."""
    places: Tensor
    """(n,) int64, position * V + id of each id that at least one of them sent, rising."""
    sums: Tensor
    """(n,) fp32, the Davids' sum for each of them; of a David that did not send it, its floor."""
    exact: Tensor
    """(n,) bool, whether all Davids whose row counts sent it."""
    counted: Tensor
    """(positions,) bool, whether the row of any of them counts."""


def with_weight(contributions: Sequence[Weighted]) -> list[Weighted]:
    """The contributions that have a weight, in the order in which they are summed."""
    return sorted((v for v in contributions if v.weight > 0), key=lambda v: v.contributor_id)


def fuse(core: Tensor, contributions: Sequence[Weighted], *, full_rows: bool = False) -> Fused:
    """Fuse logits (1, positions, V), fp32, with the contributions of this step.

    Weight 0 gives the large model alone, and a single weight 1 the contributor alone, bit for bit.
    Each score is made by the same operations in the same order, however its entries were sent, so
    that an entry that was sent is worth bit for bit what it is worth in a full row. The Davids'
    choice is the best id that one of them sent, the lowest one on ties.

    Args:
        core: the large model's logits.
        contributions: with any weights, from none to many.
        full_rows: whether the scores are read as full rows: ids that were not sent then share the
            rest of their row's mass, and have not its floor each, which bounds them above.
    """
    core = (core - core.amax(-1, keepdim=True)).clamp(min=LOWEST)
    used = with_weight(contributions)
    if not used:
        return Fused(core, None)
    if full_rows:
        size = core.shape[-1]
        used = [replace(v, contribution=with_true_mass(v.contribution, size)) for v in used]
    if any(v.contribution.codec is Codec.DENSE for v in used):
        return _fuse_whole(core, used)
    summed = sparse_sum(used, core.shape[-1], core.device)
    scores = _left_to_core(used, core) * core
    theirs = scores.view(-1)[summed.places] + summed.sums
    scores += summed.floors.unsqueeze(-1)
    scores.view(-1)[summed.places] = theirs
    return Fused(scores, _choice(summed, core.shape[-1]).unsqueeze(0))


def _left_to_core(used: Sequence[Weighted], core: Tensor) -> Tensor:
    """(positions, 1) fp32, the large model's own share of each position."""
    shares = np.sum([weighted.shares for weighted in used], axis=0)
    return _fp32(1 - shares).to(core.device).unsqueeze(-1)


def _fp32(numbers: np.ndarray) -> Tensor:
    return torch.from_numpy(numbers.astype(np.float32))


def sparse_sum(used: Sequence[Weighted], size: int, device: torch.device) -> SparseSum:
    """The sum of these, all sparse and at least one, in a vocabulary of this size."""
    each = [places_of(weighted.contribution, size) for weighted in used]
    places = np.unique(np.concatenate(each))
    floors = torch.zeros(len(used[0].contribution.counts))
    sums, sent = torch.zeros(len(places)), np.zeros(len(places), np.int64)
    rows = places // size
    counted = np.zeros(len(floors), np.int64)
    for weighted, mine in zip(used, each, strict=True):
        floor, share = _fp32(weighted.contribution.floors), _fp32(weighted.shares)
        values = floor[torch.from_numpy(rows)]
        index = np.searchsorted(places, mine)
        values[torch.from_numpy(index)] = _fp32(weighted.contribution.values)
        sums += share[torch.from_numpy(rows)] * values
        floors += share * floor
        sent[index] += 1
        counted += weighted.shares > 0
    return SparseSum(
        floors.to(device),
        torch.from_numpy(places).to(device),
        sums.to(device),
        torch.from_numpy(sent == counted[rows]).to(device),
        torch.from_numpy(counted > 0).to(device),
    )


def _choice(summed: SparseSum, size: int) -> Tensor:
    """(positions,) int64; `size`, which is no id, where no row counts."""
    rows, ids = summed.places // size, summed.places % size
    best = summed.sums.new_full(summed.floors.shape, -torch.inf)
    best = best.scatter_reduce(0, rows, summed.sums, "amax")
    firsts = torch.where(summed.sums == best[rows], ids, size)
    return ids.new_full(best.shape, size).scatter_reduce(0, rows, firsts, "amin")


def _fuse_whole(core: Tensor, used: Sequence[Weighted]) -> Fused:
    """The same where a David sent whole rows: one position at a time, so that no second matrix of
    positions x V is made.
    """
    scores = _left_to_core(used, core) * core
    size = core.shape[-1]
    shares = [weighted.shares for weighted in used]
    starts = [np.cumsum(v.contribution.counts, dtype=np.int64) for v in used]
    choices = []
    for position in range(core.shape[1]):
        davids = torch.zeros(size)
        counted = [k for k in range(len(used)) if shares[k][position] > 0]
        for k in counted:
            row = _row(used[k].contribution, position, int(starts[k][position]), size)
            davids += float(shares[k][position]) * row
        choices.append(davids.argmax() if counted else torch.tensor(size))
        scores[0, position] += davids.to(core.device)
    return Fused(scores, torch.stack(choices).to(core.device).unsqueeze(0))


def _row(contribution: Contribution, position: int, end: int, size: int) -> Tensor:
    """(V,) fp32, one decoded row; its entries end at this index."""
    entries = slice(end - int(contribution.counts[position]), end)
    values = torch.from_numpy(contribution.values[entries].astype(np.float32))
    if contribution.codec is Codec.DENSE:
        return values
    row = torch.full((size,), float(contribution.floors[position]))
    row[torch.from_numpy(contribution.ids[entries].astype(np.int64))] = values
    return row
