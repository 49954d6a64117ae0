"""The bound against full rows: what is certified is exact, and one round of asks certifies all."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.collaboration.certification import AskCaps, all_answered, answered, doubts
from common.collaboration.codec import answer_from, decode, encode
from common.collaboration.contribution import Answer, Ask
from common.collaboration.fusion import Weighted, fuse
from common.collaboration.settings import Codec
from common.denoising.halting import HaltRule
from common.denoising.loop import allowed
from common.denoising.sampling import best_candidates, greedy
from common.denoising.streams import Philox
from common.errors import InvalidFrameError
from common.processes.simplex.settings import MAX_HOT, Projection, SelfConditioning
from tests.loops import STEPS, plan, shown_at

CPU = torch.device("cpu")
LIFTED = AskCaps(10**9, 10**9)

# Ties (few distinct values), tiny and huge ones, and masked entries.
VALUE = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-30, -3e-5, 2.5, 3e38, -3e38, -np.inf]),
    st.floats(-20, 20, width=32),
)


@st.composite
def rows_of(draw, shape):
    """Logits of a model: one finite entry in each row at least; sometimes all of them equal."""
    rows = draw(hnp.arrays(np.float32, shape, elements=VALUE))
    rows[:, draw(st.integers(0, shape[1] - 1))] = draw(st.floats(-20, 20, width=32))
    if draw(st.booleans()):
        rows[draw(st.integers(0, shape[0] - 1))] = 2.0
    return torch.from_numpy(rows)


@st.composite
def steps(draw):
    """A step of a session: plan, moment, the core's logits, Davids with rows and contributions."""
    shape = (draw(st.integers(1, 4)), draw(st.integers(2, 14)))
    ids = st.integers(0, shape[1] - 1)
    agreed = plan(
        temperature=draw(st.sampled_from([0.0, 0.7, 1.5])),
        min_p=draw(st.sampled_from([1.0, 0.5, 0.05, 1e-6])),
        projection=draw(st.sampled_from(Projection)),
        self_conditioning=draw(st.sampled_from(SelfConditioning)),
        halting=HaltRule(draw(st.sampled_from([0, 0, 1]))),
        top_p=draw(st.sampled_from([1.0, 0.9, 0.5, 0.1])),
        no_repeat=draw(st.sampled_from([0, 2, 3])),
        seed=draw(st.integers(0, 2**64 - 1)),
        forbidden=tuple(draw(st.sets(ids, max_size=min(2, shape[1] - 2)))),
        end=draw(ids),
    )
    davids = [
        (
            rows := draw(rows_of(shape)),
            Weighted(
                f"david-{i}",
                draw(st.sampled_from([0.0, 0.1, 0.3, 0.75, 1.0, 1.6])),
                encode(
                    rows,
                    block=1,
                    step=draw(st.just(0)),
                    codec=draw(st.sampled_from([Codec.TOPK] * 4 + [Codec.DENSE])),
                    entries=draw(st.integers(1, shape[1])),
                    reach=draw(st.sampled_from([0.0, 2.0, np.inf])),
                ),
            ),
        )
        for i in range(draw(st.integers(0, 3)))
    ]
    moment = (draw(st.integers(0, 1)), draw(st.integers(0, STEPS - 1)))
    return agreed, moment, draw(rows_of(shape)).unsqueeze(0), davids


def full(davids):
    """The same contributions with their full rows."""
    return [
        replace(weighted, contribution=encode(rows, block=1, step=0, codec=Codec.DENSE))
        for rows, weighted in davids
    ]


def asked(agreed, moment, core, davids, caps=None):
    contributions = [weighted for _, weighted in davids]
    shown = shown_at(agreed, *moment, positions=core.shape[1])
    return doubts(agreed, core, contributions, shown=shown, caps=caps)


def told(davids, doubt):
    """The Davids after their answers."""
    rows = {weighted.contributor_id: rows for rows, weighted in davids}
    answers = {name: answer_from(rows[name], ask) for name, ask in doubt.asks.items()}
    contributions = all_answered([weighted for _, weighted in davids], doubt.asks, answers)
    return [(rows[weighted.contributor_id], weighted) for weighted in contributions]


