"""Halting in the loop: which blocks end before their last step."""

import numpy as np
import pytest

from tests.loops import (
    BLOCK,
    END,
    SOUP,
    STEPS,
    drive,
    halting,
    leaning,
    moments,
    plan,
    predicts,
    states,
    votes,
)


@pytest.mark.parametrize("patience", [1, 2, 3, 4, 9])
def test_a_block_that_stands_still_ends_early(patience):
    agreed = halting(patience)
    requests, result = drive(agreed, lambda r: votes(SOUP + r.state.block))
    last = min(patience, STEPS - 1)
    assert moments(requests) == [(b, n) for b in range(2) for n in range(last + 1)]
    assert (result.block, result.step, result.steps) == (1, last, 2 * (last + 1))
    assert result.ids.tolist() == [SOUP] * BLOCK + [SOUP + 1] * BLOCK
    assert predicts(requests)[last + 1].shown.finished.tolist() == [SOUP] * BLOCK


def test_noise_cannot_stand_still():
    times = (1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2)
    requests, result = drive(halting(1, times=times), lambda _: votes(SOUP))
    assert [state.t for state in states(requests)] == [*times[:5], *times[:5]]
    assert result.ids.tolist() == [SOUP] * 2 * BLOCK


def test_steps_are_counted_without_halting_too():
    _, result = drive(plan(), lambda _: votes(SOUP))
    assert (result.step, result.steps) == (STEPS - 1, 2 * STEPS)


def test_a_change_makes_the_block_go_on():
    wanted = [SOUP, SOUP, SOUP + 1, SOUP + 1]
    agreed = halting(2, max_tokens=BLOCK)
    requests, result = drive(agreed, lambda r: votes(wanted[r.state.step]))
    assert len(predicts(requests)) == STEPS
    assert result.ids.tolist() == [SOUP + 1] * BLOCK


def test_what_the_answer_will_not_hold_may_change():
    def restless(*start: int):
        return lambda r: votes(*start, SOUP + r.state.step)

    agreed = halting(1)
    cut, result = drive(agreed, restless(SOUP, END))
    assert moments(cut) == [(0, 0), (0, 1)]
    assert result.ids.tolist() == [SOUP]
    short, result = drive(halting(1, max_tokens=2), restless(SOUP, SOUP))
    assert moments(short) == [(0, 0), (0, 1)]
    assert result.ids.tolist() == [SOUP, SOUP]
    assert len(predicts(drive(agreed, restless(SOUP, SOUP))[0])) == 2 * STEPS


def test_the_best_must_lead_by_the_margin():
    rows = leaning(SOUP, SOUP + 1, by=0.5)
    warm = {"temperature": 1.0, "min_p": 0.1, "max_tokens": BLOCK}
    for margin, steps in ((0.0, 2), (0.5, 2), (0.6, STEPS)):
        requests, result = drive(halting(1, margin, **warm), lambda _: rows)
        assert len(predicts(requests)) == steps
        assert result.ids.tolist() == [SOUP] * BLOCK
    # A single candidate leads by more than can be known.
    cold = halting(1, 1000.0, max_tokens=BLOCK)
    assert len(predicts(drive(cold, lambda _: rows)[0])) == 2


def test_sampling_does_not_disturb_halting():
    """The best candidates stand still while the draws do not."""
    rows = leaning(SOUP, SOUP + 1, SOUP + 2, by=0.1)
    agreed = halting(2, temperature=2.0, min_p=0.01, max_tokens=BLOCK)
    requests, result = drive(agreed, lambda _: rows)
    drawn = [state.estimate for state in states(requests)]
    assert len(drawn) == 3
    assert not np.array_equal(drawn[1], drawn[2])
    assert result.ids.tolist() == [SOUP] * BLOCK
