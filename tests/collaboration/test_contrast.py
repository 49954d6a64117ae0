import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.collaboration.contrast import PLAUSIBLE, contrasted


def logits(seed: int, scale: float, size: int = 40) -> torch.Tensor:
    return torch.randn(5, size, generator=torch.Generator().manual_seed(seed)) * scale


@given(seed=st.integers(0, 999), a=st.floats(0.05, 8), scale=st.floats(0.1, 12))
@settings(max_examples=60, deadline=None)
def test_only_what_the_context_makes_plausible_may_rise(seed, a, scale):
    ours, theirs = logits(seed, scale), logits(seed + 1, scale)
    change = contrasted(ours, theirs, a) - ours.log_softmax(-1)
    plausible = ours >= ours.amax(-1, keepdim=True) + math.log(PLAUSIBLE)
    assert (change[~plausible] <= 1e-5).all()
    expected = a * (ours.log_softmax(-1) - theirs.log_softmax(-1))
    torch.testing.assert_close(change[plausible], expected[plausible], atol=1e-3, rtol=1e-3)


@given(seed=st.integers(0, 999), a=st.floats(0, 8), shift=st.floats(-50, 50))
@settings(max_examples=30, deadline=None)
def test_a_constant_added_to_a_row_changes_nothing(seed, a, shift):
    ours, theirs = logits(seed, 3.0), logits(seed + 1, 3.0)
    once = contrasted(ours, theirs, a).log_softmax(-1)
    moved = contrasted(ours + shift, theirs - shift, a).log_softmax(-1)
    torch.testing.assert_close(once, moved, atol=2e-3, rtol=1e-3)


def test_no_contrast_is_the_row_itself():
    ours = logits(1, 3.0)
    assert contrasted(ours, logits(2, 3.0), 0.0) is ours


def test_contrast_takes_the_tokens_that_only_the_context_explains():
    ours, theirs = torch.full((1, 6), -9.0), torch.full((1, 6), -9.0)
    ours[0, 1], ours[0, 2] = 2.0, 1.5  # 2 needs the context, 1 is said anyway
    theirs[0, 1], theirs[0, 3] = 4.0, -30.0  # 3 is junk that seems to need the context most
    assert ours.argmax() == 1
    assert contrasted(ours, theirs, 1.0).argmax() == 2