def readings(agreed, moment, scores):
    """All that a step reads of its scores, position by position."""
    shown = shown_at(agreed, *moment, positions=scores.shape[1])
    scores = allowed(agreed, scores, shown.open, first=None if moment[0] else 0)
    needs, draw = agreed.process.needs(shown.state), agreed.process.draw
    if not needs.candidates:
        return greedy(scores)[0].tolist()
    tokens = draw.tokens(scores, Philox(agreed.process.seed).words(moment))[0].tolist()
    if needs.words is not None:
        return tokens
    found = [tokens] if not draw.no_repeat else []
    best = best_candidates(scores, temperature=draw.temperature, min_p=draw.min_p, most=32)
    for part in (
        best.ids,
        best.scores,
        best.log_mass,
        best.leads(),
        best.hot(most=MAX_HOT, top_p=draw.top_p),
    ):
        found.append([_plain(row) for row in part[0]])
    return list(zip(*found, strict=True))


def certified(agreed, moment, doubt):
    """The positions whose readings are certain: with `no_repeat`, in sight of those before."""
    needs = agreed.process.needs(shown_at(agreed, *moment).state)
    if needs.draw.no_repeat and needs.words is not None and doubt.uncertified.any():
        return range(int(doubt.uncertified.argmax()))
    return np.flatnonzero(~doubt.uncertified)


def _plain(row):
    """The values of a row without its padding, whose width another position decides."""
    values = row.tolist()
    return [v for v in values if v not in (-1, -np.inf)] if isinstance(values, list) else values


@given(step=steps())
@settings(max_examples=300, deadline=None)
def test_what_is_certified_reads_as_with_full_rows(step):
    agreed, moment, core, davids = step
    doubt = asked(*step)
    sparse = readings(agreed, moment, doubt.fused.scores)
    dense = readings(agreed, moment, fuse(core, full(davids)).scores)
    for position in certified(agreed, moment, doubt):
        assert sparse[position] == dense[position]
    assert doubt.asks == {}


@given(step=steps())
@settings(max_examples=300, deadline=None)
def test_with_the_caps_lifted_one_round_of_asks_certifies_all(step):
    agreed, moment, core, davids = step
    doubt = asked(*step, caps=LIFTED)
    assert bool(doubt.asks) == doubt.uncertified.any()
    for _, weighted in davids:
        ask, kept = doubt.asks.get(weighted.contributor_id), weighted.contribution
        if ask is None:
            continue
        assert (ask.block, ask.step) == moment
        assert (np.diff(ask.positions) > 0).all()
        assert (ask.counts > 0).all()
        pairs = set(zip(np.repeat(ask.positions, ask.counts), ask.ids, strict=True))
        sent = zip(np.repeat(np.arange(len(kept.counts)), kept.counts), kept.ids, strict=True)
        assert len(pairs) == len(ask.ids)
        assert not pairs & set(sent)
    after = told(davids, doubt)
    settled = asked(agreed, moment, core, after, caps=LIFTED)
    assert not settled.uncertified.any()
    assert settled.asks == {}
    dense = fuse(core, full(davids)).scores
    assert readings(agreed, moment, settled.fused.scores) == readings(agreed, moment, dense)


@given(step=steps(), caps=st.tuples(st.integers(0, 4), st.integers(0, 9)))
@settings(max_examples=200, deadline=None)
def test_asks_stay_within_the_caps_and_never_make_it_worse(step, caps):
    agreed, moment, core, davids = step
    doubt = asked(*step, caps=AskCaps(*caps))
    for ask in doubt.asks.values():
        assert ask.counts.max() <= caps[0]
        assert ask.counts.sum() == len(ask.ids) <= caps[1]
    after = told(davids, doubt)
    settled = asked(agreed, moment, core, after)
    assert not (settled.uncertified & ~doubt.uncertified).any()
    sparse = readings(agreed, moment, settled.fused.scores)
    dense = readings(agreed, moment, fuse(core, full(davids)).scores)
    for position in certified(agreed, moment, settled):
        assert sparse[position] == dense[position]


