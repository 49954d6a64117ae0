"""The laws of a `Process`: what the loop, the wire and a contributor count on, of every one."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from common.denoising.halting import HaltRule
from common.denoising.process import NOTHING, Advanced, Needs, Process, Scored, State
from common.denoising.streams import Philox, Purpose
from common.processes.masked.process import Masked
from common.processes.masked.settings import Order
from common.processes.simplex.process import Simplex
from common.processes.simplex.settings import Projection, SelfConditioning
from tests.parity.diffusion_gemma import Uniform
from tests.parity.masked import Dream, LLaDA, LLaDA2
from tests.parity.tess2 import Tess2

V, MASK, BARRED, SEED = 60, 59, (3, 11), 7


@dataclass(frozen=True)
class Law:
    """A process and what is special about it."""

    process: Process
    given: tuple[int, ...] = ()
    """Ids of the prompt's tail, for a process on a grid."""
    edits: bool = False
    """Whether it replaces settled ids."""


def simplex(**settings: Any) -> Law:
    times = tuple(1 - n / 6 for n in range(6))
    own = {"temperature": 0.7, "min_p": 0.02, "self_conditioning": SelfConditioning.OWN}
    return Law(Simplex(times=times, block_length=8, seed=SEED, **own | settings))


LAWS = {
    "simplex": simplex(),
    "simplex greedy": simplex(temperature=0.0),
    "simplex without repeats": simplex(top_p=0.8, no_repeat=2, end=5),
    "simplex fused": simplex(self_conditioning=SelfConditioning.FUSED),
    "simplex multi-hot": simplex(projection=Projection.MULTI_HOT, ramp=1.0),
    "simplex halting": simplex(temperature=0.0, halting=HaltRule(patience=1, margin=0.1)),
    **{f"masked by {order}": Law(Masked(8, 5, order, threshold=0.5)) for order in Order},
    "masked drawn": Law(Masked(8, 4, Order.RANDOM, temperature=0.7)),
    "masked on a grid": Law(Masked(8, 4, grid=True), given=(21, 22, 23)),
    "LLaDA": Law(LLaDA(MASK, 8, 4, sub_length=4)),
    "LLaDA drawn": Law(LLaDA(MASK, 8, 6, sub_length=4, temperature=0.7)),
    "Dream": Law(Dream(MASK, 8, 5)),
    "LLaDA2.1": Law(LLaDA2(MASK, 8, 16, post_steps=8), given=(21, 22, 23), edits=True),
    "TESS 2": Law(Tess2(8, 6, V)),
    "DiffusionGemma": Law(Uniform(8, 6, V, confidence=0.5)),
}


@pytest.fixture(params=LAWS)
def law(request: pytest.FixtureRequest) -> Law:
    return LAWS[request.param]


@dataclass(frozen=True)
class Step:
    state: State
    scored: Scored
    advanced: Advanced


def walk(law: Law, block: int = 0, stream: Any = None) -> Iterator[Step]:
    """The steps of a block whose scores resemble each other from step to step."""
    process, stream = law.process, stream or Philox(SEED)
    given = law.given if block == 0 else ()
    draws = torch.Generator().manual_seed(1 + block)
    taste = 3 * torch.randn(process.block_length, V, generator=draws)
    state = process.start(block, given, stream)
    for _ in range(process.steps):
        rows = taste + torch.randn(taste.shape, generator=draws)
        rows = rows[process.open(state)].unsqueeze(0)
        scores = rows.clone()
        scores[..., [*BARRED, MASK]] = -torch.inf
        scored = Scored(rows, scores, room=len(taste))
        advanced = process.advance(state, scored, stream)
        yield Step(state, scored, advanced)
        if advanced.state is None:
            return
        state = advanced.state
    raise AssertionError(f"the block goes on after {process.steps} steps")


def same(one: Any, other: Any) -> bool:
    """Whether two values hold the same numbers, whatever they are made of."""
    if type(one) is not type(other):
        return False
    if is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    return bool(np.array_equal(one, other))


def test_a_block_starts_at_step_0_with_what_is_given(law: Law) -> None:
    for block, given in ((0, law.given), (3, ())):
        state = law.process.start(block, given, Philox(SEED))
        assert (state.block, state.step, state.positions) == (block, 0, law.process.block_length)
        assert tuple(state.draft.best[: len(given)]) == given
        assert state.draft.settled.tolist() == [n < len(given) for n in range(state.positions)]


def test_open_positions_rise_in_range_and_are_not_given(law: Law) -> None:
    for step in walk(law):
        opened = law.process.open(step.state)
        assert opened.dtype == np.int64
        assert (np.diff(opened) > 0).all()
        assert len(law.given) <= opened[0] <= opened[-1] < law.process.block_length


def test_a_block_ends_within_its_steps_and_counts_them(law: Law) -> None:
    for block in (0, 2):
        steps = list(walk(law, block))
        assert [step.state.step for step in steps] == list(range(len(steps)))
        assert {step.state.block for step in steps} == {block}


