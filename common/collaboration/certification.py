"""Certification: where a sparse result is the dense one for certain, and what to ask where not.

An id that every David sent has the score that full rows would give it, bit for bit. Any other has
one that is at least as high: a floor is at least what was not sent, weights are at least 0,
and products and sums of fp32 never fall when a factor or a term rises. So with `lb`, the best score
of the first kind, a position is certified if no score of the second kind reaches the threshold of a
candidate under `lb`: then the best score is `lb` in full rows too, and so are the candidates.

Where some do, they are asked for, all of them. One round is enough, caps aside: it makes these
scores exact, so that `lb` and its threshold can only rise, and all others were below the old one.

Where nothing reads the candidates but a draw, a position is also certified if its token is certain
(`certify_draw`). With `no_repeat` a token is drawn in sight of those before it in the draft. If all
positions of a step are certified, so are its tokens; if not, those behind an uncertified position
may be others, although their candidates are the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from common.collaboration.certified_draw import uncertain_draws
from common.collaboration.codec import largest, places_of
from common.collaboration.contribution import Answer, Ask, Contribution
from common.collaboration.fusion import Weighted, fuse, sparse_sum, with_weight
from common.collaboration.settings import Codec
from common.denoising.loop import Fused, allowed
from common.denoising.plan import Plan
from common.denoising.process import Needs, Shown
from common.errors import InvalidFrameError


@dataclass(frozen=True, slots=True)
class AskCaps:
    """Most ids that one step may ask a David for."""

    per_position: int = 0
    """At one position."""
    in_all: int = 0
    """At all positions together."""


@dataclass(frozen=True, slots=True, eq=False)
class Doubt:
    """A step's fused scores, and what is not certain of what is read of them."""

    fused: Fused
    uncertified: np.ndarray
    """(positions,) bool, which of them are not certified."""
    asks: Mapping[str, Ask]
    """What to ask each contributor, by its id; empty where nothing may be asked."""


