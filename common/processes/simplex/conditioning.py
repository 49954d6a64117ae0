"""Self-conditioning: what a model reads of the last prediction (Chen et al., "Analog Bits",
ICLR 2023).
"""

import numpy as np
import torch
from torch import Tensor

from common.denoising.sampling import Candidates
from common.processes.simplex.state import Bag, FusedSignal

TOP = 32


def nothing(batch: int, positions: int, device: torch.device) -> Bag:
    """The one meaning of "no prediction yet": a bag without mass, which embeds to zero."""
    return Bag(
        ids=torch.zeros(batch, positions, 1, dtype=torch.int64, device=device),
        weights=torch.zeros(batch, positions, 1, device=device),
        rest=torch.zeros(batch, positions, device=device),
    )


def from_logits(logits: Tensor) -> Bag:
    """Top 32 of the fp32 softmax of (batch, positions, V) logits; the remaining mass goes to the
    mean embedding.
    """
    logits = logits.float()
    values, ids = logits.topk(min(TOP, logits.shape[-1]), dim=-1)
    weights = (values - logits.logsumexp(-1, keepdim=True)).exp()
    return Bag(ids=ids, weights=weights, rest=(1 - weights.sum(-1)).clamp(min=0))


def from_estimate(estimate: Tensor) -> Bag:
    """Equal shares on the ids (batch, positions, h) that the state carries; rows of -1 only, or h =
    0, are nothing.
    """
    if estimate.shape[-1] == 0:
        return nothing(estimate.shape[0], estimate.shape[1], estimate.device)
    present = (estimate >= 0).float()
    weights = present / present.sum(-1, keepdim=True).clamp(min=1)
    return Bag(ids=estimate.clamp(min=0), weights=weights, rest=torch.zeros_like(weights[..., 0]))


def fused_signal(best: Candidates) -> FusedSignal:
    """What a session with the self-conditioning fused sends: the softmax at temperature 1 over the
    candidates of the session's own temperature and min_p, its top 32, rounded to fp16.

    These are the candidates that the projection draws from, since nothing after fusion may depend
    on any other id: where a position has one (always at temperature 0, but for ties), the signal
    is that id with probability 1. Mass of candidates beyond the top is what the row's sum lacks.

    Args:
        best: the candidates of one session, batch 1, at least 32 of each position where there are
            so many.
    """
    ids, scores = best.ids[0, :, :TOP].cpu(), best.scores[0, :, :TOP]
    probabilities = (scores - best.log_mass[0].unsqueeze(-1)).exp().half()
    return FusedSignal(_filled(ids).numpy(), probabilities.cpu().numpy())


def _filled(ids: Tensor) -> Tensor:
    """Rows (positions, n) with other ids in the place of -1: the lowest ones that a row lacks."""
    low = torch.arange(ids.shape[-1])
    taken = (ids.unsqueeze(-1) == low).any(-2)
    free = taken.sort(dim=-1, stable=True).indices
    missing = ids < 0
    rank = (missing.cumsum(-1) - 1).clamp(min=0)
    return torch.where(missing, free.gather(-1, rank), ids)


def from_signal(signal: FusedSignal) -> Bag:
    """The signal as every model reads it, batch 1: the rounded probabilities in fp32, and what they
    lack to 1 on the mean embedding.
    """
    weights = torch.from_numpy(signal.probabilities.astype(np.float32)).unsqueeze(0)
    rest = (1 - weights.sum(-1)).clamp(min=0)
    return Bag(ids=torch.from_numpy(signal.ids).unsqueeze(0), weights=weights, rest=rest)


def stack(bags: list[Bag]) -> Bag:
    """Bags of a batch's rows, each with batch 1, as one; narrower ones are filled with rows of no
    weight.
    """
    width = max(bag.ids.shape[-1] for bag in bags)

    def wide(tensor: Tensor) -> Tensor:
        return torch.nn.functional.pad(tensor, (0, width - tensor.shape[-1]))

    return Bag(
        ids=torch.cat([wide(bag.ids) for bag in bags]),
        weights=torch.cat([wide(bag.weights) for bag in bags]),
        rest=torch.cat([bag.rest for bag in bags]),
    )


def keep_rows(bag: Bag, rows: Tensor) -> Bag:
    """The bag where `rows` (batch,) bool holds, and nothing elsewhere."""
    share = rows.to(bag.weights.dtype)
    return Bag(bag.ids, bag.weights * share.view(-1, 1, 1), bag.rest * share.view(-1, 1))
