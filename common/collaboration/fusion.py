"""Fusion: the large model's logits and the contributions become one row of scores for each
position.

s = (1 - W) c + sum_k w_k u_k with W = sum_k w_k (SSD-2 section 3; Shi et al. 2023 write the
contrast the same way).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.collaboration.codec import LOWEST, decode
from common.collaboration.contribution import Contribution
from common.diffusion.denoise import Fused


@dataclass(frozen=True, slots=True)
class Voice:
    """One contributor's share in a step."""

    contributor_id: str
    """Voices are summed in the order of these."""
    weight: float
    """At least 0."""
    contribution: Contribution


def fuse(core: Tensor, voices: Sequence[Voice]) -> Fused:
    """Fuse logits (1, positions, V), fp32, with the voices of this step.

    Weight 0 gives the large model alone, and a single weight 1 the contributor alone, bit for bit.
    """
    core = (core - core.amax(-1, keepdim=True)).clamp(min=LOWEST)
    size = core.shape[-1]
    ordered = sorted((v for v in voices if v.weight > 0), key=lambda v: v.contributor_id)
    if not ordered:
        return Fused(core, None)
    share = sum(v.weight for v in ordered)
    davids = torch.zeros_like(core[0])
    for voice in ordered:
        davids += voice.weight * decode(voice.contribution, size, core.device)
    return Fused((1 - share) * core + davids, davids.argmax(-1).unsqueeze(0))