def doubts(
    plan: Plan,
    core: Tensor,
    contributions: Sequence[Weighted],
    *,
    shown: Shown,
    caps: AskCaps | None = None,
) -> Doubt:
    """Fuse the contributions to a step, and say what full rows could have changed.

    Under the caps the best scores of a position are asked for first, and the positions that need
    the fewest ids.

    Args:
        plan: how the scores are read.
        core: logits (1, open, V) fp32.
        contributions: from none to many, with any weights.
        shown: the step.
        caps: what may be asked; None asks for nothing.
    """
    needs = plan.process.needs(shown.state)
    fused = fuse(core, contributions, full_rows=needs is None)
    sparse = [v for v in with_weight(contributions) if v.contribution.codec is Codec.TOPK]
    if not sparse or needs is None:
        return Doubt(fused, np.zeros(core.shape[1], np.bool_), {})
    block, step = shown.state.block, shown.state.step
    scores = allowed(plan, fused.scores, shown.open, first=None if block else plan.given)[0]
    summed = sparse_sum(sparse, scores.shape[-1], core.device)
    # Where no row counts nothing is left out, and the scores are the large model's.
    found = _open(needs, scores, summed.places[summed.exact]) & summed.counted.unsqueeze(-1)
    if found.any() and needs.words is not None:
        exact = torch.zeros_like(found)
        exact.view(-1)[summed.places[summed.exact]] = True
        words = needs.words(scores.device)
        uncertain = uncertain_draws(needs.draw, scores, exact, found, words)
        found &= torch.from_numpy(uncertain).to(found.device).unsqueeze(-1)
    uncertified = found.any(-1).cpu().numpy()
    if caps is None or not uncertified.any():
        return Doubt(fused, uncertified, {})
    rows, ids = _within(caps, found, scores).nonzero(as_tuple=True)
    places = (rows * scores.shape[-1] + ids).cpu().numpy()
    asks = {}
    for weighted in sparse:
        mine = np.setdiff1d(places, places_of(weighted.contribution, scores.shape[-1]))
        mine = mine[weighted.shares[mine // scores.shape[-1]] > 0]
        if len(mine):
            asks[weighted.contributor_id] = _ask(mine, scores.shape[-1], block, step)
    return Doubt(fused, uncertified, asks)


def _open(needs: Needs, scores: Tensor, exact: Tensor) -> Tensor:
    """(positions, V) bool, the ids whose scores are not exact and could be of a candidate.

    Args:
        needs: how the scores are read.
        scores: (positions, V) fp32, bounds above where they are not exact.
        exact: (n,) int64, position * V + id of each id that all sparse contributions sent.
    """
    size = scores.shape[-1]
    known, rows = scores.view(-1)[exact], exact // size
    best = scores.new_full(scores.shape[:1], -torch.inf).scatter_reduce(0, rows, known, "amax")
    least = needs.draw.least(best) if needs.candidates else best
    # Where nothing is exact all ids are open, but for those that must not appear, at -inf.
    least = least.clamp(min=torch.finfo(scores.dtype).min).unsqueeze(-1)
    found = scores >= least
    found.view(-1)[exact] = False
    if not needs.candidates:
        # Of equal scores the lowest id is taken: a higher one that may be equal is no rival.
        firsts = torch.where(known == best[rows], exact % size, size)
        first = firsts.new_full(best.shape, size).scatter_reduce(0, rows, firsts, "amin")
        ids = torch.arange(size, device=scores.device)
        found &= (scores > least) | (ids < first.unsqueeze(-1))
    return found


def _within(caps: AskCaps, found: Tensor, scores: Tensor) -> Tensor:
    """The part of what was found, (positions, V) bool, that the caps leave."""
    counts = found.sum(-1).cpu().numpy()
    requested = np.minimum(counts, caps.per_position)
    order = np.argsort(requested, kind="stable")
    before = np.cumsum(requested[order]) - requested[order]
    takes = np.empty_like(requested)
    takes[order] = np.clip(caps.in_all - before, 0, requested[order])
    kept = found.clone()
    for position in np.flatnonzero(takes < counts).tolist():
        kept[position] = False
        if takes[position]:
            row = scores[position].masked_fill(~found[position], -torch.inf)
            kept[position] = largest(row.unsqueeze(0), int(takes[position]))[0]
    return kept


def _ask(places: np.ndarray, size: int, block: int, step: int) -> Ask:
    positions, counts = np.unique(places // size, return_counts=True)
    return Ask(
        block,
        step,
        positions.astype(np.int32),
        counts.astype(np.int32),
        (places % size).astype(np.int32),
    )


def answered(contribution: Contribution, ask: Ask, answer: Answer) -> Contribution:
    """A sparse contribution with the entries that it left out and was asked for.

    Raises:
        InvalidFrameError: the answer is not as long as the ask, or contradicts the contribution.
    """
    if len(answer.values) != len(ask.ids):
        raise InvalidFrameError(
            f"answer.values: expected {len(ask.ids)} values, got {len(answer.values)}",
            remedy="Answer all ids of the ask, in its order",
        )
    rows = np.repeat(ask.positions, ask.counts)
    above = np.flatnonzero(answer.values > contribution.floors[rows])
    if above.size:
        floor, value = contribution.floors[rows[above[0]]], answer.values[above[0]]
        raise InvalidFrameError(
            f"answer.values: expected at most {floor}, the floor of the row, got {value}",
            remedy="Answer from the rows that the contribution was made of",
        )
    counts = contribution.counts.copy()
    counts[ask.positions] += ask.counts
    sent = np.repeat(np.arange(len(counts)), contribution.counts)
    order = np.argsort(np.concatenate((sent, rows)), kind="stable")
    return replace(
        contribution,
        counts=counts,
        ids=np.concatenate((contribution.ids, ask.ids))[order],
        values=np.concatenate((contribution.values, answer.values))[order],
    )


def all_answered(
    contributions: Sequence[Weighted], asks: Mapping[str, Ask], answers: Mapping[str, Answer]
) -> list[Weighted]:
    """The contributions with all answers that came.

    Raises:
        InvalidFrameError: an answer does not fit its ask or its contribution.
    """
    return [
        replace(
            weighted,
            contribution=answered(
                weighted.contribution,
                asks[weighted.contributor_id],
                answers[weighted.contributor_id],
            ),
        )
        if weighted.contributor_id in answers
        else weighted
        for weighted in contributions
    ]
