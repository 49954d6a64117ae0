"""Scores to token ids: everything after fusion, and all of it reads only the candidate set.

Candidates of a position are A = {v : s_v >= max s + T log(min_p)}; greedy is T = 0 with the lowest
id on ties. Sources: SSD-LM section 3.4 (projections), Nguyen et al. 2024 (min-p), Gumbel-max.
"""

import math

import torch
from torch import Tensor

from common.diffusion.philox import Purpose, Stream, uniform
from common.diffusion.terms import Decider


def greedy(scores: Tensor) -> Tensor:
    """(batch, positions) int64: the best id, the lowest one on ties, of (batch, positions, V)
    scores.
    """
    best = scores.amax(-1, keepdim=True)
    ids = torch.arange(scores.shape[-1], device=scores.device)
    return torch.where(scores == best, ids, scores.shape[-1]).amin(-1)


def project(scores: Tensor, stream: Stream, *, temperature: float, min_p: float) -> Tensor:
    """Greedy at temperature 0, else one draw from the candidates.

    Args:
        scores: (batch, positions, V) fp32 fused scores, -inf at ids that must not appear.
        stream: random words of the batch's rows; the token id is the draw, so only candidates
            cost anything.
        temperature: 0 for greedy.
        min_p: least probability of a candidate, as a share of the best one's; in (0, 1].

    Returns:
        (batch, positions) int64.
    """
    if temperature == 0 or min_p == 1:
        return greedy(scores)
    cut = scores.amax(-1, keepdim=True) + temperature * math.log(min_p)
    rows, positions, ids = (scores >= cut).nonzero(as_tuple=True)
    words = stream.words_at(Purpose.GUMBEL, rows, positions, ids)
    gumbel = -(-uniform(words).log()).log()
    keys = scores[rows, positions, ids].double() / temperature + gumbel
    place = rows * scores.shape[1] + positions
    best = keys.new_full((scores.shape[0] * scores.shape[1],), -torch.inf)
    best = best.scatter_reduce(0, place, keys, "amax")
    winners = torch.where(keys == best[place], ids, scores.shape[-1])
    chosen = winners.new_full(best.shape, scores.shape[-1]).scatter_reduce(
        0, place, winners, "amin"
    )
    return chosen.view(scores.shape[:2])


def deciders(ids: Tensor, core_choice: Tensor, david_choice: Tensor | None) -> Tensor:
    """Who decided each of the ids (batch, positions): uint8 values of `Decider`.

    Args:
        ids: the projected tokens.
        core_choice: the large model's first choices.
        david_choice: the contributors' first choices; None when none took part.
    """
    core = ids == core_choice
    david = torch.zeros_like(core) if david_choice is None else ids == david_choice
    result = torch.full(ids.shape, int(Decider.NEITHER), dtype=torch.uint8, device=ids.device)
    result[core] = int(Decider.CORE)
    result[david] = int(Decider.DAVID)
    result[core & david] = int(Decider.BOTH)
    return result