@given(step=steps())
@settings(max_examples=200, deadline=None)
def test_sparse_scores_are_bounds_and_exact_where_all_sent(step):
    _, _, core, davids = step
    sparse = fuse(core, [weighted for _, weighted in davids]).scores
    dense = fuse(core, full(davids)).scores
    assert (sparse >= dense).all()
    exact = torch.ones(core.shape[1:], dtype=torch.bool)
    for _, weighted in davids:
        if weighted.weight and weighted.contribution.codec is Codec.TOPK:
            marked = replace(
                weighted.contribution, values=np.zeros_like(weighted.contribution.values)
            )
            floors = np.full_like(marked.floors, -1)
            exact &= decode(replace(marked, floors=floors), core.shape[-1], CPU) == 0
    assert torch.equal(sparse[0][exact], dense[0][exact])


def one_row(values, entries, weight=0.5, core=None, **changes):
    """The doubt of one position and one David; the core is flat unless given."""
    rows = torch.tensor([values], dtype=torch.float32)
    logits = torch.zeros(1, 1, len(values)) if core is None else torch.tensor([[core]])
    weighted = Weighted(
        "d", weight, encode(rows, block=0, step=0, codec=Codec.TOPK, entries=entries)
    )
    agreed = plan(**({"forbidden": (), "end": len(values) - 1} | changes))
    return doubts(
        agreed, logits, [weighted], shown=shown_at(agreed, 1, 0, positions=1), caps=LIFTED
    )


def ids_asked(doubt):
    return doubt.asks["d"].ids.tolist() if doubt.asks else []


def test_the_ids_in_doubt_are_those_that_reach_the_threshold():
    # Entries 0 and -1 are sent, the others stand at -2. The core lifts id 3 by 8 and id 4 by 1.
    row, core = [0.0, -1.0, -2.0, -3.0, -4.0], [-8.0, -8.0, -8.0, 0.0, -7.0]
    # s = 0.5 * core + 0.5 * row: -4 and -4.5; bounds -5, -1, -4.5.
    assert ids_asked(one_row(row, 2, core=core)) == [3]
    close = one_row(row, 2, core=core, temperature=1.0, min_p=0.5)
    assert ids_asked(close) == [3, 4]
    assert ids_asked(one_row(row, 2, core=core, temperature=1.0, min_p=0.3)) == [2, 3, 4]


def test_a_tie_is_settled_by_the_ids_where_the_first_choice_is_all_that_is_read():
    row = [-1.0, 0.0, -1.0, -2.0]
    core = [-4.0, -5.0, -4.0, -9.0]
    # Id 1 has -2.5, ids 0 and 2 reach the same: the lower one would be taken, the higher one not.
    assert ids_asked(one_row(row, 1, core=core)) == [0]
    told_ = one_row(row, 1, core=core, self_conditioning=SelfConditioning.FUSED)
    assert ids_asked(told_) == [0, 2]


def test_what_must_not_appear_is_never_asked_for():
    row, core = [0.0, -1.0, -1.0], [-9.0, 0.0, 0.0]
    assert ids_asked(one_row(row, 1, core=core)) == [1, 2]
    assert ids_asked(one_row(row, 1, core=core, forbidden=(1,))) == [2]
    # At the first position of an answer the end is masked too.
    rows = encode(torch.tensor([row]), block=0, step=0, codec=Codec.TOPK, entries=1)
    agreed = plan(forbidden=(), end=2)
    shown, weighted = shown_at(agreed, 0, 0, positions=1), Weighted("d", 0.5, rows)
    first = doubts(agreed, torch.tensor([[core]]), [weighted], shown=shown, caps=LIFTED)
    assert ids_asked(first) == [1]


