"""Small pure checkers for what a peer sent. Each looks at sizes before it makes an array.

Every refusal names the field, what was expected and what came. `InvalidFrameError` says that the
contract is broken, `LimitExceededError` that a well-formed request is beyond what this side allows.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from common.denoising.settings import Setting
from common.errors import InvalidFrameError, LimitExceededError
from common.wire.frames import MAX_VOCABULARY

MAX_NAMES = 64
"""Most features of a frame; most contributors and end ids of a session."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_Choice = TypeVar("_Choice", bound=StrEnum)


def refuse(name: str, expected: str, actual: object) -> InvalidFrameError:
    """The error for a field that breaks the contract."""
    return InvalidFrameError(f"{name}: expected {expected}, got {actual}")


def integer(name: str, value: int, *, low: int, high: int) -> int:
    """The value, if low <= value <= high."""
    if not low <= value <= high:
        raise refuse(name, f"{low} to {high}", value)
    return value


def number(name: str, value: float, *, low: float, high: float, open_low: bool = False) -> float:
    """The value, if finite and in [low, high], or in (low, high] with `open_low`."""
    if not (math.isfinite(value) and low <= value <= high and not (open_low and value == low)):
        raise refuse(name, f"a number in {'(' if open_low else '['}{low:g}, {high:g}]", value)
    return value


def in_range(name: str, value: Any, declared: Setting) -> Any:
    """The value, if it is in the range that its setting is declared with."""
    expected = declared.refusal(value)
    if expected is not None:
        raise refuse(name, expected, value)
    return value


def within_limit(name: str, value: float, limit: float) -> None:
    """Refuse what is beyond a limit of this server."""
    if value > limit:
        raise LimitExceededError(
            f"{name}: at most {limit:.15g} here, got {value:.15g}",
            remedy=f"Ask for at most {limit:.15g}",
        )


def text(name: str, value: str, *, low: int = 0, high: int) -> str:
    """The text, if it has low to high bytes and no control characters."""
    sized(name, value, low=low, high=high)
    if not value.isprintable():
        raise refuse(name, "no control characters", "some")
    return value


def sized(name: str, value: str, *, low: int = 0, high: int) -> str:
    """The text, if it has low to high bytes."""
    # A character has at least one byte: a huge text is refused before it is copied.
    size = len(value) if len(value) > high else len(value.encode("utf-8"))
    if not low <= size <= high:
        raise refuse(name, f"{low} to {high} bytes", size)
    return value


def plain_name(name: str, value: str) -> str:
    """The value, if it is 1 to 64 of the characters A-Z a-z 0-9 . _ -."""
    if _NAME.fullmatch(value) is None:
        raise refuse(name, "1 to 64 of A-Z a-z 0-9 . _ -", f"{value[:64]!r}")
    return value


def names(name: str, values: Sequence[str]) -> tuple[str, ...]:
    """The values, if they are at most 64 different plain names."""
    if len(values) > MAX_NAMES:
        raise refuse(name, f"at most {MAX_NAMES} names", len(values))
    found = tuple(plain_name(name, value) for value in values)
    if len(set(found)) != len(found):
        raise refuse(name, "different names", f"{found}"[:200])
    return found


def choice(name: str, value: int, options: Mapping[_Choice, int]) -> _Choice:
    """The member that an enum's number stands for; 0 and unknown numbers are refused."""
    for member, wire_value in options.items():
        if wire_value == value:
            return member
    raise refuse(name, f"one of {', '.join(options)}", f"the unknown number {value}")


def length(name: str, data: bytes, expected: int) -> bytes:
    """The bytes, if there are as many as expected."""
    if len(data) != expected:
        raise refuse(name, f"{expected} bytes", len(data))
    return data


def id_bits(vocabulary_size: int) -> int:
    """Bits of a token id on the wire: the fewest, and at least 8, that leave the value with every
    bit set for "no id". From 8 on, as many bytes hold only one number of ids.
    """
    return max(8, vocabulary_size.bit_length())


