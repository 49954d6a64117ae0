import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.denoising.halting import HaltRule, Standstill, counted, follow, halts

END = 9
FAR = np.full(4, np.inf)


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("room", "choices", "expected"),
    [
        (99, ids(1, 2, 3), [1, 2, 3]),
        (99, ids(1, END, 3, END), [1, END]),
        (99, ids(END, 2, 3), [END]),
        (2, ids(1, 2, 3), [1, 2]),
        (1, ids(1, END, 3), [1]),
        (3, ids(1, END, 3), [1, END]),
    ],
)
def test_what_is_cut_does_not_count(room: int, choices: np.ndarray, expected: list[int]) -> None:
    assert counted(choices, end=END, room=room).tolist() == expected


@given(st.lists(st.lists(st.integers(0, 1), min_size=2, max_size=2), min_size=1, max_size=12))
def test_unchanged_steps_are_counted_from_the_last_change(steps: list[list[int]]) -> None:
    still: Standstill | None = None
    for choices in steps:
        still = follow(still, ids(*choices), 0.3)
    same = 0
    while same + 1 < len(steps) and steps[-2 - same] == steps[-1]:
        same += 1
    assert still is not None
    assert still.unchanged == same


def test_an_end_token_that_moves_is_a_change() -> None:
    shown = [ids(1, 2, END, 5), ids(1, END, 2, 5), ids(1, END, 7, 7)]
    still = None
    seen = []
    for choices in shown:
        still = follow(still, counted(choices, end=END, room=99), 0.3)
        seen.append(still.unchanged)
    assert seen == [0, 0, 1]


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_patience(patience: int) -> None:
    rule = HaltRule(patience)
    told = [halts(rule, Standstill(ids(1, 2, 3, 4), n), FAR) for n in range(8)]
    assert told == [n >= patience for n in range(8)]


def test_without_patience_nothing_halts() -> None:
    assert not halts(HaltRule(), Standstill(ids(1, 2), 1000), FAR)


def test_every_position_that_counts_must_lead() -> None:
    still = Standstill(ids(1, END), 3)
    leads = np.array([np.inf, 2.0, 0.1, 0.0], np.float32)
    assert halts(HaltRule(3, 2.0), still, leads)
    assert not halts(HaltRule(3, 2.5), still, leads)
    assert not halts(HaltRule(3, 2.0), Standstill(ids(1, 2, 3), 3), leads)
    assert halts(HaltRule(3, 0.0), Standstill(ids(1, 2, 3, 4), 3), leads)


def test_before_the_state_can_be_read_nothing_stands_still() -> None:
    still = None
    seen = []
    for t in (0.9, 0.5, 0.401, 0.4, 0.3):
        still = follow(still, ids(1, 2), t)
        seen.append(still.unchanged)
    assert seen == [0, 0, 0, 1, 2]
