"""States: the list of mistakes, forms, batches, and widths that differ."""

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
    SimplexState,
    dense_input,
    stack_estimates,
    states_input,
)
from tests.processes.bags import CPU, EXTREMES, K, bag_of, density, stream, times

# What the research warns about (numbers of the list of mistakes)


def test_1_clean_mass_is_the_published_one_at_this_k():
    # 1 / (1 + (V - 1) exp(-2 K)): a state without noise is far from one-hot at large V.
    for size, expected in ((256, 0.989), (32_000, 0.408), (50_265, 0.305)):
        form = NoiseForm() if size > 1024 else NoiseForm("dense", 0, 0)
        simplex = bag_of(torch.tensor([[[3]]]), 1e-6, size=size, form=form)
        hot = simplex.weights[0, 0, 0] if isinstance(simplex, Bag) else simplex[0, 0, 3]
        assert hot.item() == pytest.approx(expected, abs=2e-3)


def test_2_recoverability_is_the_published_one():
    for t, expected in ((0.3, 0.86), (0.4, 0.49), (0.5, 0.20)):
        p = bag_of(torch.full((1, 2000, 1), 9), t, size=256, form=NoiseForm("dense", 0, 0))
        assert (p.argmax(-1) == 9).float().mean().item() == pytest.approx(expected, abs=0.04)


def test_3_the_softmax_is_at_temperature_one():
    normals = torch.special.ndtri(uniform(stream(1).words(Purpose.DENSE_NORMALS, 2, 20)))
    signal = math.cos((0.4 + 1e-4) / 1.0001 * math.pi / 2) ** 2
    x = -K * math.sqrt(signal) + math.sqrt(1 - signal) * K * normals
    x[..., 6] += 2 * K * math.sqrt(signal)
    p = dense_input(normals, torch.full((1, 2, 1), 6), times(0.4), simplex_value=K)
    torch.testing.assert_close(p, x.softmax(-1).float(), atol=1e-6, rtol=1e-5)


def test_7_the_noise_has_standard_deviation_k():
    p = bag_of(torch.empty(1, 400, 0, dtype=torch.int64), 1.0, size=200, form=NoiseForm("dense"))
    logits = p.double().log()
    assert (logits - logits.mean(-1, keepdim=True)).std().item() == pytest.approx(K, rel=0.01)
    bag = bag_of(torch.empty(1, 400, 0, dtype=torch.int64), 1.0, size=4000, form=NoiseForm())
    gaps = (bag.weights[..., 0].double().log() - bag.weights[..., 127].double().log()).mean()
    rng = np.random.default_rng(0)
    brute = -np.sort(-rng.standard_normal((400, 4000)), axis=-1)
    assert gaps.item() == pytest.approx(K * (brute[:, 0] - brute[:, 127]).mean(), rel=0.03)


@pytest.mark.parametrize("form", [NoiseForm("dense", 0, 0), EXTREMES])
def test_5_the_estimate_does_not_show_at_step_nought(form):
    """abar(1) is so small that a state at t = 1 is pure noise even where an estimate is given."""
    with_hot = bag_of(torch.full((1, 3000, 1), 5), 1.0, size=300, form=form)
    p = with_hot if isinstance(with_hot, torch.Tensor) else density(with_hot, 300)
    assert p[..., 5].mean().item() == pytest.approx(1 / 300, rel=0.6)


def test_the_state_at_step_nought_is_pure_noise():
    state = SimplexState(7, 0, 0, 1.0, np.empty((4, 0), np.int64))
    p = states_input(
        [state], form=NoiseForm("dense"), simplex_value=K, vocabulary_size=50, device=CPU
    )
    normals = torch.special.ndtri(
        uniform(Words([7], [0], [0], CPU).words(Purpose.DENSE_NORMALS, 4, 50))
    )
    torch.testing.assert_close(p, (K * normals).softmax(-1).float(), atol=1e-6, rtol=1e-5)


def test_10_the_sums_are_made_in_float64():
    """fp32 inputs would lose the tail: its log-weights span hundreds at large K."""
    p = bag_of(torch.full((1, 50, 1), 5), 0.3, size=30_000, form=NoiseForm("extremes", 16, 8))
    total = p.weights.double().sum(-1) + p.rest.double()
    assert (total - 1).abs().max() < 1e-6
    assert (p.rest > 0).all()


