"""Bags: their sums, padding, ids and order statistics, and the dense form."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.denoising.streams import Purpose, Words, uniform
from common.processes.simplex.state import (
    Bag,
    NoiseForm,
    dense_input,
    extremes_input,
    largest_normals,
    model_input,
)
from tests.processes.bags import CPU, EXTREMES, K, bag_of, density, random_estimate, stream, times

# Sums, padding, ids


@given(
    hot=st.integers(0, 16),
    t=st.floats(1e-3, 1),
    seed=st.integers(0, 2**64 - 2),
    k=st.floats(1, 8),
)
@settings(max_examples=20, deadline=None)
def test_a_bag_sums_to_one(hot, t, seed, k):
    estimate = random_estimate(2, 3, hot, 500) if hot else torch.empty(2, 3, 0, dtype=torch.int64)
    t_rows = times(t, 1.0)
    bag = model_input(
        Words([seed, seed + 1], [0, 0], [1, 1], CPU),
        estimate,
        t_rows,
        form=EXTREMES,
        simplex_value=k,
        vocabulary_size=500,
    )
    assert bag.weights.dtype == bag.rest.dtype == torch.float32
    assert (bag.weights >= 0).all()
    assert (bag.rest >= 0).all()
    torch.testing.assert_close(bag.weights.sum(-1) + bag.rest, torch.ones(2, 3), atol=1e-5, rtol=0)
    assert ((bag.ids >= 0) & (bag.ids < 500)).all()


@pytest.mark.parametrize("t", [1e-6, 0.05, 0.3, 0.999999, 1.0])
def test_finite_along_the_whole_schedule(t):
    bag = bag_of(torch.tensor([[[3], [4]]]), t, size=30_000, form=NoiseForm())
    assert torch.isfinite(bag.weights).all()
    assert torch.isfinite(bag.rest).all()
    dense = bag_of(torch.tensor([[[3], [4]]]), t, size=300, form=NoiseForm("dense", 0, 0))
    assert torch.isfinite(dense).all()


def test_padding_never_marks_an_id_in_the_bag():
    narrow = torch.tensor([[[7], [9]]])
    wide = torch.tensor([[[7, -1, -1], [9, -1, -1]]])
    a, b = bag_of(narrow, 0.2, size=500), bag_of(wide, 0.2, size=500)
    assert (b.weights[..., 1:3] == 0).all()
    torch.testing.assert_close(density(a, 500), density(b, 500), atol=1e-7, rtol=0)


def test_padding_never_marks_an_id_in_the_dense_form():
    normals = torch.zeros(1, 1, 10, dtype=torch.float64)
    one = dense_input(normals, torch.tensor([[[4]]]), times(0.1), simplex_value=K)
    padded = dense_input(normals, torch.tensor([[[-1, 4, -1]]]), times(0.1), simplex_value=K)
    nothing = dense_input(normals, torch.tensor([[[-1]]]), times(0.1), simplex_value=K)
    assert torch.equal(one, padded)
    assert torch.equal(nothing, torch.full((1, 1, 10), 0.1))


def test_noise_ids_are_never_hot_and_cover_all_others():
    size, form = 140, NoiseForm("extremes", 16, 16)
    hot = torch.tensor([0, 3, 4, 5, 77, 138, 139, -1])
    estimate = hot.repeat(1, 600, 1)
    bag = bag_of(estimate, 0.5, size=size, form=form)
    noise = bag.ids[..., 8:].flatten()
    assert not torch.isin(noise, hot).any()
    counts = torch.bincount(noise, minlength=size)
    assert set(counts.nonzero().flatten().tolist()) == set(range(size)) - set(hot.tolist())


@pytest.mark.parametrize("offset", [1, 17])
def test_noise_and_tail_ids_are_uniform(offset):
    size, form = 200, NoiseForm("extremes", 16, 16)
    estimate = torch.tensor([5, 6, 180]).repeat(1, 2000, 1)
    bag = bag_of(estimate, 0.5, size=size, form=form, seed=11)
    start = 3 + (0 if offset == 1 else 16)
    counts = torch.bincount(bag.ids[..., start : start + 16].flatten(), minlength=size).double()
    counts = counts[counts > 0]
    expected = 2000 * 16 / 197
    chi = ((counts - expected) ** 2 / expected).sum().item()
    # 196 degrees of freedom: mean 196, standard deviation 19.8.
    assert len(counts) == 197
    assert abs(chi - 196) < 4 * 19.8


# Order statistics


def test_order_statistics_match_sorted_normals():
    n, m, rows = 2000, 16, 3000
    u = uniform(Words([5], [0], [0], CPU).words(Purpose.ORDER_STATISTICS, rows, m))[0]
    drawn = largest_normals(u, torch.full((rows,), n)).numpy()
    rng = np.random.default_rng(0)
    brute = np.concatenate(
        [-np.sort(-rng.standard_normal((500, n)), axis=-1)[:, :m] for _ in range(6)]
    )
    assert (np.diff(drawn, axis=-1) <= 0).all()
    error = np.sqrt((drawn.var(0) + brute.var(0)) / rows)
    assert (np.abs(drawn.mean(0) - brute.mean(0)) < 4 * error).all()
    assert drawn.std(0) == pytest.approx(brute.std(0), rel=0.1)
    # Neighbours move together: order statistics drawn apart from one another would not.
    assert np.corrcoef(drawn[:, 0], drawn[:, 5])[0, 1] == pytest.approx(
        np.corrcoef(brute[:, 0], brute[:, 5])[0, 1], abs=0.06
    )


def test_order_statistics_are_finite_at_the_ends_of_the_words():
    u = uniform(torch.tensor([[0, 0, 0, 0], [2**32 - 1] * 4]))
    top = largest_normals(u, torch.tensor([30_000, 30_000]))
    assert top.dtype == torch.float64
    assert torch.isfinite(top).all()


# The bag against the dense form


def embedding(size: int, width: int = 8) -> torch.Tensor:
    return torch.randn(size, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("t", "hot"), [(0.2, 1), (0.35, 1), (0.5, 4), (1.0, 0)])
def test_mean_and_variance_of_the_embedding_match_dense(t, hot):
    size, rows, form = 600, 1000, NoiseForm("extremes", 64, 32)
    estimate = torch.arange(hot).repeat(1, rows, 1)
    table = embedding(size)
    bag = bag_of(estimate, t, size=size, form=form)
    ours = (density(bag, size) @ table)[0]
    dense = bag_of(estimate, t, size=size, form=NoiseForm("dense", 0, 0), seed=99)
    theirs = (dense.double() @ table)[0]
    error = ((ours.var(0) + theirs.var(0)) / rows).sqrt()
    assert ((ours.mean(0) - theirs.mean(0)).abs() < 4.5 * error).all()
    ratio = (ours - ours.mean(0)).square().sum() / (theirs - theirs.mean(0)).square().sum()
    assert ratio.item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("t", [0.15, 0.25, 0.35, 0.5, 1.0])
def test_coupled_noise_gives_the_same_embedding(t):
    """The extremes are cut from the same dense normals; what differs is only the tail."""
    size, rows, m, r, hot = 2000, 150, 128, 32, int(t < 1)
    normals = torch.special.ndtri(uniform(stream(1, 3).words(Purpose.DENSE_NORMALS, rows, size)))
    estimate = torch.full((1, rows, hot), 17)
    dense = dense_input(normals, estimate, times(t), simplex_value=K)
    noise = normals.scatter(-1, estimate, -torch.inf)
    top, ids = noise.topk(m, dim=-1)
    tail = torch.randint(
        18, size, (1, rows, r), generator=torch.Generator().manual_seed(1), dtype=torch.int64
    )
    others = torch.full((1, rows), size - hot)
    bag = extremes_input(
        estimate, times(t), normals.gather(-1, estimate), top, ids, tail, others, simplex_value=K
    )
    head = density(Bag(bag.ids[..., :-r], bag.weights[..., :-r], torch.zeros_like(bag.rest)), size)
    exact = torch.zeros_like(head).scatter(-1, bag.ids[..., :-r], 1) * dense
    # The tail's mass is expected, not drawn, so kept shares differ by its fluctuation only.
    assert (head - exact).abs().sum(-1).mean() < 0.02
    table = embedding(size)
    difference = ((density(bag, size) - dense) @ table)[0]
    # Right in the mean; around it only the tail's part differs, of about the same size in both.
    bound = 4.5 * difference.std(0) / math.sqrt(rows)
    assert (difference.mean(0).abs() < bound).all()
    tail_part = ((dense - exact) @ table)[0]
    assert difference.square().sum() < 2.5 * (tail_part - tail_part.mean(0)).square().sum()


def test_the_tail_keeps_its_mass_and_its_variance():
    size, rows = 600, 1500
    t, form = 0.6, NoiseForm("extremes", 64, 32)
    bag = bag_of(torch.full((1, rows, 1), 5), t, size=size, form=form)
    tail = (bag.weights[..., -32:].double().sum(-1) + bag.rest).mean().item()
    dense = bag_of(torch.full((1, rows, 1), 5), t, size=size, form=NoiseForm("dense", 0, 0))
    noise = dense[0, :, :].double()
    noise[:, 5] = 0
    smaller = noise.sort(-1).values[:, 1 : size - 64]
    assert tail == pytest.approx(smaller.sum(-1).mean().item(), rel=0.04)
    kappa = (smaller.square().sum(-1) / smaller.sum(-1).square()).mean() - 1 / (size - 65)
    spread = bag.weights[..., -32:].sum(-1) / (bag.weights[..., -32:].sum(-1) + bag.rest)
    assert spread.square().mean().item() / 32 == pytest.approx(kappa.item(), rel=0.1)
