"""Draws whose token is certain although their candidates are not, against every way they may come
out.
"""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.collaboration.certified_draw import uncertain_draws
from common.denoising.streams import Philox, Words
from tests.loops import plan

SCORE = st.integers(-12, 0).map(lambda n: n / 4)  # ties are frequent
SIZE = 6
END = SIZE - 1


def seen(bounds, exact, agreed):
    """What is uncertain, of bounds above (positions, V) and which of them are exact."""
    bounds, exact = torch.tensor(bounds), torch.tensor(exact)
    process = agreed.process
    words = Philox(process.seed).words((1, 0))
    return uncertain_draws(process.draw, bounds, exact, ~exact, words)


def outcomes(bounds, exact, agreed):
    """The tokens of all ways in which the inexact scores may come out, on a grid."""
    bounds = torch.tensor(bounds)
    open_ = [tuple(place) for place in np.argwhere(~np.array(exact))]
    downs = itertools.product((0.0, 0.25, 1.0, 100.0), repeat=len(open_))
    ways = []
    for down in downs:
        ways.append(bounds.clone())
        for place, by in zip(open_, down, strict=True):
            ways[-1][place] -= by
    rows, process = len(ways), agreed.process
    words = Words([process.seed] * rows, [1] * rows, [0] * rows, torch.device("cpu"))
    return process.draw.tokens(torch.stack(ways), words).numpy()


@st.composite
def steps(draw):
    """Bounds of a few positions of which at most three ids are inexact, and a plan that draws."""
    positions = draw(st.integers(1, 5))
    rows = st.lists(SCORE, min_size=SIZE, max_size=SIZE)
    bounds = draw(st.lists(rows, min_size=positions, max_size=positions))
    places = st.tuples(st.integers(0, positions - 1), st.integers(0, SIZE - 1))
    exact = np.ones((positions, SIZE), bool)
    for place in draw(st.sets(places, max_size=3)):
        exact[place] = False
    agreed = plan(
        temperature=1.0,
        min_p=draw(st.sampled_from([0.6, 0.2, 0.01])),
        top_p=draw(st.sampled_from([1.0, 0.9, 0.6, 0.3])),
        no_repeat=draw(st.sampled_from([0, 2, 3])),
        seed=draw(st.integers(0, 2**64 - 1)),
        forbidden=(),
        end=END,
    )
    return np.array(bounds, np.float32), exact, agreed


@given(step=steps())
@settings(max_examples=400, deadline=None)
def test_a_token_that_is_certain_is_drawn_whatever_the_others_come_to(step):
    bounds, exact, agreed = step
    uncertain = seen(*step)
    assert not uncertain[exact.all(-1)].any()
    drafts = outcomes(*step)
    until = int(uncertain.argmax()) if agreed.process.no_repeat and uncertain.any() else len(bounds)
    for position in range(until):
        assert uncertain[position] or len(set(drafts[:, position])) == 1


def share_certain(agreed_of, exact, bounds):
    """Of many seeds, the share at which the only position is certain, and the share of those that
    come out the same in every way.
    """
    certain = same = 0
    for seed in range(400):
        agreed = agreed_of(seed)
        certain += not seen(bounds, exact, agreed)[0]
        same += len(set(outcomes(bounds, exact, agreed)[:, 0])) == 1
    return certain / 400, same / 400


def sampling(top_p, min_p=0.005):
    return lambda seed: plan(
        temperature=1.0, min_p=min_p, top_p=top_p, seed=seed, forbidden=(), end=END
    )


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_hardly_a_draw_depends_on_unlikely_candidates(top_p):
    # Ids 3 and 4 have at most 1 % each.
    bounds = np.array([[0.0, -0.5, -1.0, -4.0, -4.0, -9.0]], np.float32)
    exact = np.array([[True, True, True, False, False, True]])
    certain, same = share_certain(sampling(top_p), exact, bounds)
    assert 0.9 < certain <= same


def test_a_likely_candidate_makes_many_draws_uncertain():
    bounds = np.array([[0.0, -0.5, -1.0, 0.0, -9.0, -9.0]], np.float32)
    exact = np.array([[True, True, True, False, True, True]])
    certain, same = share_certain(sampling(1.0), exact, bounds)
    assert certain == pytest.approx(same)
    assert 0.5 < certain < 0.8  # id 3 has a third of the mass, if it has its bound


def test_the_nucleus_ends_earlier_where_less_mass_is_left():
    # Id 2 is in the nucleus of 0.75 only if the inexact ids have their mass.
    bounds = np.array([[0.0, -0.7, -1.5, -2.0, -2.0, -2.0]], np.float32)
    exact = np.array([[True, True, True, False, False, False]])
    certain, same = share_certain(sampling(0.75), exact, bounds)
    assert 0.8 < certain <= same < 0.95


