"""Integers take as many bytes as they need, and no more."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import (
    InvalidFrameError,
)
from common.wire import checks as wire_checks


def test_ids_take_the_smallest_width() -> None:
    for size, width in ((2, 8), (255, 8), (256, 9), (15000, 14), (65535, 16), (2**20, 21)):
        assert wire_checks.id_bits(size) == width


@given(bits=st.integers(1, 24), count=st.integers(0, 40), seed=st.integers(0, 2**32 - 1))
def test_packed_integers_come_back_in_as_many_bytes_as_they_need(bits, count, seed) -> None:
    values = np.random.default_rng(seed).integers(0, 2**bits, count, dtype=np.uint32)
    data = wire_checks.pack_bits(values, bits)
    assert len(data) == -(-count * bits // 8)
    # Written as one long number, the first integer in its lowest bits.
    number = sum(int(value) << (bits * place) for place, value in enumerate(values))
    assert data == number.to_bytes(len(data), "little")
    assert wire_checks.unpack_bits("x", data, bits=bits, count=count).tolist() == values.tolist()


def test_bits_after_the_last_integer_are_refused() -> None:
    with pytest.raises(InvalidFrameError, match="after the last"):
        wire_checks.unpack_bits("x", b"\xff\xff", bits=14, count=1)
