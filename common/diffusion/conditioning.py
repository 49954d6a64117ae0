"""Self-conditioning: what a model is told about the last prediction (Chen et al., "Analog Bits",
ICLR 2023).
"""

import torch
from torch import Tensor

from common.diffusion.simplex import Bag

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