# Forms, batches, mixed widths


def test_small_vocabularies_go_dense():
    assert NoiseForm("extremes", 128, 32).for_vocabulary(1023).name == "dense"
    assert NoiseForm("extremes", 128, 32).for_vocabulary(1024).name == "extremes"
    simplex = bag_of(torch.tensor([[[1]]]), 0.3, size=100)
    assert isinstance(simplex, torch.Tensor)
    exact = bag_of(torch.tensor([[[1]]]), 0.3, size=100, form=NoiseForm("dense", 0, 0))
    assert torch.equal(simplex, exact)


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="'dense' or 'extremes'"):
        bag_of(torch.tensor([[[1]]]), 0.3, size=1000, form=NoiseForm("gaussian"))


def test_multi_hot_gives_each_id_its_share():
    hot = torch.arange(16).repeat(1, 500, 1)
    bag = bag_of(hot, 0.05, size=1000)
    shares = bag.weights[0, :, :16].mean(0)
    assert (shares.sum() > 0.9).all()
    assert shares.tolist() == pytest.approx([1 / 16] * 16, rel=0.25)


@pytest.mark.parametrize("form", [NoiseForm("dense", 0, 0), EXTREMES])
def test_rows_of_a_batch_are_independent(form):
    states = [
        SimplexState(3, 0, 4, 0.3, np.array([[5], [6]])),
        SimplexState(2**64 - 1, 7, 0, 1.0, np.empty((2, 0), np.int64)),
        SimplexState(3, 0, 4, 0.7, np.array([[5, 9, 2], [6, -1, -1]])),
    ]
    settings_ = {"form": form, "simplex_value": K, "vocabulary_size": 400, "device": CPU}
    together = states_input(states, **settings_)
    for i, state in enumerate(states):
        alone = states_input([state], **settings_)
        if isinstance(together, torch.Tensor):
            assert torch.equal(alone[0], together[i])
        else:
            a = density(alone, 400)[0]
            b = density(
                Bag(together.ids[i : i + 1], together.weights[i : i + 1], together.rest[i : i + 1]),
                400,
            )
            torch.testing.assert_close(a, b[0], atol=1e-6, rtol=1e-5)


def test_estimates_of_different_widths_are_padded():
    states = [
        SimplexState(0, 0, 0, 1.0, np.empty((2, 0), np.int64)),
        SimplexState(0, 0, 1, 0.5, np.array([[1, 2], [3, -1]])),
        SimplexState(0, 0, 1, 0.5, np.array([[4], [5]])),
    ]
    stacked = stack_estimates(states, CPU)
    assert stacked.dtype == torch.int64
    assert stacked.tolist() == [[[-1, -1], [-1, -1]], [[1, 2], [3, -1]], [[4, -1], [5, -1]]]


@given(
    seed=st.integers(0, 2**64 - 1), block=st.integers(0, 2**16 - 1), step=st.integers(0, 2**16 - 1)
)
@settings(max_examples=15)
def test_a_state_is_rebuilt_bit_for_bit(seed, block, step):
    state = SimplexState(seed, block, step, 0.3, np.array([[5], [6]]))
    settings_ = {"form": EXTREMES, "simplex_value": K, "vocabulary_size": 400, "device": CPU}
    a, b = states_input([state], **settings_), states_input([state], **settings_)
    assert torch.equal(a.ids, b.ids)
    assert torch.equal(a.weights, b.weights)
    assert torch.equal(a.rest, b.rest)


def test_seed_block_and_step_change_the_noise():
    settings_ = {"form": EXTREMES, "simplex_value": K, "vocabulary_size": 400, "device": CPU}
    places = [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1)]
    bags = [
        states_input([SimplexState(s, b, n, 0.3, np.array([[5]]))], **settings_)
        for s, b, n in places
    ]
    for i, a in enumerate(bags):
        for b in bags[i + 1 :]:
            assert not torch.equal(a.weights, b.weights)
            assert not torch.equal(a.ids, b.ids)
