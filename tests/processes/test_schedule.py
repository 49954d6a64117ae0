import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.processes.simplex.schedule import PRIOR_CURVE, TimeWarp, alpha_bar, ramp, times_at

# SSD-LM's cosine schedule, s = 1e-4: t to the signal level.
PUBLISHED = {
    0.1: 0.975,
    0.2: 0.904,
    0.25: 0.853,
    0.3: 0.794,
    0.4: 0.654,
    0.5: 0.500,
    0.6: 0.345,
    0.7: 0.206,
    0.8: 0.095,
    0.9: 0.0245,
}


def level(t: float) -> float:
    return alpha_bar(torch.tensor(t, dtype=torch.float64)).item()


@pytest.mark.parametrize(("t", "expected"), PUBLISHED.items())
def test_published_values(t, expected):
    assert level(t) == pytest.approx(expected, abs=6e-4)


def test_ends():
    assert level(0.0) == 1.0
    # Not clamped up: starting from pure noise assumes that no signal is left.
    assert 0 <= level(1.0) < 1e-30


def test_the_published_formula():
    def r(t: float) -> float:
        return math.cos((t + 1e-4) / (1 + 1e-4) * math.pi / 2) ** 2

    for t in np.linspace(0.01, 0.99, 50):
        assert level(float(t)) == pytest.approx(r(t) / r(0), rel=1e-12)


def test_half_precision_times_are_read_in_float64():
    assert alpha_bar(torch.tensor([0.5], dtype=torch.float32)).dtype == torch.float64


def test_falls_all_the_way():
    levels = alpha_bar(torch.linspace(0, 1, 2001, dtype=torch.float64))
    assert (levels.diff() < 0).all()


HUNDREDTHS = st.integers(0, 100).map(lambda n: n / 100)
CURVES = st.lists(
    st.tuples(HUNDREDTHS, st.floats(0, 20)), min_size=2, max_size=12, unique_by=lambda p: p[0]
).map(sorted)


@given(curve=CURVES, steps=st.integers(1, 300))
def test_a_table_starts_at_noise_and_falls_to_above_nought(curve, steps):
    table = TimeWarp.from_curve(curve).table(steps)
    assert len(table) == steps
    assert table[0] == 1.0
    assert table[-1] > 0
    assert all(a > b for a, b in itertools.pairwise(table))
    assert all(type(t) is float for t in table)


@given(curve=CURVES)
def test_a_warp_is_a_distribution_function(curve):
    warp = TimeWarp.from_curve(curve)
    assert warp.cumulative[0] == pytest.approx(0)
    assert warp.cumulative[-1] == pytest.approx(1)
    assert warp.times[0] == 0
    assert warp.times[-1] == 1
    assert (np.diff(warp.cumulative) > 0).all()


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 64, 1000])
def test_a_straight_curve_is_the_published_spacing(steps):
    table = TimeWarp.from_curve([(0.0, 0.0), (1.0, 6.0)]).table(steps)
    assert table == pytest.approx([(steps - n) / steps for n in range(steps)], abs=1e-12)


def test_a_flat_curve_is_the_published_spacing():
    table = TimeWarp.from_curve([(0.2, 3.0), (0.8, 3.0)]).table(8)
    uneven = TimeWarp.from_curve([(0.0, 3.0), (1.0, 3.0)]).table(8)
    assert uneven == pytest.approx([(8 - n) / 8 for n in range(8)])
    assert all(a > b for a, b in itertools.pairwise(table))


def test_steps_are_spent_where_the_loss_falls():
    table = np.array(TimeWarp.from_curve().table(64))
    steep = ((table > 0.15) & (table < 0.45)).mean()
    assert steep > 0.5
    assert (table > 0.6).sum() >= 3


def test_a_dip_counts_as_flat():
    dip = TimeWarp.from_curve([(0.0, 0.0), (0.3, 2.0), (0.5, 1.0), (1.0, 4.0)])
    flat = TimeWarp.from_curve([(0.0, 0.0), (0.3, 2.0), (0.5, 2.0), (1.0, 4.0)])
    assert dip.table(20) == flat.table(20)


@pytest.mark.parametrize(
    "curve",
    [
        [],
        [(0.0, 1.0)],
        [(0.5, 1.0), (0.4, 2.0)],
        [(0.5, 1.0), (0.5, 2.0)],
        [(-0.1, 1.0), (0.5, 2.0)],
        [(0.1, 1.0), (1.5, 2.0)],
        [(0.1, 1.0, 3.0), (0.5, 2.0, 3.0)],
        [(0.1, math.nan), (0.5, 2.0)],
        [(math.nan, 1.0), (0.5, 2.0)],
        [(0.1, 1.0), (0.5, math.inf)],
        [(0.1, -1.0), (0.5, 2.0)],
    ],
)
def test_bad_curves_are_refused(curve):
    with pytest.raises(ValueError, match="expected"):
        TimeWarp.from_curve(curve)


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="at least 1 step"):
        TimeWarp.from_curve(PRIOR_CURVE).table(0)


def test_training_times_and_tables_come_from_one_map():
    warp = TimeWarp.from_curve()
    u = (np.arange(100_000) + 0.5) / 100_000
    drawn = warp.at(u)
    table = warp.table(50)
    counts = np.histogram(drawn, bins=[0.0, *reversed(table)])[0]
    assert counts == pytest.approx(2000, rel=0.02)


# Ramps


@given(
    steps=st.integers(2, 40),
    steepness=st.floats(0.01, 16),
    positions=st.integers(2, 70),
)
def test_a_ramp_is_a_wave_through_the_block(steps, steepness, positions):
    table = TimeWarp.from_curve().table(steps)
    times = np.stack(
        [times_at(table, n, steepness=steepness, positions=positions) for n in range(steps)]
    )
    assert (times[0] == 1).all()
    assert np.allclose(times[-1], table[-1])
    assert (np.diff(times, axis=0) <= 0).all(), "no position goes back"
    assert (np.diff(times, axis=1) >= 0).all(), "the first positions lead"
    done = times[:, 0] <= table[-1] + 1e-9
    begun = times[:, -1] < 1
    assert done.argmax() <= np.ceil((steps - 1) / (1 + steepness) + 1e-9)
    assert begun.argmax() >= np.floor((steps - 1) * steepness / (1 + steepness) - 1e-9)


def test_no_ramp_is_the_table():
    table = TimeWarp.from_curve().table(8)
    assert times_at(table, 3, steepness=0.0, positions=5) is None
    assert times_at((1.0,), 0, steepness=2.0, positions=5) is None
    assert ramp(np.array(0.25), 0.0, 5).tolist() == [0.25] * 5