def pack_bits(values: np.ndarray, bits: int) -> bytes:
    """Unsigned integers of any shape in so many bits each (1 to 24), row-major, the first in the
    lowest bits; the last byte is filled with 0.
    """
    groups = -(-values.size // 8)
    words = np.zeros((groups, 8), np.uint32)  # eight integers fill whole bytes: `bits` of them
    words.reshape(-1)[: values.size] = values.ravel()
    packed = np.zeros((groups, bits + 4), np.uint8)
    for place in range(8):
        byte, shift = divmod(place * bits, 8)
        word = (words[:, place] << np.uint32(shift)).astype("<u4")
        packed[:, byte : byte + 4] |= word.view(np.uint8).reshape(groups, 4)
    return bytes(packed[:, :bits].tobytes()[: -(-values.size * bits // 8)])


def unpack_bits(name: str, data: bytes, *, bits: int, count: int) -> np.ndarray:
    """(count,) uint32 from `pack_bits`.

    Raises:
        InvalidFrameError: There are not as many bytes, or a bit after the last integer is set.
    """
    length(name, data, -(-count * bits // 8))
    spare = len(data) * 8 - count * bits
    if spare and data[-1] >> (8 - spare):
        raise refuse(name, "0 in the bits after the last one", "others")
    groups = -(-count // 8)
    packed = np.zeros((groups, bits + 4), np.uint8)
    packed[:, :bits] = np.frombuffer(data.ljust(groups * bits, b"\0"), np.uint8).reshape(
        groups, bits
    )
    values = np.empty((groups, 8), np.uint32)
    for place in range(8):
        byte, shift = divmod(place * bits, 8)
        word = np.ascontiguousarray(packed[:, byte : byte + 4]).view("<u4")[:, 0]
        values[:, place] = word >> np.uint32(shift) & np.uint32((1 << bits) - 1)
    return values.ravel()[:count]


def ids_from_bytes(
    name: str, data: bytes, *, count: int | None = None, vocabulary_size: int, padded: bool = False
) -> np.ndarray:
    """Token ids, (count,) int64, all in range; `padded` allows "no id", which becomes -1.

    Args:
        name: The field, for the error.
        data: The bytes that came.
        count: How many ids there must be; None takes as many as the bytes hold.
        vocabulary_size: Ids are below it.
        padded: Whether "no id" may stand in the place of an id.

    Raises:
        InvalidFrameError: The size is wrong, or an id is out of range.
    """
    bits = id_bits(integer("vocabulary_size", vocabulary_size, low=2, high=MAX_VOCABULARY))
    raw = unpack_bits(
        name, data, bits=bits, count=len(data) * 8 // bits if count is None else count
    )
    wrong = raw >= vocabulary_size
    absent = raw == (1 << bits) - 1
    if padded:
        wrong &= ~absent
    if wrong.any():
        raise refuse(name, f"ids below {vocabulary_size}", int(raw[wrong][0]))
    ids = raw.astype(np.int64)
    if padded:
        ids[absent] = -1
    return ids


def ids_to_bytes(name: str, ids: np.ndarray, *, vocabulary_size: int) -> bytes:
    """The bytes of token ids of any shape; -1 is written as "no id"."""
    if ids.size and not -1 <= int(ids.min()) <= int(ids.max()) < vocabulary_size:
        raise refuse(name, f"ids below {vocabulary_size}", f"{ids.min()} to {ids.max()}")
    bits = id_bits(vocabulary_size)
    return pack_bits(ids.astype(np.int64) & ((1 << bits) - 1), bits)  # -1 has every bit set


def unique_in_rows(name: str, ids: np.ndarray, counts: np.ndarray | list[int]) -> None:
    """Refuse an id that stands twice in one of the rows, which have `counts` entries each."""
    # Row and id in one number: the id needs fewer than 32 bits, and so does the row.
    keys = np.repeat(np.arange(len(counts), dtype=np.int64) << 32, counts) | ids.astype(np.int64)
    keys.sort()
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if twice.size:
        key = int(keys[twice[0]])
        raise refuse(name, "unique ids in a row", f"id {key & 0xFFFFFFFF} twice in row {key >> 32}")


def bounded(name: str, values: np.ndarray, *, low: float, high: float) -> np.ndarray:
    """The values, if all are finite and in [low, high]."""
    # A NaN becomes the smallest and the largest one, and is in no range.
    if values.size and not (low <= values.min() and values.max() <= high):
        came = f"{values.min()} to {values.max()}"
        raise refuse(name, f"finite values in [{low:g}, {high:g}]", came)
    return values


def numbers_from_bytes(
    name: str, data: bytes, *, code: str, count: int, low: float, high: float
) -> np.ndarray:
    """(count,) numbers of the little-endian type `code`, all finite and in [low, high]."""
    dtype = np.dtype(code)
    values = np.frombuffer(length(name, data, count * dtype.itemsize), dtype=dtype)
    return bounded(name, values, low=low, high=high).astype(dtype.newbyteorder("="), copy=False)


def time_table(times: Iterable[float]) -> tuple[float, ...]:
    """The times, if the first is 1, they fall, and all are above 0."""
    table = tuple(times)
    falling = all(later < earlier for earlier, later in pairwise(table))
    if not (table and table[0] == 1.0 and falling and table[-1] > 0.0):
        raise refuse("times", "values that fall from 1 and stay above 0", f"{table}"[:200])
    return table
