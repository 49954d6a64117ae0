import asyncio

import numpy as np
import pytest
import torch

from common.collaboration.codec import encode
from common.collaboration.contrast import contrasted
from common.collaboration.contribution import Ask, Contribution
from common.collaboration.contributor import Contributor, Encoding
from common.collaboration.settings import Codec
from common.collaboration.timing import Every, Timing
from common.denoising.plan import Decider
from common.denoising.process import Shown
from common.errors import InvalidFrameError
from common.processes.simplex.settings import SelfConditioning
from common.processes.simplex.state import SimplexState
from common.text.templates import asked
from tests.loops import (
    BLOCK,
    PROMPT,
    SIZE,
    SOUP,
    STEPS,
    TEMPLATE,
    VOCABULARY,
    plan,
    rows_by,
    run_local,
    shares,
    shown_with,
    votes,
)
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model(VOCABULARY, seed=1)


# Contributors


@pytest.mark.parametrize("codec", Codec)
def test_a_loud_oracle_is_obeyed(model, codec):
    class Oracle:
        async def contribute(self, shown):
            block, step = shown.state.block, shown.state.step
            return encode(votes(SOUP)[0], block=block, step=step, codec=codec)

    steps: list[Shown] = []
    result = run_local(plan(), model, {"oracle": (Oracle(), 0.999)}, steps.append)
    assert result.ids.tolist() == [SOUP] * 2 * BLOCK
    shown = {d for step in steps[1:] for d in step.decided.tolist()}
    assert shown <= {Decider.DAVID, Decider.BOTH}


def contributor(
    model, *, context="", codec=Codec.DENSE, kind=SelfConditioning.OWN, **given
) -> Contributor:
    return Contributor(
        rows_by(model),
        plan(self_conditioning=kind, temperature=1.0).process,
        [TEMPLATE.ids(asked(PROMPT), context), TEMPLATE.ids(asked(PROMPT))],
        encoding=Encoding(codec),
        **given,
    )


def state(step: int, *, block: int = 0, signal=None) -> SimplexState:
    estimate = np.full((BLOCK, 1 if step else 0), SOUP, np.int64)
    return SimplexState(7, block, step, 1.0 - step / 10, estimate, signal=signal)


def contributed(david: Contributor, one: SimplexState, **known) -> Contribution:
    return asyncio.run(david.contribute(shown_with(one, **known)))


def rows_of(david: Contributor, *steps: SimplexState) -> np.ndarray:
    for one in steps:
        contribution = contributed(david, one)
        assert (contribution.block, contribution.step) == (one.block, one.step)
    return contribution.values


def test_a_contributor_conditions_on_its_last_answer(model):
    fresh = rows_of(contributor(model), state(1))
    followed = rows_of(contributor(model), state(0), state(1))
    assert not np.array_equal(fresh, followed)


def test_a_contributor_starts_anew_after_a_missed_step(model):
    fresh = rows_of(contributor(model), state(2))
    missed = rows_of(contributor(model), state(0), state(2))
    kept = rows_of(contributor(model), state(0), state(1), state(2))
    assert np.array_equal(fresh, missed)
    assert not np.array_equal(fresh, kept)


def test_a_contributor_conditions_on_its_last_fresh_answer(model):
    timing = Timing(9, every=Every(1, 3, 0))
    fresh = rows_of(contributor(model, timing=timing), state(3))
    followed = rows_of(contributor(model, timing=timing), state(0), state(3))
    without = rows_of(contributor(model), state(0), state(3))
    assert not np.array_equal(fresh, followed)
    assert np.array_equal(fresh, without)
    missed = rows_of(contributor(model, timing=timing), state(0), state(6))
    assert np.array_equal(missed, rows_of(contributor(model), state(6)))


def test_a_contributor_starts_anew_in_each_block(model):
    before = contributor(model)
    rows_of(before, state(0), state(1))
    assert np.array_equal(
        rows_of(before, state(0, block=1)), rows_of(contributor(model), state(0, block=1))
    )


def test_an_estimate_needs_no_memory(model):
    kind = SelfConditioning.ESTIMATE
    fresh = rows_of(contributor(model, kind=kind), state(2))
    followed = rows_of(contributor(model, kind=kind), state(0), state(1), state(2))
    assert np.array_equal(fresh, followed)


def test_a_fused_signal_is_all_that_a_contributor_conditions_on(model):
    kind = SelfConditioning.FUSED
    signal, other = (shares(votes(SOUP + n) / 4, plan(temperature=1.0)) for n in range(2))

    def told(*steps: int, last=signal, **how) -> np.ndarray:
        david = contributor(model, kind=kind, **how)
        before = [state(n, signal=other if n else None) for n in steps[:-1]]
        return rows_of(david, *before, state(steps[-1], signal=last))

    assert np.array_equal(told(2), told(0, 1, 2))
    assert not np.array_equal(told(2), told(2, last=other))
    assert not np.array_equal(told(2), told(2, last=None))
    # Both branches of a contrast read it.
    a = torch.tensor(told(2, context="add salt."), dtype=torch.float32)
    b = torch.tensor(told(2), dtype=torch.float32)
    expected = contrasted(a.view(BLOCK, SIZE), b.view(BLOCK, SIZE), 0.5)
    both = torch.tensor(told(2, context="add salt.", contrast=0.5), dtype=torch.float32)
    expected = expected - expected.amax(-1, keepdim=True)
    torch.testing.assert_close(both.view(BLOCK, SIZE), expected, atol=0.1, rtol=0.01)


