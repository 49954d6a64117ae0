import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.collaboration.codec import (
    LEAST_ENTRIES,
    LOWEST,
    MOST_ENTRIES,
    answer_from,
    decode,
    encode,
    reach_of,
)
from common.collaboration.contribution import Ask
from common.collaboration.settings import Codec
from common.errors import InternalError

CPU = torch.device("cpu")

# Ties (few distinct values), tiny and huge values, and masked entries, but one finite entry a row.
VALUE = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-30, 3e38, -3e38, -np.inf]),
    st.floats(-50, 50, width=32),
)


@st.composite
def logit_rows(draw):
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 20)))
    rows = draw(hnp.arrays(np.float32, shape, elements=VALUE))
    rows[:, draw(st.integers(0, shape[1] - 1))] = draw(st.floats(-50, 50, width=32))
    return torch.from_numpy(rows)


def encoded(rows: torch.Tensor, codec: Codec, entries: int = 4):
    return encode(rows, block=2, step=3, codec=codec, entries=entries)


def half_rows(rows: torch.Tensor) -> torch.Tensor:
    """What the dense codec stands for, written out."""
    shifted = (rows - rows.amax(-1, keepdim=True)).clamp(min=LOWEST)
    return shifted.half().float()


@given(rows=logit_rows())
@settings(deadline=None)
def test_dense_round_trip(rows):
    contribution = encoded(rows, Codec.DENSE)
    assert (contribution.block, contribution.step) == (2, 3)
    assert torch.equal(decode(contribution, rows.shape[1], CPU), half_rows(rows))


@given(rows=logit_rows(), entries=st.integers(1, 25))
@settings(deadline=None)
def test_topk_decodes_to_sent_values_and_the_floor(rows, entries):
    contribution = encoded(rows, Codec.TOPK, entries)
    size = rows.shape[1]
    kept = min(entries, size)
    assert contribution.counts.tolist() == [kept] * len(rows)
    ids = contribution.ids.reshape(len(rows), kept)
    values = contribution.values.reshape(len(rows), kept)
    assert (np.diff(ids, axis=1) > 0).all()
    assert (values <= 0).all()
    assert (values.max(1) == 0).all()
    assert (contribution.floors <= values.min(1)).all()
    full = decode(contribution, size, CPU)
    exact = half_rows(rows)
    sent = torch.zeros(rows.shape, dtype=torch.bool)
    sent.scatter_(1, torch.from_numpy(ids.astype(np.int64)), True)
    assert torch.equal(full[sent], exact[sent])
    # Every entry left out stands at the largest of them.
    for row in range(len(rows)):
        if not sent[row].all():
            assert (full[row][~sent[row]] == exact[row][~sent[row]].max()).all()


@given(rows=logit_rows(), extra=st.integers(0, 3))
@settings(deadline=None)
def test_topk_of_all_entries_is_dense_exactly(rows, extra):
    size = rows.shape[1]
    dense = decode(encoded(rows, Codec.DENSE), size, CPU)
    assert torch.equal(decode(encoded(rows, Codec.TOPK, size + extra), size, CPU), dense)


@given(rows=logit_rows(), entries=st.integers(1, 25))
@settings(deadline=None)
def test_decoding_is_always_finite_and_in_range(rows, entries):
    for codec in Codec:
        full = decode(encoded(rows, codec, entries), rows.shape[1], CPU)
        assert full.dtype == torch.float32
        assert torch.isfinite(full).all()
        assert (full >= LOWEST).all()
        assert (full.amax(-1) == 0).all()


@given(rows=logit_rows(), entries=st.integers(1, 25))
@settings(deadline=None)
def test_log_mass_is_the_same_in_every_codec(rows, entries):
    dense, topk = encoded(rows, Codec.DENSE), encoded(rows, Codec.TOPK, entries)
    assert dense.log_mass.dtype == np.float32
    assert np.array_equal(dense.log_mass, topk.log_mass)
    assert (dense.log_mass >= 0).all()


@given(rows=logit_rows())
@settings(deadline=None)
def test_shapes_and_types(rows):
    positions, size = rows.shape
    dense, topk = encoded(rows, Codec.DENSE), encoded(rows, Codec.TOPK)
    for c in (dense, topk):
        assert c.counts.dtype == np.int32
        assert c.ids.dtype == np.int32
        assert c.values.dtype == c.floors.dtype == np.float16
        assert len(c.values) == c.counts.sum()
    assert dense.counts.tolist() == [size] * positions
    assert len(dense.ids) == len(dense.floors) == 0
    assert len(topk.ids) == len(topk.values)
    assert len(topk.floors) == positions


def test_values_are_clamped_so_that_fp16_holds_them():
    rows = torch.tensor([[0.0, -29_999.0, -70_000.0, -torch.inf]])
    full = decode(encoded(rows, Codec.DENSE), 4, CPU)
    assert full[0, 2:].tolist() == [LOWEST, LOWEST]
    assert full[0, 1].item() == pytest.approx(-29_999, abs=16)


