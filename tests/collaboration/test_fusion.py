import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.collaboration.codec import LOWEST, decode, encode
from common.collaboration.fusion import Weighted, fuse
from common.collaboration.settings import Codec
from common.denoising.sampling import greedy

CPU = torch.device("cpu")
SIZE = 30


def logits(seed: int, positions: int = 3, scale: float = 4.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(positions, SIZE, generator=generator)


def weighted(
    name: str, weight: float, rows: torch.Tensor, codec=Codec.DENSE, entries=8
) -> Weighted:
    return Weighted(name, weight, encode(rows, block=0, step=0, codec=codec, entries=entries))


def shifted(rows: torch.Tensor) -> torch.Tensor:
    return (rows - rows.amax(-1, keepdim=True)).clamp(min=LOWEST)


@pytest.mark.parametrize("codec", Codec)
def test_weight_nought_is_the_core_alone(codec):
    core = logits(1).unsqueeze(0)
    alone = fuse(core, [])
    muted = fuse(core, [weighted("a", 0.0, logits(2), codec)])
    assert torch.equal(muted.scores, alone.scores)
    assert torch.equal(alone.scores, shifted(core))
    assert muted.david_choice is None
    assert alone.david_choice is None


@given(seed=st.integers(0, 500), codec=st.sampled_from(Codec))
@settings(max_examples=30, deadline=None)
def test_weight_one_is_david_alone_bit_for_bit(seed, codec):
    one = weighted("a", 1.0, logits(seed), codec)
    result = fuse(logits(seed + 1, scale=50).unsqueeze(0), [one])
    assert torch.equal(result.scores[0], decode(one.contribution, SIZE, CPU))
    assert result.david_choice.shape == (1, 3)


def test_weight_one_is_david_alone_where_the_core_forbids():
    core = logits(1).unsqueeze(0)
    core[..., ::2] = -torch.inf
    one = weighted("a", 1.0, logits(2))
    assert torch.equal(fuse(core, [one]).scores[0], decode(one.contribution, SIZE, CPU))


def test_the_published_sum():
    core, u, w = logits(1), logits(2), logits(3)
    result = fuse(core.unsqueeze(0), [weighted("a", 0.25, u), weighted("b", 0.5, w)])
    expected = (
        0.25 * shifted(core) + 0.25 * shifted(u).half().float() + 0.5 * shifted(w).half().float()
    )
    torch.testing.assert_close(result.scores[0], expected)


def test_scores_are_linear_in_unnormalised_logits():
    """The sum of logits is the weighted geometric mean of the distributions."""
    core, u = logits(1), logits(2)
    fused = fuse(core.unsqueeze(0), [weighted("a", 0.4, u)]).scores[0].softmax(-1)
    mean = 0.6 * core.log_softmax(-1) + 0.4 * u.log_softmax(-1)
    torch.testing.assert_close(fused, mean.softmax(-1), atol=3e-3, rtol=2e-2)


@given(seeds=st.permutations(range(4)), codec=st.sampled_from(Codec))
@settings(max_examples=30, deadline=None)
def test_the_order_of_contributors_is_irrelevant(seeds, codec):
    core = logits(99).unsqueeze(0)
    contributions = [weighted(f"david-{i}", 0.1 + 0.07 * i, logits(i), codec) for i in range(4)]
    expected = fuse(core, contributions)
    result = fuse(core, [contributions[i] for i in seeds])
    assert torch.equal(result.scores, expected.scores)
    assert torch.equal(result.david_choice, expected.david_choice)


@given(shift=st.integers(-4000, 4000), seed=st.integers(0, 200), codec=st.sampled_from(Codec))
@settings(max_examples=40, deadline=None)
def test_a_constant_on_a_models_logits_changes_nothing(shift, seed, codec):
    # Steps of 1/64 and whole shifts are exact in fp32, so that the constant is the only change.
    core, u = (logits(seed) * 64).round() / 64, (logits(seed + 1) * 64).round() / 64
    plain = fuse(core.unsqueeze(0), [weighted("a", 0.4, u, codec)])
    moved = fuse((core + shift).unsqueeze(0), [weighted("a", 0.4, u - shift, codec)])
    assert torch.equal(moved.scores, plain.scores)
    assert torch.equal(greedy(moved.scores), greedy(plain.scores))


@given(
    weights=st.lists(st.floats(0, 4), max_size=3),
    scale=st.sampled_from([1e-30, 1.0, 1e5, 1e37]),
    masked=st.booleans(),
    codec=st.sampled_from(Codec),
)
@settings(max_examples=60, deadline=None)
def test_finite_in_finite_out(weights, scale, masked, codec):
    core = logits(1, scale=scale).unsqueeze(0)
    if masked:
        core[..., 5:] = -torch.inf
    contributions = [
        weighted(str(i), w, logits(i + 2, scale=scale), codec) for i, w in enumerate(weights)
    ]
    assert torch.isfinite(fuse(core, contributions).scores).all()


def test_sparse_is_dense_where_the_rows_are_complete():
    core, u = logits(1).unsqueeze(0), logits(2)
    dense = fuse(core, [weighted("a", 0.3, u)])
    topk = fuse(core, [weighted("a", 0.3, u, Codec.TOPK, SIZE)])
    assert torch.equal(dense.scores, topk.scores)


def test_several_davids_share_one_choice():
    first, second = torch.zeros(1, SIZE), torch.zeros(1, SIZE)
    first[0, 3], second[0, 4] = 5.0, 5.0
    core = torch.zeros(1, 1, SIZE)
    strong = fuse(core, [weighted("a", 0.2, first), weighted("b", 0.3, second)])
    assert strong.david_choice.tolist() == [[4]]
    tied = fuse(core, [weighted("b", 0.3, first), weighted("a", 0.3, second)])
    assert tied.david_choice.tolist() == [[3]]


def test_a_negative_share_of_the_core_stays_exact():
    """Weights above 1 lean away from the core: (1 - W) c is then negative."""
    core, u = logits(1), logits(2)
    result = fuse(core.unsqueeze(0), [weighted("a", 1.5, u)])
    expected = -0.5 * shifted(core) + 1.5 * shifted(u).half().float()
    torch.testing.assert_close(result.scores[0], expected)


def test_half_precision_logits_are_fused_in_fp32():
    core = logits(1).unsqueeze(0)
    for dtype in (torch.bfloat16, torch.float16):
        result = fuse(core.to(dtype).float(), [weighted("a", 0.5, logits(2))])
        assert result.scores.dtype == torch.float32


def test_inputs_are_left_alone():
    core, u = logits(1).unsqueeze(0), logits(2)
    contribution = encode(u, block=0, step=0, codec=Codec.TOPK, entries=4)
    before = core.clone(), contribution.values.copy()
    for _ in itertools.repeat(None, 2):
        fuse(core, [Weighted("a", 0.5, contribution)])
    assert torch.equal(core, before[0])
    assert np.array_equal(contribution.values, before[1])


def by_whole_rows(core: torch.Tensor, contributions: list[Weighted]) -> torch.Tensor:
    """The published sum with every contribution decoded, in the order of the ids."""
    used = sorted((v for v in contributions if v.weight > 0), key=lambda v: v.contributor_id)
    davids = torch.zeros(core.shape[1:])
    for one in used:
        davids += one.weight * decode(one.contribution, core.shape[-1], CPU)
    return (1 - sum(v.weight for v in used)) * shifted(core) + davids


@given(
    kinds=st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.1, 0.75, 1.0, 1.7]),
            st.sampled_from([Codec.TOPK, Codec.TOPK, Codec.DENSE]),
            st.integers(1, SIZE),
            st.sampled_from([0.0, 3.0, 1e5]),
        ),
        min_size=1,
        max_size=4,
    ),
    seed=st.integers(0, 500),
)
@settings(max_examples=80, deadline=None)
def test_fusing_where_something_was_sent_is_fusing_whole_rows_bit_for_bit(kinds, seed):
    core = logits(seed).unsqueeze(0)
    contributions = [
        weighted(f"{9 - i}", weight, logits(seed + 1 + i, scale=scale), codec, entries)
        for i, (weight, codec, entries, scale) in enumerate(kinds)
    ]
    assert torch.equal(fuse(core, contributions).scores, by_whole_rows(core, contributions))


@given(seed=st.integers(0, 500), entries=st.integers(1, SIZE), digits=st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_the_davids_choice_is_the_same_in_every_codec(seed, entries, digits):
    u = logits(seed).round(decimals=digits)
    core = logits(seed + 1).unsqueeze(0)
    dense = fuse(core, [weighted("a", 0.3, u)]).david_choice
    assert torch.equal(fuse(core, [weighted("a", 0.3, u, Codec.TOPK, entries)]).david_choice, dense)
    assert dense.tolist() == [[row.index(max(row)) for row in shifted(u).half().tolist()]]
