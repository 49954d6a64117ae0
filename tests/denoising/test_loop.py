import math

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.denoising.loop import Collect, Fused, Predict
from common.denoising.plan import Decider, FinishReason
from common.processes.simplex import conditioning
from common.processes.simplex.settings import Projection, SelfConditioning
from tests.loops import (
    BLOCK,
    END,
    SIZE,
    SOUP,
    STEPS,
    VOCABULARY,
    drive,
    halting,
    moments,
    plan,
    predicts,
    run_local,
    shares,
    states,
    votes,
)
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model(VOCABULARY, seed=1)


# The protocol


def test_each_step_predicts_then_collects():
    agreed = plan()
    requests, result = drive(agreed, lambda _: votes(SOUP))
    assert len(requests) == 2 * 2 * STEPS
    pairs = zip(requests[::2], requests[1::2], strict=True)
    for n, (first, second) in enumerate(pairs):
        assert isinstance(first, Predict)
        assert second == Collect(n // STEPS, n % STEPS)
        state = first.view.state
        assert (state.seed, state.block, state.step) == (7, n // STEPS, n % STEPS)
        assert state.t == agreed.process.times[n % STEPS]
        assert state.estimate.dtype == np.int64
        assert state.estimate.shape == (BLOCK, 0 if n % STEPS == 0 else 1)
    assert (result.block, result.step) == (1, STEPS - 1)


def test_the_estimate_is_the_last_projection():
    turns = iter([SOUP, SOUP + 1, SOUP + 2, SOUP + 3])
    requests, result = drive(plan(max_tokens=BLOCK), lambda _: votes(next(turns)))
    shown = [state.estimate[:, 0].tolist() for state in states(requests)[1:]]
    assert shown == [[SOUP + n] * BLOCK for n in range(3)]
    assert result.ids.tolist() == [SOUP + 3] * BLOCK


def test_the_end_token_cuts():
    _, result = drive(plan(), lambda _: votes(SOUP, SOUP, END))
    assert result.ids.tolist() == [SOUP, SOUP]
    assert result.finish_reason is FinishReason.END_TOKEN
    assert result.block == 0


def test_only_the_first_end_token_counts():
    _, result = drive(plan(), lambda _: votes(SOUP, END, SOUP, SOUP))
    assert result.ids.tolist() == [SOUP]


def test_an_answer_has_at_least_one_token():
    _, result = drive(plan(), lambda _: votes(END))
    assert result.ids.shape == (1,)
    assert result.ids.dtype == np.int64
    assert result.ids[0] != END
    assert result.finish_reason is FinishReason.END_TOKEN


def test_a_later_block_may_end_at_once():
    _, result = drive(plan(), lambda r: votes(END) if r.state.block else votes(SOUP))
    assert result.ids.tolist() == [SOUP] * BLOCK
    assert result.finish_reason is FinishReason.END_TOKEN


def test_finished_blocks_become_context():
    agreed = plan(max_tokens=3 * BLOCK, suffix=(SOUP, 3))
    requests, result = drive(agreed, lambda r: votes(SOUP + r.state.block))
    prefixes = [r.view.prefix for r in predicts(requests)[::STEPS]]
    first, second = (SOUP,) * BLOCK, (SOUP + 1,) * BLOCK
    assert prefixes == [
        agreed.prompt,
        (*agreed.prompt, *first),
        (*agreed.prompt, *first, *second),
    ]
    assert all(r.view.suffix == (SOUP, 3) for r in predicts(requests))
    assert result.ids.tolist() == [*first, *second, *[SOUP + 2] * BLOCK]
    assert result.finish_reason is FinishReason.MAX_TOKENS


def test_the_second_block_can_end():
    _, result = drive(plan(), lambda r: votes(SOUP, END) if r.state.block else votes(SOUP))
    assert result.ids.tolist() == [SOUP] * (BLOCK + 1)
    assert result.finish_reason is FinishReason.END_TOKEN


@pytest.mark.parametrize("longest", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1])
def test_the_longest_answer_cuts(longest):
    agreed = plan(max_tokens=longest)
    assert agreed.blocks == -(-longest // BLOCK)
    requests, result = drive(agreed, lambda _: votes(SOUP))
    assert result.ids.tolist() == [SOUP] * longest
    assert result.finish_reason is FinishReason.MAX_TOKENS
    assert len(requests) == agreed.blocks * STEPS * 2


def test_an_end_beyond_the_longest_answer_is_a_cut():
    long_ = votes(*[SOUP] * 6, END)
    assert drive(plan(max_tokens=4), lambda _: long_)[1].finish_reason is FinishReason.MAX_TOKENS
    exact = drive(plan(max_tokens=6), lambda _: long_)[1]
    assert exact.finish_reason is FinishReason.END_TOKEN
    assert exact.ids.tolist() == [SOUP] * 6


def test_finished_ids_are_shown_at_the_first_step_of_later_blocks_only():
    agreed = plan(max_tokens=3 * BLOCK)
    requests, _ = drive(agreed, lambda r: votes(SOUP + r.state.block))
    for r in predicts(requests):
        state = r.view.state
        if state.step == 0 and state.block > 0:
            assert r.shown.finished.tolist() == [SOUP + state.block - 1] * BLOCK
        else:
            assert r.shown.finished.shape == (0,)


def test_who_decided_is_shown_with_the_next_step():
    david = torch.zeros(1, BLOCK, dtype=torch.int64)
    david[0, :2] = SOUP

    def fusing(core, _):
        scores = core.clone()
        scores[0, 1] = votes(SOUP)[0, 0]
        scores[0, 2] = votes(SOUP + 5)[0, 0]
        return Fused(scores, david)

    def core(_):
        rows = votes(SOUP)
        rows[0, 1] = votes(SOUP + 9)[0, 0]
        return rows

    requests, result = drive(plan(), core, fusing)
    expected = [Decider.BOTH, Decider.DAVID, Decider.NEITHER, *[Decider.CORE] * (BLOCK - 3)]
    first, *later = predicts(requests)
    assert first.shown.decided.shape == (0,)
    for r in later:
        assert r.shown.decided.dtype == np.uint8
        assert r.shown.decided.tolist() == expected
    assert result.decided.tolist() == expected


def test_an_answer_of_one_step():
    requests, result = drive(plan(times=(1.0,), max_tokens=BLOCK), lambda _: votes(SOUP))
    assert len(requests) == 2
    assert result.ids.tolist() == [SOUP] * BLOCK


# Projection and re-noising


def test_forbidden_ids_never_appear():
    rows = votes(0, 1, 2, 3, 4, 6, 7, 15)
    rows[..., SOUP] = 5.0
    for temperature in (0.0, 5.0):
        agreed = plan(temperature=temperature, min_p=1e-6)
        requests, result = drive(agreed, lambda _: rows)
        shown = np.concatenate([state.estimate.ravel() for state in states(requests)])
        assert not np.isin(shown, VOCABULARY.forbidden).any()
        assert not np.isin(result.ids, VOCABULARY.forbidden).any()


def test_the_answer_is_the_greedy_projection_of_the_last_scores():
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(1, BLOCK, SIZE, generator=generator) for _ in range(STEPS)]
    turns = iter(rows)
    agreed = plan(temperature=3.0, min_p=1e-4, max_tokens=BLOCK, end=-1, forbidden=())
    requests, result = drive(agreed, lambda _: next(turns))
    assert result.ids.tolist() == rows[-1][0].argmax(-1).tolist()
    # While the steps before it sampled.
    assert (states(requests)[1].estimate[:, 0] != rows[0][0].argmax(-1).numpy()).any()


def test_the_scores_given_to_the_loop_are_left_alone():
    kept = votes(0)
    drive(plan(), lambda _: votes(0), lambda _core, _contributions: Fused(kept, None))
    assert torch.equal(kept, votes(0))


def test_same_seed_same_answer_other_seed_another(model):
    hot = {"temperature": 2.0, "min_p": 0.01}
    first = run_local(plan(**hot), model, {})
    again = run_local(plan(**hot), model, {})
    other = run_local(plan(**hot, seed=8), model, {})
    assert first.ids.tolist() == again.ids.tolist()
    assert first.ids.tolist() != other.ids.tolist()
    # Greedy answers depend on the seed too: through the noise.
    drafts: list[list[np.ndarray]] = [[], []]
    for kept, seed in zip(drafts, (1, 2), strict=True):
        run_local(plan(seed=seed), model, {}, lambda r, kept=kept: kept.append(r.state.estimate))
    assert any(not np.array_equal(a, b) for a, b in zip(*drafts, strict=False))


def test_a_ramp_gives_each_position_its_own_time():
    agreed = plan(ramp=2.0, max_tokens=BLOCK)
    requests, _ = drive(agreed, lambda _: votes(SOUP))
    times = np.stack([state.times for state in states(requests)])
    assert (times[0] == 1).all()
    assert np.allclose(times[-1], agreed.process.times[-1])
    assert (np.diff(times, axis=1) >= 0).all()
    assert (np.diff(times, axis=0) <= 0).all()
    assert [state.noisiest for state in states(requests)] == times[:, -1].tolist()
    assert all(state.times is None for state in states(drive(plan(), lambda _: votes(0))[0]))


def test_the_temperature_is_the_models_own_affair(model):
    """The loop asks for tempered logits and draws at temperature 1; greedy asks for them as they
    are.
    """
    for temperature, wanted, draw in ((0.0, 1.0, 0.0), (0.3, 0.3, 1.0), (2.0, 2.0, 1.0)):
        agreed = plan(temperature=temperature)
        requests, _ = drive(agreed, lambda _: votes(SOUP))
        assert {r.view.temperature for r in predicts(requests)} == {wanted}
        assert agreed.process.draw.temperature == draw


# Self-conditioning


def test_own_conditioning_follows_the_core_and_starts_anew_in_each_block():
    generator = torch.Generator().manual_seed(0)
    given: list[torch.Tensor] = []

    def logits(_):
        given.append(torch.randn(1, BLOCK, SIZE, generator=generator))
        return given[-1]

    requests, _ = drive(plan(end=-1), logits, lambda c, _: Fused(-c, None))
    for n, r in enumerate(predicts(requests)):
        if r.view.state.step == 0:
            assert r.view.condition is None
        else:
            expected = conditioning.from_logits(given[n - 1])
            assert torch.equal(r.view.condition.ids, expected.ids)
            assert torch.equal(r.view.condition.weights, expected.weights)


def test_estimate_conditioning_is_the_state_itself():
    agreed = plan(self_conditioning=SelfConditioning.ESTIMATE)
    requests, _ = drive(agreed, lambda r: votes(SOUP + r.state.step))
    for r in predicts(requests):
        if r.view.state.step == 0:
            assert r.view.condition is None
        else:
            assert r.view.condition.ids[0].tolist() == r.view.state.estimate.tolist()
            assert (r.view.condition.weights == 1).all()


def test_fused_conditioning_is_the_rounded_top_of_the_fused_scores():
    generator = torch.Generator().manual_seed(0)
    given: list[torch.Tensor] = []

    def logits(_):
        given.append(torch.randn(1, BLOCK, SIZE, generator=generator))
        return given[-1]

    agreed = plan(self_conditioning=SelfConditioning.FUSED, temperature=1.0, forbidden=(0, END))
    requests, _ = drive(agreed, logits, lambda c, _: Fused(-c, None))
    for n, r in enumerate(predicts(requests)):
        if r.view.state.step == 0:
            assert r.view.condition is None
            assert r.view.state.signal is None
            continue
        expected = shares(-given[n - 1], agreed)
        assert np.array_equal(r.view.state.signal.ids, expected.ids)
        assert np.array_equal(r.view.state.signal.probabilities, expected.probabilities)
        bag = conditioning.from_signal(expected)
        assert torch.equal(r.view.condition.ids, bag.ids)
        assert torch.equal(r.view.condition.weights, bag.weights)
        assert torch.equal(r.view.condition.rest, bag.rest)


@pytest.mark.parametrize("kind", [SelfConditioning.OWN, SelfConditioning.ESTIMATE])
def test_without_it_no_signal_is_shown(kind):
    requests, _ = drive(plan(self_conditioning=kind), lambda _: votes(SOUP))
    assert all(state.signal is None for state in states(requests))


# Everything after fusion


@given(
    seed=st.integers(0, 10_000),
    projection=st.sampled_from(Projection),
    temperature=st.sampled_from([0.0, 0.7, 1.5]),
    min_p=st.sampled_from([0.5, 0.1, 0.01]),
    margin=st.sampled_from([0.0, 0.2]),
    top_p=st.sampled_from([1.0, 0.6]),
    no_repeat=st.sampled_from([0, 2]),
)
@hypothesis.settings(max_examples=80, deadline=None)
def test_nothing_but_the_candidates_is_read_after_fusion(
    seed, projection, temperature, min_p, margin, top_p, no_repeat
):
    """States, signals and the moment of halting stay when all other scores change."""
    agreed = halting(
        1,
        margin,
        projection=projection,
        temperature=temperature,
        min_p=min_p,
        top_p=top_p,
        no_repeat=no_repeat,
        self_conditioning=SelfConditioning.FUSED,
        forbidden=(),
    )
    # Two different rows of scores and a copy, so that some blocks halt. The end is no candidate: it
    # is masked at the first position.
    generator = torch.Generator().manual_seed(seed)
    first, second = (2 * torch.randn(1, BLOCK, SIZE, generator=generator) for _ in range(2))
    first[..., END] = second[..., END] = -1e3
    given_scores = [first, second, second, first]

    def scrambled(core, _):
        cut = core.amax(-1, keepdim=True) + agreed.process.draw.temperature * math.log(min_p)
        below = -torch.rand(core.shape, generator=generator) * 1e4
        return Fused(torch.where(core < cut, cut - 1e-3 + below, core), None)

    runs = [
        drive(agreed, lambda r: given_scores[(seed + r.state.step) % 4], fusing)
        for fusing in (lambda core, _: Fused(core, None), scrambled)
    ]
    (plain, result), (other, same) = runs
    assert moments(plain) == moments(other)
    for a, b in zip(states(plain), states(other), strict=True):
        assert np.array_equal(a.estimate, b.estimate)
        if a.step:
            assert np.array_equal(a.signal.ids, b.signal.ids)
            assert np.array_equal(a.signal.probabilities, b.signal.probabilities)
    assert result.ids.tolist() == same.ids.tolist()
    assert result.steps == same.steps