def test_flat_and_single_rows():
    for rows in (torch.zeros(2, 9), torch.full((2, 9), -3e38), torch.ones(2, 1)):
        for codec in Codec:
            full = decode(encoded(rows, codec, 1), rows.shape[1], CPU)
            assert (full == 0).all()


def test_rounding_keeps_the_first_choice_first():
    # Entries closer than fp16 tells apart become ties; the best is still among them.
    rows = torch.tensor([[10.0, 10.0 + 1e-5, 3.0, -4.0]])
    for codec in Codec:
        full = decode(encoded(rows, codec, 2), 4, CPU)
        assert full[0, 1] == 0


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("codec", Codec)
def test_logits_that_are_no_numbers_are_refused(bad, codec):
    rows = torch.zeros(3, 5)
    rows[1, 2] = bad
    with pytest.raises(InternalError, match="finite logits"):
        encoded(rows, codec)


@pytest.mark.parametrize("codec", Codec)
def test_a_row_without_any_choice_is_refused(codec):
    with pytest.raises(InternalError, match="finite logits"):
        encoded(torch.full((1, 5), -torch.inf), codec)


def test_half_precision_models_are_read_in_fp32():
    rows = torch.tensor([[1.0, 0.5, -2.0, 60_000.0, -60_000.0]], dtype=torch.float16)
    for codec in Codec:
        full = decode(encoded(rows, codec), 5, CPU)
        assert torch.isfinite(full).all()
        assert full[0, 3] == 0
        assert full[0, 4] == LOWEST


# Rows of their own length


def sent(rows: torch.Tensor, **how):
    return encode(rows, block=0, step=0, codec=Codec.TOPK, **how)


@given(rows=logit_rows(), entries=st.integers(1, 25), reach=st.sampled_from([0.0, 1.0, 7.5, 40.0]))
@settings(deadline=None)
def test_a_row_sends_what_is_within_the_reach(rows, entries, reach):
    contribution = sent(rows, entries=entries, reach=reach)
    exact = half_rows(rows)
    size = rows.shape[1]
    within = (exact >= -reach).sum(-1).numpy()
    expected = within.clip(min(LEAST_ENTRIES, entries, size), min(entries, size))
    assert contribution.counts.tolist() == expected.tolist()
    # The largest are sent, of equal ones the lowest ids: a stable sort says which.
    start = 0
    for row, count in enumerate(contribution.counts):
        order = (-exact[row]).sort(stable=True).indices[:count]
        assert contribution.ids[start : start + count].tolist() == sorted(order.tolist())
        left_out = [v for i, v in enumerate(exact[row].tolist()) if i not in order.tolist()]
        assert contribution.floors[row] == (max(left_out) if left_out else LOWEST)
        start += count


def test_how_many_entries_a_row_sends_follows_from_the_row_alone():
    sharp, flat = torch.arange(0.0, -3000.0, -3.0), torch.zeros(1000)
    together = sent(torch.stack([sharp, flat, sharp]), reach=60.0)
    assert together.counts.tolist() == [21, MOST_ENTRIES, 21]
    assert sent(sharp.unsqueeze(0), reach=60.0).counts.tolist() == [21]
    assert sent(sharp.unsqueeze(0), reach=1.0).counts.tolist() == [LEAST_ENTRIES]


def test_the_reach_is_longer_for_a_wider_choice_and_a_smaller_share():
    usual = {"temperature": 0.7, "min_p": 0.05, "weight": 0.75}
    assert reach_of(**usual) > reach_of(**usual | {"min_p": 0.5})
    assert reach_of(**usual) > reach_of(**usual | {"temperature": 0.0})
    assert reach_of(**usual) < reach_of(**usual | {"weight": 0.5})
    # Alone, a greedy David needs his best entry; with a weight of 0 he is not used at all.
    assert reach_of(temperature=0.0, min_p=0.05, weight=1.0) == 0
    assert reach_of(temperature=0.7, min_p=0.05, weight=1.6) > 0
    assert reach_of(**usual | {"weight": 0.0}) == np.inf


# Asks


@given(rows=logit_rows(), seed=st.integers(0, 99))
@settings(deadline=None)
def test_an_answer_is_what_the_full_rows_say(rows, seed):
    positions, size = rows.shape
    generator = np.random.default_rng(seed)
    counts = generator.integers(1, size + 1, positions).astype(np.int32)
    ids = [generator.permutation(size)[:count] for count in counts]
    ask = Ask(2, 3, np.arange(positions, dtype=np.int32), counts, np.concatenate(ids))
    answer = answer_from(rows, ask)
    assert (answer.block, answer.step, answer.values.dtype) == (2, 3, np.float16)
    dense = encoded(rows, Codec.DENSE).values.reshape(positions, size)
    expected = np.concatenate([dense[row, chosen] for row, chosen in enumerate(ids)])
    assert np.array_equal(answer.values, expected)
