"""Rows of logits to contributions and back; the embedded run goes through here too."""

import numpy as np
import torch
from torch import Tensor

from common.collaboration.contribution import Codec, Contribution
from common.errors import InternalError

LOWEST = -30000.0
"""Rows are clamped here, so that fp16 holds every value."""
DEFAULT_ENTRIES = 64
"""Entries of a row in the codec topk."""


def encode(
    rows: Tensor, *, block: int, step: int, codec: Codec, entries: int = DEFAULT_ENTRIES
) -> Contribution:
    """Rows of logits to a contribution: largest entry 0, clamped to [-30000, 0], rounded to fp16.

    Args:
        rows: (positions, V) fp32 logits; -inf is allowed, NaN and +inf are not.
        block: block of the step that is answered.
        step: the step.
        codec: how the rows are written.
        entries: entries of each row in the codec topk.
    """
    top = rows.amax(-1, keepdim=True)
    if not torch.isfinite(top).all():
        raise InternalError("expected finite logits from the model, got NaN or infinity")
    shifted = (rows.float() - top).clamp(LOWEST, 0.0)
    log_mass = shifted.logsumexp(-1).cpu().numpy()
    size = rows.shape[-1]
    if codec is Codec.DENSE:
        return Contribution(
            block=block,
            step=step,
            codec=codec,
            counts=np.full(len(rows), size, np.int32),
            ids=np.empty(0, np.int32),
            values=shifted.half().flatten().cpu().numpy(),
            floors=np.empty(0, np.float16),
            log_mass=log_mass,
        )
    kept = min(entries, size)
    values, ids = shifted.topk(min(kept + 1, size), dim=-1)
    floors = values[:, -1].half()
    order = ids[:, :kept].sort(-1)
    return Contribution(
        block=block,
        step=step,
        codec=codec,
        counts=np.full(len(rows), kept, np.int32),
        ids=order.values.flatten().to(torch.int32).cpu().numpy(),
        values=values.gather(-1, order.indices).half().flatten().cpu().numpy(),
        floors=floors.cpu().numpy(),
        log_mass=log_mass,
    )


def decode(contribution: Contribution, vocabulary_size: int, device: torch.device) -> Tensor:
    """The full rows that a contribution stands for, (positions, V) fp32: what was not sent has the
    row's floor.
    """
    values = torch.from_numpy(contribution.values.astype(np.float32))
    positions = len(contribution.counts)
    if contribution.codec is Codec.DENSE:
        return values.view(positions, vocabulary_size).to(device)
    floors = torch.from_numpy(contribution.floors.astype(np.float32))
    rows = floors.unsqueeze(1).expand(positions, vocabulary_size).contiguous()
    place = (
        np.repeat(np.arange(positions, dtype=np.int64), contribution.counts) * vocabulary_size
        + contribution.ids
    )
    rows.view(-1)[torch.from_numpy(place)] = values
    return rows.to(device)