def test_who_watches_can_tell_what_may_come_next(law: Law) -> None:
    for step in walk(law):
        after = step.advanced.state
        if after is None:
            assert law.process.may_end(step.state)
        else:
            assert law.process.follows(step.state, after)


def test_a_step_changes_what_is_open_alone_and_settles_for_good(law: Law) -> None:
    for step in walk(law):
        before, opened = step.state.draft, law.process.open(step.state)
        closed = np.setdiff1d(np.arange(step.state.positions), opened)
        ids, kept = step.advanced.ids, closed[before.settled[closed]]
        if not law.edits:
            kept = np.flatnonzero(before.settled)
        assert np.array_equal(ids[kept], before.best[kept])
        if step.advanced.state is not None:
            after = step.advanced.state.draft
            assert np.array_equal(after.best, ids)
            assert after.settled[kept].all()
            assert np.array_equal(after.settled[closed], before.settled[closed])


def test_a_draft_is_of_ids_and_of_shares(law: Law) -> None:
    for step in walk(law):
        draft = step.state.draft
        assert (
            len(draft.ids) == len(draft.settled) == len(draft.probability) == step.state.positions
        )
        assert (draft.ids.dtype, draft.settled.dtype) == (np.int64, np.bool_)
        assert draft.probability.dtype == np.float32
        assert ((draft.ids >= NOTHING) & (draft.ids < V)).all()
        assert (draft.best[draft.settled] >= 0).all()
        assert ((draft.probability >= 0) & (draft.probability <= 1)).all()
        assert (draft.probability[draft.settled] == 1).all()
        assert 0 <= step.state.noise <= 1
        shown = np.concatenate([ids.ravel() for ids in step.state.ids_shown.values()])
        assert np.isin(draft.ids, shown).all()


def test_a_step_says_an_id_that_may_appear_for_each_open_position(law: Law) -> None:
    for step in walk(law):
        ids = step.advanced.ids
        assert (ids.dtype, ids.shape) == (np.int64, (law.process.block_length,))
        opened = ids[law.process.open(step.state)]
        assert ((opened >= 0) & (opened < V)).all()
        assert not np.isin(opened, [*BARRED, MASK]).any()
    assert (ids >= 0).all(), "the block ended with a position that has no id"
    assert tuple(ids[: len(law.given)]) == law.given


def test_states_are_values(law: Law) -> None:
    for step in walk(law):
        before = copy.deepcopy((step.state, step.scored))
        again = law.process.advance(step.state, step.scored, Philox(SEED))
        assert same(again, step.advanced), "the same state and scores gave something else"
        assert same((step.state, step.scored), before), "advance changed what it was given"
    assert same(law.process.start(1, (), Philox(SEED)), law.process.start(1, (), Philox(SEED)))


def test_nothing_is_drawn_twice(law: Law) -> None:
    names: list[tuple[Purpose, tuple[int, int]]] = []

    class Named:
        """A stream that writes down what is drawn."""

        def __getattr__(self, kind: str) -> Any:
            def draw(purpose: Purpose, at: tuple[int, int], *rest: Any, **named: Any) -> Tensor:
                names.append((purpose, at))
                return getattr(Philox(SEED), kind)(purpose, at, *rest, **named)

            return draw

    for block in (0, 1):
        list(walk(law, block, Named()))
    assert len(set(names)) == len(names)


def test_a_condition_follows_from_the_state_and_from_what_is_remembered(law: Law) -> None:
    process = law.process
    first, second = list(walk(law))[:2]
    own = process.remember(first.scored.core)
    fused = first.advanced.condition
    for state, kept in (
        (first.state, None),
        (second.state, own),
        (second.state, own if fused is None else fused),
    ):
        assert same(process.condition(state, kept), process.condition(state, kept))
    assert fused is None or type(fused) is type(own)


def test_models_divide_by_a_temperature(law: Law) -> None:
    assert all(law.process.row_temperature(step) > 0 for step in range(law.process.steps))


def test_a_step_reads_what_it_says_that_it_needs(law: Law) -> None:
    for step in walk(law):
        needs: Needs | None = law.process.needs(step.state)
        if needs is None:
            continue
        scores = step.scored.scores
        best = scores.amax(-1, keepdim=True)
        read = scores >= (needs.draw.least(best) if needs.candidates else best)
        if needs.words is not None:
            drawn = needs.draw.tokens(scores, needs.words(scores.device))
            read = torch.zeros_like(read).scatter(-1, drawn.unsqueeze(-1), True)
        for lowered in (scores - 40, torch.full_like(scores, -torch.inf)):
            less = Scored(step.scored.core, torch.where(read, scores, lowered), step.scored.room)
            assert same(law.process.advance(step.state, less, Philox(SEED)), step.advanced)
