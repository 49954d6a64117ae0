import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.denoising.streams import MASK32, Purpose, Words, philox4x32, philox4x32_numpy, uniform

CPU = torch.device("cpu")
WORD = st.integers(0, MASK32)

# Random123, tests/kat_vectors, "philox4x32 10": counter, key, expected.
KNOWN = [
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (MASK32, MASK32, MASK32, MASK32),
        (MASK32, MASK32),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def in_torch(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    words = philox4x32(
        tuple(torch.tensor(c, dtype=torch.int64) for c in counter),
        (torch.tensor(key[0], dtype=torch.int64), torch.tensor(key[1], dtype=torch.int64)),
    )
    return tuple(words.tolist())


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_published_vectors_in_torch(counter, key, expected):
    assert in_torch(counter, key) == expected


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_published_vectors_in_numpy(counter, key, expected):
    words = philox4x32_numpy(np.array(counter, np.uint32), np.array(key, np.uint32))
    assert tuple(words.tolist()) == expected


@given(counter=st.tuples(WORD, WORD, WORD, WORD), key=st.tuples(WORD, WORD))
def test_torch_equals_numpy(counter, key):
    words = philox4x32_numpy(np.array(counter, np.uint32), np.array(key, np.uint32))
    assert in_torch(counter, key) == tuple(words.tolist())


def test_published_vector_through_the_stream():
    # A counter is (draw group, position, block and step, purpose): place one there by hand.
    seed = (0x299F31D0 << 32) | 0xA4093822
    stream = Words([seed], [5], [7], CPU)
    counter = np.array([2, 3, (5 << 16) | 7, int(Purpose.GUMBEL)], np.uint32)
    expected = philox4x32_numpy(counter, np.array([0xA4093822, 0x299F31D0], np.uint32))
    words = stream.words(Purpose.GUMBEL, 4, 12)
    assert words[0, 3, 8:12].tolist() == expected.tolist()


@given(
    seed=st.integers(0, 2**64 - 1),
    block=st.integers(0, 2**16 - 1),
    step=st.integers(0, 2**16 - 1),
    purpose=st.sampled_from(Purpose),
)
@settings(max_examples=30)
def test_one_word_equals_the_same_word_of_all(seed, block, step, purpose):
    stream = Words([1, seed], [0, block], [3, step], CPU)
    words = stream.words(purpose, 3, 11)
    rows, positions, draws = words.new_ones(words.shape).nonzero(as_tuple=True)
    assert torch.equal(stream.words_at(purpose, rows, positions, draws), words.flatten())


def test_fewer_draws_are_a_prefix_of_more():
    stream = Words([9], [0], [0], CPU)
    words = stream.words(Purpose.NOISE_IDS, 4, 13)
    assert torch.equal(stream.words(Purpose.NOISE_IDS, 2, 5), words[:, :2, :5])


def test_no_draws_are_an_empty_tensor():
    assert Words([9], [0], [0], CPU).words(Purpose.HOT_NORMALS, 4, 0).shape == (1, 4, 0)


def test_purposes_are_unique_and_frozen():
    numbers = {p.name: int(p) for p in Purpose}
    assert len(set(numbers.values())) == len(Purpose.__members__)
    # Both sides of a connection rebuild noise from these: a change breaks the wire contract.
    assert numbers == {
        "ORDER_STATISTICS": 1,
        "NOISE_IDS": 2,
        "HOT_NORMALS": 3,
        "TAIL_ROWS": 4,
        "DENSE_NORMALS": 5,
        "GUMBEL": 6,
        "SETTLING_ORDER": 7,
    }


def test_no_two_uses_share_bits():
    seeds, blocks, steps = [0, 1, 2**32, 2**63], [0, 1, 255], [0, 1, 255]
    rows = list(itertools.product(seeds, blocks, steps))
    stream = Words([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows], CPU)
    # Two words make 64 bits: a chance collision among these few thousand is one in 10**12.
    pairs = torch.cat([stream.words(p, 8, 4).view(-1, 2) for p in Purpose])
    joined = {(a << 32) | b for a, b in pairs.tolist()}
    assert len(joined) == len(pairs)


def test_block_and_step_do_not_run_into_each_other():
    a = Words([5], [1], [0], CPU).words(Purpose.GUMBEL, 1, 4)
    b = Words([5], [0], [2**16 - 1], CPU).words(Purpose.GUMBEL, 1, 4)
    assert not torch.equal(a, b)


def test_uniform_is_never_nought_or_one():
    ends = uniform(torch.tensor([0, 1, MASK32 - 1, MASK32]))
    assert ends.dtype == torch.float64
    assert ends[0] > 0
    assert ends[-1] < 1
    assert torch.isfinite(torch.special.ndtri(ends)).all()
    assert torch.isfinite(-(-ends.log()).log()).all()


def test_uniform_mean_and_variance():
    u = uniform(Words([3], [0], [0], CPU).words(Purpose.DENSE_NORMALS, 20, 1000))
    assert abs(u.mean().item() - 0.5) < 0.01
    assert abs(u.var().item() - 1 / 12) < 0.003


def test_the_global_generator_is_not_touched():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    Words([3], [0], [0], CPU).words(Purpose.GUMBEL, 2, 2)
    assert torch.equal(torch.get_rng_state(), before)
