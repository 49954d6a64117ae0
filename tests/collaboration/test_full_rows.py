"""Contributions where a process reads full rows, and to another step than their own."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.collaboration.codec import MOST_ENTRIES, decode, encode, reach_for, with_true_mass
from common.collaboration.contribution import Contribution, for_open
from common.collaboration.fusion import Weighted, fuse
from common.collaboration.settings import Codec

CPU = torch.device("cpu")
SIZE = 2000


def logits(seed: int, positions: int = 4, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(positions, SIZE, generator=torch.Generator().manual_seed(seed))


def sent(rows: torch.Tensor, weight: float = 0.75, codec: Codec = Codec.TOPK) -> Contribution:
    return encode(rows, block=0, step=0, codec=codec, reach=reach_for(None, weight))


def mass(rows: torch.Tensor) -> torch.Tensor:
    return (rows - rows.amax(-1, keepdim=True)).double().logsumexp(-1)


@given(seed=st.integers(0, 500), scale=st.sampled_from([0.1, 1.0, 3.0, 10.0, 100.0]))
@settings(max_examples=40, deadline=None)
def test_a_decoded_row_has_the_true_mass(seed: int, scale: float) -> None:
    rows, contribution = logits(seed, scale=scale), sent(logits(seed, scale=scale))
    full = with_true_mass(contribution, SIZE)
    assert torch.allclose(decode(full, SIZE, CPU).double().logsumexp(-1), mass(rows), atol=1e-3)
    assert (full.floors <= contribution.floors).all()
    assert np.array_equal(full.values, contribution.values)


@pytest.mark.parametrize(("weight", "most"), [(0.5, 0.04), (0.75, 0.004), (1.0, 1e-4)])
def test_sparse_rows_are_as_sure_as_dense_ones(weight: float, most: float) -> None:
    core, rows = logits(1, 200, 6.0).unsqueeze(0), logits(2, 200, 6.0)

    def best(codec: Codec, *, full_rows: bool) -> torch.Tensor:
        fused = fuse(core, [Weighted("a", weight, sent(rows, weight, codec))], full_rows=full_rows)
        return fused.scores.softmax(-1).amax(-1)

    dense = best(Codec.DENSE, full_rows=True)
    errors = [
        float((best(Codec.TOPK, full_rows=full_rows) - dense).abs().mean())
        for full_rows in (True, False)
    ]
    assert errors[0] < most
    assert errors[0] < errors[1] / 2, "the floor alone does as well"


def test_several_davids_each_have_their_mass() -> None:
    core, rows = logits(1).unsqueeze(0), [logits(seed) for seed in (2, 3)]
    for codecs in ([Codec.TOPK, Codec.TOPK], [Codec.DENSE, Codec.TOPK]):
        contributions = [
            Weighted(name, 0.4, sent(one, 0.4, codec))
            for name, one, codec in zip("ab", rows, codecs, strict=True)
        ]
        full = [decode(with_true_mass(v.contribution, SIZE), SIZE, CPU) for v in contributions]
        expected = 0.2 * (core - core.amax(-1, keepdim=True)) + 0.4 * full[0] + 0.4 * full[1]
        torch.testing.assert_close(fuse(core, contributions, full_rows=True).scores, expected)


def test_rows_send_what_their_weight_needs() -> None:
    flat, sharp = torch.zeros(1, SIZE), 50 * torch.eye(1, SIZE)
    counts = [int(sent(rows).counts[0]) for rows in (flat, logits(1, 1, 8.0), sharp)]
    assert counts[0] == MOST_ENTRIES > counts[1] > counts[2] == 8
    light, heavy = (sent(logits(1, scale=6.0), weight).counts for weight in (0.5, 1.0))
    assert (light > heavy).all()


@pytest.mark.parametrize("codec", Codec)
def test_rows_of_positions_that_are_not_open_are_dropped(codec: Codec) -> None:
    rows, was, now = logits(5), np.array([1, 4, 6, 9]), np.array([4, 9])
    kept, expected = for_open(sent(rows, codec=codec), was, now), sent(rows[[1, 3]], codec=codec)
    core = logits(6, 2).unsqueeze(0)
    one, other = (fuse(core, [Weighted("a", 0.75, c)], full_rows=True) for c in (kept, expected))
    assert torch.equal(one.scores, other.scores)
    assert torch.equal(one.david_choice, other.david_choice)


@pytest.mark.parametrize("codec", Codec)
def test_a_position_without_a_row_takes_the_large_models(codec: Codec) -> None:
    was, now = np.array([1, 4]), np.array([0, 4, 7])
    core = logits(6, 3).unsqueeze(0)
    scores = fuse(
        core, [Weighted("a", 0.75, for_open(sent(logits(5, 2), codec=codec), was, now))]
    ).scores[0]
    alone = fuse(core, []).scores[0]
    assert torch.equal(scores[[0, 2]], alone[[0, 2]])
    assert not torch.equal(scores[1], alone[1])


def test_a_contribution_to_the_same_positions_stays_as_it_is() -> None:
    contribution, open = sent(logits(5)), np.arange(4)
    assert for_open(contribution, open, open.copy()) is contribution
