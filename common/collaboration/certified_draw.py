"""Certification of a draw: where the token is certain although its candidates are not.

The Gumbel of an id is known however its score comes out, and a score that is not exact has a bound
above. So a token is certain if it is drawn whatever the others come to: it is in the nucleus in any
case, and no id that may be in it can have a larger key. A wide set of candidates has many unlikely
ones that could still be in it, and hardly ever one of them could be drawn.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.denoising.sampling import Draw, followers, keyed
from common.denoising.streams import Words

ROUNDING = 1e-6
"""Share by which a sum of masses may be off: the order of its terms is not the draw's."""


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """All that could be a candidate of a position, (n,) each."""

    ids: np.ndarray
    """int64, rising."""
    logits: np.ndarray
    """float64, scores at the temperature; of those that are not exact, bounds above."""
    keys: np.ndarray
    """float64, what a draw takes the largest of; bounds above, too."""
    exact: np.ndarray
    """bool."""
    candidates: np.ndarray
    """bool, those that are candidates whatever the inexact scores come to."""


def uncertain_draws(
    draw: Draw, scores: Tensor, exact: Tensor, found: Tensor, words: Words
) -> np.ndarray:
    """Where the token that a step draws is not certain, (positions,) bool.

    With `no_repeat` a token is drawn in sight of those before it: behind the first uncertain one
    all are uncertain whose candidates are.

    Args:
        draw: how tokens are drawn; nothing else reads the candidates.
        scores: (positions, V) fp32, -inf at ids that must not appear; bounds above where not exact.
        exact: (positions, V) bool, which scores are those of full rows.
        found: (positions, V) bool, the others that could be of a candidate.
        words: the random words of the step, one row.
    """
    doubtful = found.any(-1).cpu().numpy()
    uncertain = np.zeros_like(doubtful)
    draft = draw.tokens(scores.unsqueeze(0), words)[0].tolist()
    barred = list(followers(draft, draw.no_repeat, draw.end)) if draw.no_repeat else []
    for position, place in _places(draw, scores, exact, found, words):
        taken = barred[position] if position < len(barred) else frozenset[int]()
        if _certain(place, draw.top_p, taken):
            continue
        if draw.no_repeat:
            uncertain[position:] = doubtful[position:]
            break
        uncertain[position] = True
    return uncertain


def _places(
    draw: Draw, scores: Tensor, exact: Tensor, found: Tensor, words: Words
) -> list[tuple[int, _Place]]:
    """The positions at which something was found, in their order."""
    where = found.any(-1).nonzero().flatten()
    scores, exact, found = scores[where], exact[where], found[where]
    best = scores.masked_fill(~exact, -torch.inf).amax(-1, keepdim=True)
    highest = scores.masked_fill(~(exact | found), -torch.inf).amax(-1, keepdim=True)
    lowest = torch.finfo(scores.dtype).min

    def least(best: Tensor) -> Tensor:
        return draw.least(best).clamp(min=lowest)

    inside = found | (exact & (scores >= least(best)))
    rows, ids = inside.nonzero(as_tuple=True)
    logits, keys = keyed(
        scores[rows, ids],
        words,
        torch.zeros_like(rows),
        where[rows],
        ids,
        temperature=draw.temperature,
    )
    columns = (
        ids,
        logits,
        keys,
        exact[rows, ids],
        exact[rows, ids] & (scores[rows, ids] >= least(highest)[rows, 0]),
    )
    ends = np.cumsum(inside.sum(-1).cpu().numpy())
    parts = zip(*(np.split(column.cpu().numpy(), ends)[:-1] for column in columns), strict=True)
    return [(int(at), _Place(*part)) for at, part in zip(where.tolist(), parts, strict=True)]


def _certain(place: _Place, top_p: float, taken: frozenset[int]) -> bool:
    """Whether the token is certain, in sight of tokens that would repeat a run."""
    sure, possible = _nucleus(place, top_p)
    token = _winner(place, sure, possible)
    if token is None or token not in taken:
        return token is not None
    # Any candidate may stand for a repeat; where all repeat, the first one stays.
    fresh = ~np.isin(place.ids, list(taken))
    return not fresh.any() or _winner(place, place.candidates & fresh, fresh) is not None


def _winner(place: _Place, sure: np.ndarray, possible: np.ndarray) -> int | None:
    """The id that has the largest key of those that are surely drawn from and of all that may be;
    None where it depends.
    """
    if not sure.any():
        return None
    keys = np.where(sure, place.keys, -np.inf)
    winner = int(keys.argmax())  # ids rise: the lowest on ties, as in the draw
    rivals = place.keys[possible & ~sure]
    return None if (rivals >= keys[winner]).any() else int(place.ids[winner])


def _nucleus(place: _Place, top_p: float) -> tuple[np.ndarray, np.ndarray]:
    """(n,) bool each: what is in the nucleus in any case, and what may be in it.

    Mass that is not exact may stand above an entry or below it, or be none at all.
    """
    if top_p == 1 or not place.exact.any():
        return place.candidates, np.ones_like(place.exact)
    with np.errstate(over="ignore"):  # a bound far above all that is exact
        mass = np.exp(place.logits - place.logits[place.exact].max())
    known = np.where(place.exact, mass, 0.0)
    inexact = mass[~place.exact].sum()
    order = np.lexsort((place.ids, place.exact, -place.logits))
    before = np.empty_like(known)
    before[order] = known[order].cumsum() - known[order]
    least = top_p * (1 - ROUNDING) * (mass[place.candidates].sum() + inexact)
    most = top_p * (1 + ROUNDING) * (known.sum() + inexact)
    return place.candidates & (before + inexact < least), before < most