def test_the_local_driver_passes_the_signal_on(model):
    class Listener:
        def __init__(self):
            self.seen = []

        async def contribute(self, shown):
            self.seen.append(shown.state.signal)
            block, step = shown.state.block, shown.state.step
            return encode(votes(SOUP)[0], block=block, step=step, codec=Codec.TOPK)

    listener, shown = Listener(), []
    agreed = plan(self_conditioning=SelfConditioning.FUSED)
    run_local(agreed, model, {"l": (listener, 0.5)}, lambda r: shown.append(r.state.signal))
    assert len(shown) == 2 * STEPS
    assert all(a is b for a, b in zip(listener.seen, shown, strict=True))
    assert [one is None for one in shown] == [n % STEPS == 0 for n in range(2 * STEPS)]


def test_finished_blocks_are_read_by_contributors(model):
    david = contributor(model)
    plain = rows_of(david, state(0, block=1))
    after = contributed(david, state(0, block=1), answer=(SOUP,) * BLOCK)
    assert not np.array_equal(after.values, plain)


def test_a_context_changes_the_vote_and_stays_out_of_the_prompt(model):
    plain, private = contributor(model), contributor(model, context="add salt.")
    assert TEMPLATE.ids(asked(PROMPT)) == plan().prompt != TEMPLATE.ids(asked(PROMPT), "add salt.")
    assert not np.array_equal(rows_of(plain, state(0)), rows_of(private, state(0)))


def test_contrast_compares_with_the_context_and_without(model):
    with_, without = contributor(model, context="add salt."), contributor(model)
    both = contributor(model, context="add salt.", contrast=0.5)
    a, b = (torch.tensor(rows_of(d, state(0)), dtype=torch.float32) for d in (with_, without))
    expected = contrasted(a.view(BLOCK, SIZE), b.view(BLOCK, SIZE), 0.5)
    expected = expected - expected.amax(-1, keepdim=True)
    result = torch.tensor(rows_of(both, state(0)), dtype=torch.float32).view(BLOCK, SIZE)
    torch.testing.assert_close(result, expected, atol=0.1, rtol=0.01)


# Asks


def asked_about(step: int) -> Ask:
    return Ask(0, step, np.array([1, 3]), np.array([2, 1]), np.array([5, SOUP, 7]))


@pytest.mark.parametrize("contrast", [0.0, 0.7])
def test_a_contributor_answers_from_the_rows_of_his_last_contribution(model, contrast):
    private = {"context": "add salt.", "contrast": contrast}
    david = contributor(model, codec=Codec.TOPK, certify=True, **private)
    rows = rows_of(contributor(model, **private), state(0), state(1)).reshape(BLOCK, SIZE)
    rows_of(david, state(0), state(1))
    answer = david.answer(asked_about(1))
    assert answer.values.tolist() == rows[[1, 1, 3], [5, SOUP, 7]].tolist()
    with pytest.raises(InvalidFrameError, match=r"\(0, 1\).*got one about \(0, 0\)"):
        david.answer(asked_about(0))


def test_without_certify_no_rows_are_kept(model):
    david = contributor(model, codec=Codec.TOPK)
    rows_of(david, state(0))
    with pytest.raises(InvalidFrameError, match="kept"):
        david.answer(asked_about(0))


# Drivers


def test_the_local_driver_shows_every_step(model):
    seen: list[tuple[int, int]] = []
    result = run_local(
        plan(end=-1), model, {}, lambda r: seen.append((r.state.block, r.state.step))
    )
    assert seen == [(b, s) for b in range(2) for s in range(STEPS)]
    assert len(result.ids) == 2 * BLOCK


def test_weight_nought_and_one_in_the_local_driver(model):
    small = tiny_model(VOCABULARY, seed=5)
    agreed = plan()
    alone = run_local(agreed, model, {}).ids.tolist()
    muted = run_local(agreed, model, {"d": (contributor(small), 0.0)}).ids.tolist()
    assert muted == alone
    answers = [
        run_local(agreed, core, {"d": (contributor(small), 1.0)}).ids.tolist()
        for core in (model, small, tiny_model(VOCABULARY, seed=9))
    ]
    assert answers[0] == answers[1] == answers[2] != alone


def test_a_fault_in_a_contributor_reaches_the_caller(model):
    class Broken:
        async def contribute(self, _):
            raise RuntimeError("no salt left")

    with pytest.raises(RuntimeError, match="no salt"):
        run_local(plan(), model, {"d": (Broken(), 0.5)})