@pytest.mark.parametrize(("bound", "top_p"), [(1.0, 1.0), (0.1, 0.45)])
def test_a_bound_above_the_best_may_rule_other_candidates_out(bound, top_p):
    # Candidates have 0.6 of the best one's share, -0.51: with id 2 at its bound, id 1 is none, with
    # the larger bound nor is id 0; and id 0 is in a nucleus of 0.45 only beside id 1.
    bounds = np.array([[0.0, -0.45, bound, -9.0, -9.0, -9.0]], np.float32)
    exact = np.array([[True, True, False, True, True, True]])
    certain, same = share_certain(sampling(top_p, min_p=0.6), exact, bounds)
    assert certain == 0
    assert same < 0.9


def test_of_equal_scores_the_lowest_id_is_first_in_the_nucleus():
    bounds = np.array([[0.0, 0.0, 0.0, 0.0, 0.0, -9.0]], np.float32)
    exact = np.array([[False, True, True, True, True, True]])
    certain, same = share_certain(sampling(0.7), exact, bounds)
    assert 0.2 < certain <= same < 0.9


def test_where_nothing_is_exact_nothing_is_certain():
    bounds, exact = np.zeros((1, SIZE), np.float32), np.zeros((1, SIZE), bool)
    assert seen(bounds, exact, sampling(1.0)(3)).tolist() == [True]
    bounds[0, 0], exact[0, 0] = -np.inf, True  # an id that must not appear
    assert seen(bounds, exact, sampling(0.9)(3)).tolist() == [True]


def test_a_bound_beyond_all_measure_is_uncertain():
    bounds = np.array([[0.0, -1.0, 30000.0, -9.0, -9.0, -9.0]], np.float32)
    exact = np.array([[True, True, False, True, True, True]])
    for top_p in (1.0, 0.9):
        assert seen(bounds, exact, sampling(top_p)(1)).tolist() == [True]


def repeating(seed, no_repeat=2, **changes):
    given = {"min_p": 0.005, "top_p": 0.5} | changes
    return plan(temperature=1.0, no_repeat=no_repeat, seed=seed, forbidden=(), end=END, **given)


def certain_at_last(rows, exact, **changes):
    """The share of seeds at which the last position is certain."""
    return np.mean([not seen(rows, exact, repeating(seed, **changes))[-1] for seed in range(200)])


def wanting(*tokens):
    """Exact scores that want these tokens, the others being no candidates."""
    rows = np.full((len(tokens), SIZE), -99.0, np.float32)
    rows[range(len(tokens)), tokens] = 0.0
    return rows, np.ones_like(rows, bool)


def test_where_a_repeat_is_left_all_candidates_count():
    # 0 1 0, and then 1 would repeat: any candidate that is not 1 may follow.
    rows, exact = wanting(0, 1, 0, 1)
    rows[3, 2:4] = -4.0
    exact[3, 3] = False
    assert 0.3 < certain_at_last(rows, exact) < 0.7  # as often as id 2 has the larger key
    assert certain_at_last(rows, exact, no_repeat=0) == 1
    # Id 2 is no candidate where id 3 has its bound.
    rows[3, 2], rows[3, 3] = -0.45, 0.1
    assert certain_at_last(rows, exact, min_p=0.6, top_p=1.0) == 0
    # Where the inexact one would repeat itself, nothing depends on it.
    rows, exact = wanting(0, 1, 0, 2)
    rows[3, 1], exact[3, 1] = -4.0, False
    assert certain_at_last(rows, exact) == 1


def test_where_all_would_repeat_the_first_one_stays():
    rows, exact = wanting(0, 1, 0, 2, 0, 1)
    rows[5, 2], exact[5, 2] = -2.0, False
    assert certain_at_last(rows, exact) == 1
    assert 0.8 < certain_at_last(rows, exact, top_p=1.0) < 1  # as often as id 1 is drawn first


def test_behind_an_uncertain_token_all_open_positions_are():
    rows, exact = wanting(0, 1, 2, 3)
    rows[1, 2] = 0.0
    rows[[0, 3], 4] = -5.0  # below the nucleus, in any case
    exact[1, 2] = exact[0, 4] = exact[3, 4] = False
    found = [seen(rows, exact, repeating(seed)).tolist() for seed in range(40)]
    assert [False, True, False, True] in found
    assert all(one[0] is False and one[2] is False for one in found)
    free = [seen(rows, exact, repeating(seed, no_repeat=0)).tolist() for seed in range(40)]
    assert [False, True, False, False] in free