def test_where_nothing_is_exact_the_best_bounds_are_asked_for():
    a, b = torch.tensor([[5.0, 0.0, 1.0, -9.0]]), torch.tensor([[0.0, 5.0, 1.0, -9.0]])
    davids = [
        (rows, Weighted(name, 0.4, encode(rows, block=0, step=0, codec=Codec.TOPK, entries=1)))
        for name, rows in (("a", a), ("b", b))
    ]
    agreed, core = plan(forbidden=(), end=3), torch.zeros(1, 1, 4)
    doubt = asked(agreed, (1, 0), core, davids, AskCaps(2, 2))
    assert {name: ask.ids.tolist() for name, ask in doubt.asks.items()} == {"a": [1], "b": [0]}
    assert not asked(agreed, (1, 0), core, told(davids, doubt)).uncertified.any()


def test_positions_that_need_the_fewest_ids_come_first():
    # Flat rows of 6, 3 and 2 ids that matter; the core rules the others out.
    core = torch.full((1, 3, 6), -100.0)
    for position, count in enumerate((6, 3, 2)):
        core[0, position, :count] = 0.0
    rows = torch.zeros(3, 6)
    davids = [
        (rows, Weighted("d", 0.5, encode(rows, block=0, step=0, codec=Codec.TOPK, entries=1)))
    ]
    agreed = plan(forbidden=(), end=5, self_conditioning=SelfConditioning.FUSED)
    ask = asked(agreed, (1, 0), core, davids, AskCaps(9, 5)).asks["d"]
    assert ask.positions.tolist() == [0, 1, 2]
    assert ask.counts.tolist() == [2, 2, 1]
    assert ask.ids.tolist() == [1, 2, 1, 2, 1]
    ask = asked(agreed, (1, 0), core, davids, AskCaps(9, 3)).asks["d"]
    assert ask.positions.tolist() == [1, 2]


def test_weights_of_nought_and_full_rows_are_never_asked():
    rows = torch.tensor([[0.0, -1.0, -2.0]])
    core = torch.tensor([[[-9.0, 0.0, 0.0]]])
    silent = Weighted("s", 0.0, encode(rows, block=0, step=0, codec=Codec.TOPK, entries=1))
    whole = Weighted("w", 0.5, encode(rows, block=0, step=0, codec=Codec.DENSE))
    every = Weighted("e", 0.5, encode(rows, block=0, step=0, codec=Codec.TOPK, entries=3))
    for contributions in ([], [silent], [whole], [every, silent, whole]):
        agreed = plan(forbidden=(), end=2)
        shown = shown_at(agreed, 1, 0, positions=1)
        doubt = doubts(agreed, core, contributions, shown=shown, caps=LIFTED)
        assert not doubt.uncertified.any()
        assert doubt.asks == {}


ROWS = torch.tensor([[0.0, -1.0, -2.0, -3.0], [0.0, 0.0, -1.0, -1.0]])


def test_an_answer_adds_entries():
    kept = encode(ROWS, block=0, step=2, codec=Codec.TOPK, entries=1)
    ask = Ask(0, 2, np.array([0, 1]), np.array([1, 2]), np.array([3, 1, 2]))
    more = answered(kept, ask, answer_from(ROWS, ask))
    assert more.counts.tolist() == [2, 3]
    assert more.ids.tolist() == [0, 3, 0, 1, 2]
    assert more.values.tolist() == [0, -3, 0, 0, -1]
    assert more.floors.tolist() == kept.floors.tolist() == [-1, 0]
    assert kept.counts.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("values", "says"),
    [([-2.0], "expected 2 values, got 1"), ([-0.5, -1.0], "expected at most -1.0, the floor")],
)
def test_an_answer_that_contradicts_its_contribution_is_refused(values, says):
    kept = encode(ROWS, block=0, step=2, codec=Codec.TOPK, entries=1)
    ask = Ask(0, 2, np.array([0, 1]), np.array([1, 1]), np.array([3, 2]))
    with pytest.raises(InvalidFrameError, match=says):
        answered(kept, ask, Answer(0, 2, np.array(values, np.float16)))
