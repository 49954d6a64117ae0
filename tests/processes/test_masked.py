"""Masked diffusion by hand: which positions are settled, when a block ends, what is drawn."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from common.collaboration.settings import SessionSettings
from common.denoising.process import NOTHING, Advanced, Scored
from common.denoising.streams import Philox
from common.errors import UsageError
from common.processes.building import build
from common.processes.masked.process import Masked
from common.processes.masked.settings import MaskedProcess, MaskedSettings, Order
from common.processes.masked.state import MaskedState

STREAM = Philox(5)
SHARES = torch.tensor(
    [
        [0.46, 0.44, 0.05, 0.05],  # close, but two ids only
        [0.40, 0.20, 0.20, 0.20],  # a clear lead, and much entropy
        [0.10, 0.12, 0.68, 0.10],
        [0.03, 0.03, 0.04, 0.90],
    ]
)


def step(process: Masked, state: MaskedState, shares: torch.Tensor = SHARES) -> Advanced:
    rows = shares[process.open(state)].log().unsqueeze(0)
    return process.advance(state, Scored(rows, rows, 4), STREAM)


def run(process: Masked, shares: torch.Tensor, given: tuple[int, ...] = ()) -> list[np.ndarray]:
    """The settled ids before each step, and those of the block at the end."""
    state, seen = process.start(0, given, STREAM), []
    while state is not None:
        seen.append(state.ids)
        advanced = step(process, state, shares)
        state = advanced.state
    return [*seen, advanced.ids]


@pytest.mark.parametrize(
    ("order", "settled"),
    [
        (Order.LOW_CONFIDENCE, [3, 2, 0, 1]),
        (Order.MARGIN, [3, 2, 1, 0]),
        (Order.ENTROPY, [3, 2, 0, 1]),
    ],
)
def test_the_surest_position_is_settled_first(order: Order, settled: list[int]) -> None:
    states = run(Masked(4, 4, order), SHARES)
    news = [np.flatnonzero(b != a).tolist() for a, b in itertools.pairwise(states)]
    assert news == [[one] for one in settled]
    assert states[-1].tolist() == [0, 0, 2, 3]


def test_entropy_and_confidence_are_not_the_same() -> None:
    shares = torch.tensor([[0.5, 0.5, 1e-9, 1e-9], [0.55, 0.15, 0.15, 0.15]])
    for order, first in ((Order.ENTROPY, 0), (Order.LOW_CONFIDENCE, 1)):
        assert run(Masked(2, 2, order), shares)[1][first] != NOTHING


def test_a_random_order_follows_the_seed_alone() -> None:
    flat = torch.full((32, 4), 0.25)
    process = Masked(32, 4, Order.RANDOM)
    first, again, other = (
        process.advance(
            process.start(0, (), STREAM), Scored(flat[None], flat[None], 32), Philox(seed)
        )
        for seed in (5, 5, 6)
    )
    assert np.array_equal(first.state.ids, again.state.ids)
    assert not np.array_equal(first.state.ids, other.state.ids)
    assert not np.array_equal(np.flatnonzero(first.state.ids != NOTHING), np.arange(8))


def test_equal_positions_are_settled_from_left_to_right() -> None:
    states = run(Masked(6, 3), torch.full((6, 4), 0.25))
    assert [(one != NOTHING).sum() for one in states] == [0, 2, 4, 6]
    assert states[1][:2].tolist() == [0, 0], "of equal ids the lowest"


@pytest.mark.parametrize(
    ("positions", "steps", "given", "settled"),
    [(10, 4, 0, [3, 3, 2, 2]), (10, 4, 3, [2, 2, 2, 1]), (4, 9, 0, [1] * 4), (8, 1, 0, [8])],
)
def test_masks_are_divided_evenly(
    positions: int, steps: int, given: int, settled: list[int]
) -> None:
    shares = torch.rand((positions, 6), generator=torch.Generator().manual_seed(1))
    states = run(Masked(positions, steps), shares, tuple(range(given)))
    counts = np.diff([(one != NOTHING).sum() for one in states])
    assert counts.tolist() == settled
    assert states[-1][:given].tolist() == list(range(given))


def test_a_threshold_settles_what_passes_and_at_least_one() -> None:
    process = Masked(4, 4, Order.THRESHOLD, threshold=0.45)
    states = run(process, SHARES)
    assert states[1].tolist() == [0, NOTHING, 2, 3]
    assert [(one != NOTHING).sum() for one in states] == [0, 3, 4]
    cautious = run(Masked(4, 4, Order.THRESHOLD, threshold=0.95), SHARES)
    assert [(one != NOTHING).sum() for one in cautious] == [0, 1, 2, 3, 4]


def test_the_last_step_settles_what_is_left() -> None:
    states = run(Masked(4, 2, Order.THRESHOLD, threshold=0.95), SHARES)
    assert [(one != NOTHING).sum() for one in states] == [0, 1, 4]


def test_guesses_are_the_best_ids_of_what_stays_masked() -> None:
    after = step(Masked(4, 4), Masked(4, 4).start(0, (), STREAM)).state
    assert after.guess.tolist() == [0, 0, 2, NOTHING]
    assert after.probability.tolist() == [117, 102, 173, 0]  # 255ths of .46, .4 and .68
    assert after.draft.best.tolist() == [0, 0, 2, 3]
    assert after.draft.settled.tolist() == [False, False, False, True]


def test_tokens_are_drawn_at_the_temperature() -> None:
    rows = torch.tensor([0.5, 0.3, 0.2]).log().expand(1, 4000, 3)

    def drawn(temperature: float, seed: int = 5) -> np.ndarray:
        process = Masked(4000, 1, temperature=temperature)
        state = process.start(0, (), STREAM)
        return process.advance(state, Scored(rows, rows, 4000), Philox(seed)).ids

    for temperature in (1.0, 2.0):
        expected = (rows[0, 0] / temperature).softmax(-1).numpy()
        shares = np.bincount(drawn(temperature), minlength=3) / 4000
        assert np.abs(shares - expected).max() < 0.03
    assert (drawn(0.0) == 0).all()
    assert np.array_equal(drawn(1.0), drawn(1.0))
    assert not np.array_equal(drawn(1.0), drawn(1.0, seed=6))


def test_what_is_drawn_at_a_position_does_not_depend_on_the_others() -> None:
    process = Masked(4, 2, Order.LOW_CONFIDENCE, temperature=1.0)
    state = process.start(0, (), STREAM)
    flat = torch.full((4, 50), 0.02)
    ids = step(Masked(4, 1, temperature=1.0), state, flat).ids
    partly = MaskedState(0, 0, np.array([7, NOTHING, 8, NOTHING]), state.guess, state.probability)
    ended = step(Masked(4, 1, temperature=1.0), partly, flat).ids
    assert ended.tolist() == [7, ids[1], 8, ids[3]]
    assert process.needs(state) is None


def test_ids_that_must_not_appear_take_no_part_in_the_confidence() -> None:
    rows = torch.tensor([[0.9, 0.06, 0.04], [0.05, 0.6, 0.35]]).log().unsqueeze(0)
    scores = rows.clone()
    scores[..., 0] = -torch.inf
    process = Masked(2, 2)
    after = process.advance(process.start(0, (), STREAM), Scored(rows, scores, 2), STREAM).state
    assert after.ids.tolist() == [NOTHING, 1], "0.6 / 0.95 is more than 0.06 / 0.1"


def test_settled_ids_stay_and_more_of_them_come() -> None:
    process = Masked(4, 4)
    before = step(process, process.start(0, (), STREAM)).state
    after = step(process, before).state
    assert process.follows(before, after)
    for ids in ([NOTHING, NOTHING, NOTHING, 3], [0, NOTHING, 2, 2], [0, 0, 2, NOTHING]):
        assert not process.follows(before, replace(after, ids=np.array(ids)))
    assert process.follows(before, replace(after, ids=np.array([0, NOTHING, NOTHING, 3])))
    assert not process.may_end(after)
    assert process.may_end(step(process, after).state)
    assert Masked(4, 4, Order.THRESHOLD).may_end(before)


def test_it_is_built_from_what_was_agreed() -> None:
    settings = MaskedSettings(Order.THRESHOLD, 0.5, 0.8)
    common = {"block_length": 16, "steps": 8, "times": (), "seed": 1, "end": 3}
    assert build(MaskedProcess(grid=True), settings, **common) == Masked(
        16, 8, Order.THRESHOLD, 0.5, 0.8, grid=True
    )


def test_full_rows_are_never_certified() -> None:
    with pytest.raises(UsageError, match="full rows") as refused:
        SessionSettings(certify=True, process=MaskedSettings())
    assert "--certify" in refused.value.remedy
