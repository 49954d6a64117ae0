"""Multi-hot states: what they carry, and where they are greedy ones."""

import pytest
import torch

from common.denoising.loop import Fused
from common.denoising.plan import Decider
from common.processes.simplex.settings import Projection
from tests.loops import (
    BLOCK,
    SIZE,
    SOUP,
    drive,
    leaning,
    plan,
    predicts,
    states,
    votes,
)


def test_multi_hot_states_carry_all_candidates_the_best_first():
    rows = leaning(SOUP + 2, SOUP, SOUP + 1)
    rows[0, 3] = votes(SOUP + 5)[0, 0]
    rows[0, 4, 0] = 21.0  # a forbidden id is no candidate
    agreed = plan(projection=Projection.MULTI_HOT, temperature=1.0, min_p=0.5)
    requests, result = drive(agreed, lambda _: rows)
    for state in states(requests):
        if state.step == 0:
            assert state.estimate.shape == (BLOCK, 0)
            continue
        expected = [[SOUP + 2, SOUP, SOUP + 1]] * BLOCK
        expected[3] = [SOUP + 5, -1, -1]
        assert state.estimate.tolist() == expected
    block = [SOUP + 2] * BLOCK
    block[3] = SOUP + 5
    assert result.ids.tolist() == block * 2


def test_at_most_16_ids_are_hot_and_equal_ones_go_by_id():
    agreed = plan(projection=Projection.MULTI_HOT, temperature=1.0, min_p=0.5, max_tokens=BLOCK)
    rows = leaning(*range(SOUP + 19, SOUP - 1, -1), by=0.0)
    requests, _ = drive(agreed, lambda _: rows)
    assert states(requests)[1].estimate.tolist() == [[*range(SOUP, SOUP + 16)]] * BLOCK


@pytest.mark.parametrize(("top_p", "count"), [(0.05, 1), (0.5, 2), (0.8, 3), (0.95, 4), (1.0, 4)])
def test_multi_hot_states_carry_the_nucleus_alone(top_p, count):
    """The four candidates hold .46, .28, .17 and .1 of their mass."""
    ids = [SOUP, SOUP + 1, SOUP + 2, SOUP + 3]
    rows = leaning(*ids, by=0.5)
    agreed = plan(projection=Projection.MULTI_HOT, temperature=1.0, min_p=0.1, top_p=top_p)
    requests, _ = drive(agreed, lambda _: rows)
    assert states(requests)[1].estimate.tolist() == [ids[:count]] * BLOCK


def test_multi_hot_without_a_choice_is_greedy():
    """Temperature 0, or min_p 1: one candidate."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(1, BLOCK, SIZE, generator=generator)
    shown = [
        [state.estimate.tolist() for state in states(drive(plan(**how), lambda _: rows)[0])]
        for how in (
            {"projection": Projection.MULTI_HOT, "temperature": 0.0},
            {"projection": Projection.MULTI_HOT, "temperature": 2.0, "min_p": 1.0},
            {"temperature": 0.0},
        )
    ]
    assert shown[0] == shown[1] == shown[2]


def test_the_best_of_the_hot_ids_says_who_decided():
    david = torch.full((1, BLOCK), SOUP)
    agreed = plan(projection=Projection.MULTI_HOT, temperature=1.0, min_p=0.5)
    fused = leaning(SOUP, SOUP + 1)
    requests, _ = drive(agreed, lambda _: leaning(SOUP + 1), lambda *_: Fused(fused, david))
    assert predicts(requests)[1].shown.decided.tolist() == [Decider.DAVID] * BLOCK
