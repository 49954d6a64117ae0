import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.denoising.sampling import best_candidates
from common.processes.simplex import conditioning
from common.processes.simplex.state import Bag, FusedSignal
from tests.tiny import tiny_model, tiny_vocabulary

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    return tiny_model(tiny_vocabulary(), seed=0)


def logits(*shape: int, seed: int = 0, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def row(bag: Bag, index: int) -> Bag:
    part = slice(index, index + 1)
    return Bag(bag.ids[part], bag.weights[part], bag.rest[part])


def test_top_32_and_the_rest():
    scores = logits(2, 3, 200)
    bag = conditioning.from_logits(scores)
    p = scores.softmax(-1)
    values, ids = p.topk(32, dim=-1)
    assert bag.ids.shape == (2, 3, 32)
    assert torch.equal(bag.ids, ids)
    torch.testing.assert_close(bag.weights, values)
    torch.testing.assert_close(bag.rest, 1 - values.sum(-1), atol=1e-6, rtol=0)


@given(seed=st.integers(0, 100), scale=st.sampled_from([0.0, 1e-3, 1.0, 30.0]))
@settings(max_examples=25, deadline=None)
def test_mass_is_one(seed, scale):
    bag = conditioning.from_logits(logits(1, 4, 90, seed=seed, scale=scale))
    assert (bag.weights >= 0).all()
    assert (bag.rest >= 0).all()
    torch.testing.assert_close(bag.weights.sum(-1) + bag.rest, torch.ones(1, 4), atol=1e-5, rtol=0)


def test_half_precision_logits_are_read_in_fp32():
    bag = conditioning.from_logits(logits(1, 2, 5000, scale=0.01).half())
    assert bag.weights.dtype == torch.float32
    torch.testing.assert_close(bag.weights.sum(-1) + bag.rest, torch.ones(1, 2), atol=1e-5, rtol=0)


def test_a_vocabulary_smaller_than_the_top_has_no_rest():
    bag = conditioning.from_logits(logits(1, 2, 10))
    assert bag.ids.shape[-1] == 10
    assert bag.rest.max() < 1e-6


def test_nothing_is_the_zero_vector(model):
    embedded = model.embed(conditioning.nothing(2, 3, CPU))
    assert embedded.shape == (2, 3, 32)
    assert (embedded == 0).all()


def test_nothing_has_one_meaning(model):
    empty = conditioning.from_estimate(torch.empty(1, 3, 0, dtype=torch.int64))
    blank = conditioning.from_estimate(torch.full((1, 3, 2), -1))
    dropped = conditioning.keep_rows(
        conditioning.from_logits(logits(1, 3, model.config.vocab_size)), torch.tensor([False])
    )
    for bag in (empty, blank, dropped):
        assert (model.embed(bag) == 0).all()


def test_nothing_is_not_the_uniform_distribution(model):
    """Zero logits would be the mean embedding: the other meaning of "none", which this is not."""
    uniform = conditioning.from_logits(torch.zeros(1, 3, model.config.vocab_size))
    mean = model.get_input_embeddings().weight.mean(0)
    torch.testing.assert_close(model.embed(uniform), mean.expand(1, 3, -1), atol=0.1, rtol=0)
    assert (model.embed(uniform) != 0).any()


def test_an_estimate_is_shared_equally():
    estimate = torch.tensor([[[5, -1, -1], [1, 2, 3], [-1, 7, 8]]])
    bag = conditioning.from_estimate(estimate)
    assert bag.weights[0, 0].tolist() == [1, 0, 0]
    assert bag.weights[0, 1].tolist() == pytest.approx([1 / 3] * 3)
    assert bag.weights[0, 2].tolist() == [0, 0.5, 0.5]
    assert (bag.rest == 0).all()
    assert (bag.ids >= 0).all()


def test_one_id_embeds_to_its_row(model):
    bag = conditioning.from_estimate(torch.tensor([[[20], [30]]]))
    assert torch.equal(model.embed(bag)[0], model.get_input_embeddings().weight[[20, 30]])


def test_rows_of_different_widths_are_stacked(model):
    bags = [
        conditioning.nothing(1, 4, CPU),
        conditioning.from_logits(logits(1, 4, model.config.vocab_size)),
        conditioning.from_estimate(torch.tensor([[[1, 2], [3, -1], [4, 5], [6, 7]]])),
    ]
    stacked = conditioning.stack(bags)
    assert stacked.ids.shape == (3, 4, 32)
    together = model.embed(stacked)
    for i, bag in enumerate(bags):
        torch.testing.assert_close(together[i : i + 1], model.embed(bag), atol=1e-6, rtol=1e-5)
    assert (together[0] == 0).all()


def test_keep_rows():
    bag = conditioning.from_logits(logits(2, 3, 60))
    kept = conditioning.keep_rows(bag, torch.tensor([True, False]))
    assert torch.equal(kept.weights[0], bag.weights[0])
    assert torch.equal(kept.rest[0], bag.rest[0])
    assert (kept.weights[1] == 0).all()
    assert (kept.rest[1] == 0).all()
    assert torch.equal(row(kept, 0).ids, row(bag, 0).ids)


def signal_of(scores: torch.Tensor, *, temperature: float, min_p: float) -> FusedSignal:
    best = best_candidates(scores, temperature=temperature, min_p=min_p, most=32)
    return conditioning.fused_signal(best)


@given(
    seed=st.integers(0, 200),
    temperature=st.sampled_from([0.0, 0.5, 1.0, 4.0]),
    min_p=st.sampled_from([1.0, 0.3, 0.01, 1e-4]),
)
@settings(max_examples=60, deadline=None)
def test_the_fused_signal_is_the_softmax_of_the_candidates(seed, temperature, min_p):
    scores = logits(1, 6, 60, seed=seed)
    signal = signal_of(scores, temperature=temperature, min_p=min_p)
    cut = scores.amax(-1, keepdim=True) + temperature * math.log(min_p)
    p = scores.masked_fill(scores < cut, -torch.inf).softmax(-1)[0]
    width = min(32, int((p > 0).sum(-1).max()))
    assert signal.ids.shape == signal.probabilities.shape == (6, width)
    assert signal.probabilities.dtype == np.float16
    for position in range(6):
        assert len(set(signal.ids[position].tolist())) == width
        expected = p[position].gather(-1, torch.from_numpy(signal.ids[position]))
        torch.testing.assert_close(
            torch.from_numpy(signal.probabilities[position]).float(), expected, atol=1e-6, rtol=1e-3
        )
        # Nothing likelier was left out.
        assert expected.sum() == pytest.approx(p[position].topk(width).values.sum().item())
    assert signal.probabilities.astype(np.float64).sum(-1).max() <= 1.001


def test_rows_with_fewer_candidates_are_filled_with_the_lowest_other_ids():
    scores = torch.full((1, 3, 10), -50.0)
    scores[0, 0, [0, 2, 7]] = torch.tensor([1.0, 2.0, 3.0])
    scores[0, 1, 9] = 1.0
    scores[0, 2, [1, 4]] = 1.0
    signal = signal_of(scores, temperature=1.0, min_p=0.01)
    assert signal.ids.tolist() == [[7, 2, 0], [9, 0, 1], [1, 4, 0]]
    assert (signal.probabilities == 0).tolist() == [[False] * 3, [False, True, True], [0, 0, 1]]


def test_a_greedy_session_shares_its_choice():
    scores = logits(1, 4, 60)
    signal = signal_of(scores, temperature=0.0, min_p=0.1)
    assert signal.ids.tolist() == scores[0].argmax(-1, keepdim=True).tolist()
    assert (signal.probabilities == 1).all()


def test_a_signal_is_read_as_it_is_sent():
    scores = logits(1, 5, 90, scale=0.2)
    signal = signal_of(scores, temperature=1.0, min_p=0.01)
    bag = conditioning.from_signal(signal)
    assert bag.ids.shape == (1, 5, 32)
    assert bag.weights.dtype == bag.rest.dtype == torch.float32
    assert np.array_equal(bag.weights[0].numpy(), signal.probabilities.astype(np.float32))
    torch.testing.assert_close(bag.weights.sum(-1) + bag.rest, torch.ones(1, 5))
    assert (bag.rest > 0.1).all()


def test_a_sum_beyond_one_leaves_no_rest():
    signal = FusedSignal(np.array([[3, 4]]), np.array([[0.75, 0.25049]], np.float16))
    assert conditioning.from_signal(signal).rest.tolist() == [[0.0]]


@given(
    seed=st.integers(0, 500),
    temperature=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    min_p=st.sampled_from([1.0, 0.5, 0.05, 0.005]),
)
@settings(max_examples=60, deadline=None)
def test_nothing_but_the_candidates_is_read(seed, temperature, min_p):
    """The candidates' ids and scores, the signal and the leads stay when all other ids change."""
    scores = logits(1, 5, 50, seed=seed)
    cut = scores.amax(-1, keepdim=True) + temperature * math.log(min_p)
    below = -torch.rand(scores.shape, generator=torch.Generator().manual_seed(seed)) * 1e4
    outside = scores < cut
    scrambled = torch.where(outside, cut - 1e-3 + below, scores)
    masked = scores.masked_fill(outside, -torch.inf)
    terms = {"temperature": temperature, "min_p": min_p}
    expected, signal = best_candidates(scores, **terms, most=32), signal_of(scores, **terms)
    for other in (scrambled, masked):
        best, shown = best_candidates(other, **terms, most=32), signal_of(other, **terms)
        assert torch.equal(best.ids, expected.ids)
        assert torch.equal(best.scores, expected.scores)
        assert torch.equal(best.log_mass, expected.log_mass)
        assert torch.equal(best.leads(), expected.leads())
        assert np.array_equal(shown.ids, signal.ids)
        assert np.array_equal(shown.probabilities, signal.probabilities)
