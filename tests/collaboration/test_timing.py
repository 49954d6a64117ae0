"""Which contribution a step uses, against the words of the contract, for every small setting."""

from itertools import product

import pytest

from common.collaboration.timing import Every, Timing
from common.errors import UsageError

STEPS = range(1, 13)
LAGS = [Timing(steps, lag=lag) for steps in STEPS for lag in range(15)]
EVERIES = [
    Timing(steps, every=Every(first, period, last))
    for steps in STEPS
    for first, period, last in product(range(5), range(1, 6), range(5))
]


def told(timing: Timing) -> str:
    every = timing.every
    spelt = "-" if every is None else f"{every.first}:{every.period}:{every.last}"
    return f"{timing.steps} steps, lag {timing.lag}, every {spelt}"


@pytest.mark.parametrize("steps", STEPS)
def test_lock_step_uses_each_contribution_at_its_own_step(steps: int) -> None:
    for timing in (Timing(steps), Timing(steps, every=Every(0, 1, 0))):
        assert [timing.source(n) for n in range(steps)] == list(range(steps))
        assert all(timing.wanted(n) for n in range(steps))
        assert all(timing.may_end(n) for n in range(steps))


def test_with_lag_a_step_uses_what_was_computed_so_many_steps_before() -> None:
    for timing in LAGS:
        for n in range(timing.steps):
            expected = n - timing.lag if n >= timing.lag else n
            assert timing.source(n) == expected, told(timing)
            assert timing.may_end(n)


def test_with_every_fresh_ones_come_first_at_multiples_and_last() -> None:
    for timing in EVERIES:
        assert timing.every is not None
        newest = None
        for n in range(timing.steps):
            begins = n < timing.every.first
            ends = n >= timing.steps - timing.every.last
            if begins or ends or n % timing.every.period == 0:
                newest = n
            assert timing.source(n) == newest, told(timing)
            assert timing.may_end(n) == (newest == n)


@pytest.mark.parametrize("timings", [LAGS, EVERIES], ids=["lag", "every"])
def test_what_is_wanted_follows_from_what_is_used(timings: list[Timing]) -> None:
    """`uses` is the inverse of `source`, and the rest is read from it."""
    for timing in timings:
        steps = range(timing.steps)
        wanted: list[int] = []
        for k in steps:
            uses = [n for n in steps if timing.source(n) == k]
            assert list(timing.uses(k)) == uses, told(timing)
            assert timing.wanted(k) == bool(uses)
            for at in steps:
                assert timing.awaited(k, at) == any(n >= at for n in uses)
            if uses:
                assert timing.previous(k) == (wanted[-1] if wanted else None), told(timing)
                wanted.append(k)
        assert wanted[0] == 0


@pytest.mark.parametrize("timings", [LAGS, EVERIES], ids=["lag", "every"])
def test_what_is_kept_is_bounded_by_the_lag(timings: list[Timing]) -> None:
    for timing in timings:
        for at in range(timing.steps):
            kept = sum(timing.awaited(k, at) for k in range(at + 1))
            assert kept <= timing.lag + 1, told(timing)


@pytest.mark.parametrize(
    ("steps", "lag", "sources", "wanted"),
    [
        (5, 1, [0, 0, 1, 2, 3], [0, 1, 2, 3]),
        (6, 2, [0, 1, 0, 1, 2, 3], [0, 1, 2, 3]),
        (3, 2, [0, 1, 0], [0, 1]),
        (3, 3, [0, 1, 2], [0, 1, 2]),
    ],
)
def test_lags_written_out(steps: int, lag: int, sources: list[int], wanted: list[int]) -> None:
    timing = Timing(steps, lag=lag)
    assert [timing.source(n) for n in range(steps)] == sources
    assert [k for k in range(steps) if timing.wanted(k)] == wanted


def test_an_every_written_out() -> None:
    timing = Timing(12, every=Every(2, 4, 3))
    assert [timing.source(n) for n in range(12)] == [0, 1, 1, 1, 4, 4, 4, 4, 8, 9, 10, 11]


def test_both_together_are_refused() -> None:
    with pytest.raises(UsageError, match="got both: 1 and 2:4:3") as caught:
        Timing(12, lag=1, every=Every(2, 4, 3))
    assert caught.value.remedy
