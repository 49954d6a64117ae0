import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.denoising.plan import Decider
from common.denoising.sampling import best_candidates, deciders, greedy, project
from common.denoising.streams import Words

CPU = torch.device("cpu")


def stream(rows: int = 1, *, seed: int = 1, step: int = 0) -> Words:
    return Words([seed + i for i in range(rows)], [0] * rows, [step] * rows, CPU)


def random_scores(*shape: int, seed: int = 0, scale: float = 2.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(share=st.floats(0.01, 0.99), seed=st.integers(0, 1000), ties=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_nucleus_is_the_fewest_best_candidates_with_their_share(share, seed, ties):
    scores = random_scores(2, 5, 12, seed=seed)
    scores = scores.round() if ties else scores
    draws = range(60)
    drawn = [
        project(scores, stream(2, seed=i), temperature=1.0, min_p=0.05, top_p=share) for i in draws
    ]
    for row in itertools.product(range(2), range(5)):
        p = (scores[row].double()).softmax(-1)
        p = torch.where(p >= 0.05 * p.max() * (1 - 1e-9), p, 0.0)
        best_first = sorted(range(12), key=lambda v: (-p[v].item(), v))
        allowed, mass = set(), 0.0
        for v in best_first:
            if not allowed or (mass < share * p.sum() * (1 + 1e-9) and p[v] > 0):
                allowed.add(v)
            mass += p[v].item()
        assert {int(ids[row]) for ids in drawn} <= allowed
        least = best_first[0]
        if share < 0.99 * p[least] / p.sum():
            assert {int(ids[row]) for ids in drawn} == {least}


@given(
    length=st.integers(2, 4),
    seed=st.integers(0, 1000),
    end=st.sampled_from([-1, 0, 3]),
    top_p=st.sampled_from([1.0, 0.6, 0.1]),
)
@settings(max_examples=90, deadline=None)
def test_runs_are_not_drawn_twice_where_another_candidate_stands(length, seed, end, top_p):
    scores = random_scores(2, 24, 6, seed=seed)

    def draw(**more):
        terms = {"temperature": 1.0, "min_p": 0.2, "top_p": top_p}
        return project(scores, stream(2, seed=seed), **terms, **more)

    free, drawn = draw(), draw(no_repeat=length, end=end)
    inside = scores >= scores.amax(-1, keepdim=True) + math.log(0.2)
    assert inside.gather(-1, drawn.unsqueeze(-1)).all()
    for before, after, candidates in zip(free.tolist(), drawn.tolist(), inside, strict=True):
        until = after.index(end) + 1 if end in after else len(after)
        assert before[until:] == after[until:]
        seen = set()
        for i in range(length - 1, until):
            stem = tuple(after[i - length + 1 : i])
            if (*stem, before[i]) not in seen:
                assert after[i] == before[i]
            elif (*stem, after[i]) in seen:
                others = candidates[i].nonzero().flatten().tolist()
                assert after[i] == before[i]
                assert all((*stem, v) in seen for v in others)
            seen.add((*stem, after[i]))


def test_a_repeat_is_left_through_candidates_outside_the_nucleus():
    scores = torch.tensor([[[9.0, 6.0, 0.0]] * 6])
    terms = {"temperature": 1.0, "min_p": 0.01, "top_p": 0.5}
    assert project(scores, stream(), **terms).tolist() == [[0] * 6]
    # All four pairs of the two candidates, and then none is left.
    assert project(scores, stream(), **terms, no_repeat=2).tolist() == [[0, 0, 1, 0, 0, 0]]


def test_greedy_takes_the_lowest_id_on_ties():
    scores = torch.tensor([[[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0], [0.0, -1.0, 0.5, 0.5]]])
    assert greedy(scores).tolist() == [[1, 0, 2]]


def test_greedy_takes_the_lowest_id_on_ties_of_a_wide_row():
    scores = torch.zeros(1, 1, 50_000)
    scores[..., [777, 31_000, 49_999]] = 1.0
    assert greedy(scores).item() == 777


def test_greedy_never_takes_a_masked_id():
    scores = torch.full((1, 2, 5), -torch.inf)
    scores[0, 0, 3] = -29_000.0
    scores[0, 1, 4] = -1.0
    assert greedy(scores).tolist() == [[3, 4]]


@pytest.mark.parametrize(("temperature", "min_p"), [(0.0, 0.1), (0.0, 1.0), (0.7, 1.0)])
def test_temperature_nought_or_min_p_one_is_greedy(temperature, min_p):
    scores = random_scores(2, 40, 30).round()
    drawn = project(scores, stream(2), temperature=temperature, min_p=min_p)
    assert torch.equal(drawn, greedy(scores))


@given(
    temperature=st.floats(0.05, 3),
    min_p=st.floats(1e-4, 1),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_sampling_stays_among_the_candidates(temperature, min_p, seed):
    scores = random_scores(2, 5, 25, seed=seed)
    drawn = project(scores, stream(2, seed=seed), temperature=temperature, min_p=min_p)
    chosen = scores.gather(-1, drawn.unsqueeze(-1)).squeeze(-1)
    probability = ((chosen - scores.amax(-1)).double() / temperature).exp()
    assert (probability >= min_p * (1 - 1e-4)).all()


@given(seed=st.integers(0, 1000), temperature=st.floats(0.2, 2), min_p=st.floats(0.01, 0.9))
@settings(max_examples=40, deadline=None)
def test_scores_of_other_ids_change_nothing(seed, temperature, min_p):
    scores = random_scores(1, 6, 25, seed=seed)
    cut = scores.amax(-1, keepdim=True) + temperature * math.log(min_p)
    outside = scores < cut
    noise = -torch.rand(scores.shape, generator=torch.Generator().manual_seed(seed)) * 1e4
    scrambled = torch.where(outside, cut - 1e-3 + noise, scores)
    masked = scores.masked_fill(outside, -torch.inf)
    settings_ = {"temperature": temperature, "min_p": min_p}
    drawn = project(scores, stream(seed=seed), **settings_)
    assert torch.equal(project(scrambled, stream(seed=seed), **settings_), drawn)
    assert torch.equal(project(masked, stream(seed=seed), **settings_), drawn)


@pytest.mark.parametrize(("temperature", "min_p"), [(1.0, 0.05), (0.6, 0.02), (2.0, 0.3)])
def test_draws_follow_the_softmax_of_the_candidates(temperature, min_p):
    row = torch.tensor([2.0, 1.5, 0.0, 1.9, -1.0, 1.0, -5.0, -torch.inf])
    positions = 20_000
    drawn = project(
        row.repeat(1, positions, 1), stream(seed=7), temperature=temperature, min_p=min_p
    )
    candidates = row >= row.max() + temperature * math.log(min_p)
    expected = (row.double() / temperature).masked_fill(~candidates, -torch.inf).softmax(-1)
    counts = torch.bincount(drawn[0], minlength=len(row)).double()
    assert counts[~candidates].sum() == 0
    error = counts[candidates] - positions * expected[candidates]
    chi = (error.square() / (positions * expected[candidates])).sum().item()
    # At most 7 candidates: 6 degrees of freedom pass 22.5 once in a thousand.
    assert chi < 22.5


def test_masked_ids_never_appear():
    scores = random_scores(1, 500, 20, scale=0.1)
    scores[..., [0, 3, 19]] = -torch.inf
    drawn = project(scores, stream(), temperature=5.0, min_p=1e-6)
    assert not torch.isin(drawn, torch.tensor([0, 3, 19])).any()
    assert len(drawn.unique()) == 17


def test_tiny_temperatures_and_equal_scores():
    flat = torch.zeros(1, 300, 4)
    drawn = project(flat, stream(), temperature=1e-3, min_p=0.5)
    assert set(drawn.unique().tolist()) == {0, 1, 2, 3}


def test_a_row_does_not_depend_on_other_rows():
    scores = random_scores(3, 10, 20, seed=5)
    together = project(scores, stream(3, seed=40), temperature=1.0, min_p=0.01)
    for i in range(3):
        alone = project(scores[i : i + 1], stream(seed=40 + i), temperature=1.0, min_p=0.01)
        assert torch.equal(alone[0], together[i])


def test_positions_steps_and_seeds_draw_apart():
    flat = torch.zeros(1, 64, 100)
    drawn = [
        project(flat, s, temperature=1.0, min_p=0.5)
        for s in (stream(), stream(step=1), stream(seed=2))
    ]
    assert len(drawn[0].unique()) > 30
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@given(
    seed=st.integers(0, 1000),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 3.0]),
    min_p=st.sampled_from([1.0, 0.5, 0.1, 1e-3]),
    most=st.integers(1, 30),
    coarse=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_best_candidates_are_those_of_the_definition(seed, temperature, min_p, most, coarse):
    scores = random_scores(2, 4, 25, seed=seed)
    scores = scores.round() if coarse else scores
    scores[..., 7] = -torch.inf
    best = best_candidates(scores, temperature=temperature, min_p=min_p, most=most)
    cut = scores.amax(-1) + temperature * math.log(min_p)
    widest = 0
    for row in range(2):
        for position in range(4):
            values = scores[row, position].tolist()
            inside = [i for i, v in enumerate(values) if v >= cut[row, position]]
            expected = sorted(inside, key=lambda i: (-values[i], i))[:most]
            widest = max(widest, len(expected))
            padding = [-1] * (best.ids.shape[-1] - len(expected))
            assert best.ids[row, position].tolist() == expected + padding
            kept = best.scores[row, position].tolist()
            assert kept == [values[i] for i in expected] + [-math.inf] * len(padding)
            mass = scores[row, position][inside].logsumexp(-1)
            torch.testing.assert_close(best.log_mass[row, position], mass)
    assert best.ids.shape == best.scores.shape == (2, 4, widest)
    assert torch.equal(best.ids[..., 0], greedy(scores))


def test_leads():
    scores = torch.tensor([[[3.0, 1.0, 2.5, 0.0], [0.0, 9.0, 0.0, 0.0], [4.0, 4.0, 0.0, 0.0]]])
    best = best_candidates(scores, temperature=1.0, min_p=0.2, most=16)
    assert best.leads().tolist() == [[0.5, math.inf, 0.0]]
    alone = best_candidates(scores[:, :2], temperature=0.0, min_p=0.2, most=16)
    assert alone.leads().tolist() == [[math.inf, math.inf]]


def test_who_decided():
    ids = torch.tensor([[1, 2, 3, 4]])
    core = torch.tensor([[1, 9, 3, 9]])
    david = torch.tensor([[9, 2, 3, 9]])
    expected = [Decider.CORE, Decider.DAVID, Decider.BOTH, Decider.NEITHER]
    result = deciders(ids, core, david)
    assert result.dtype == torch.uint8
    assert result.tolist() == [expected]


def test_who_decided_without_a_david():
    result = deciders(torch.tensor([[1, 2]]), torch.tensor([[1, 9]]), None)
    assert result.tolist() == [[Decider.CORE, Decider.NEITHER]]
