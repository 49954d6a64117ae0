"""Contrast: what a private context changes in a model's mind, stressed.

Sources: Shi et al. 2023 ("Trusting your evidence", context-aware decoding), whose a is ours; Li et
al. 2023 ("Contrastive decoding") for the plausibility mask.
"""

import math

import torch
from torch import Tensor

PLAUSIBLE = 0.1
"""A token is plausible if the model with the context gives it this share of the best one's."""


def contrasted(with_context: Tensor, without: Tensor, a: float) -> Tensor:
    """(1 + a) * with_context - a * without, in log-probabilities, (positions, V) fp32.

    The difference of two small probabilities is noise, and a large a would make junk of it win: a
    token that is implausible with the context may be lowered by the contrast and never raised.

    Args:
        with_context: logits (positions, V).
        without: logits of the same positions without the context.
        a: the factor, at least 0; 0 gives `with_context` back as it is.
    """
    if a == 0:
        return with_context
    ours, theirs = with_context.log_softmax(-1), without.log_softmax(-1)
    change = ours - theirs
    plausible = ours >= ours.amax(-1, keepdim=True) + math.log(PLAUSIBLE)
    return ours + a * torch.where(plausible, change, change.clamp(max=0.0))
