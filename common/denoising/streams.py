"""Counter-based random words: Philox4x32-10, in torch and in NumPy, bit for bit the same on every
device.

Both sides of a session rebuild the noise of a state from (seed, block, step), so no use may share
bits with another: the fourth counter word is a `Purpose`. Source: Salmon et al., "Parallel Random
Numbers: As Easy as 1, 2, 3", SC 2011.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

MASK32 = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
CPU = torch.device("cpu")


class Purpose(IntEnum):
    """Fourth counter word: what the bits are for. Numbers are part of the wire contract."""

    ORDER_STATISTICS = 1
    NOISE_IDS = 2
    HOT_NORMALS = 3
    TAIL_ROWS = 4
    DENSE_NORMALS = 5
    GUMBEL = 6
    SETTLING_ORDER = 7


def philox4x32(counter: tuple[Tensor, ...], key: tuple[Tensor, Tensor]) -> Tensor:
    """Ten rounds on four counter words and two key words.

    Args:
        counter: four int64 tensors with values in [0, 2**32), broadcastable.
        key: two int64 tensors with values in [0, 2**32), broadcastable with the counter.

    Returns:
        (..., 4) int64 with values in [0, 2**32).
    """
    c0, c1, c2, c3 = torch.broadcast_tensors(*counter, key[0], key[1])[:4]
    k0, k1 = key
    for _ in range(_ROUNDS):
        # The product wraps in int64; its bits are still right, and the masks undo the sign
        # extension.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((p1 >> 32) & MASK32) ^ c1 ^ k0,
            p1 & MASK32,
            ((p0 >> 32) & MASK32) ^ c3 ^ k1,
            p0 & MASK32,
        )
        k0, k1 = (k0 + _WEYL[0]) & MASK32, (k1 + _WEYL[1]) & MASK32
    return torch.stack((c0, c1, c2, c3), dim=-1)


def philox4x32_numpy(counter: np.ndarray, key: np.ndarray) -> np.ndarray:
    """The same for arrays: counter (..., 4) and key (..., 2) uint32 to (..., 4) uint32."""
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    k0, k1 = (key[..., i].astype(np.uint64) for i in range(2))
    mask, half = np.uint64(MASK32), np.uint64(32)
    for _ in range(_ROUNDS):
        p0, p1 = c0 * np.uint64(_MULTIPLIERS[0]), c2 * np.uint64(_MULTIPLIERS[1])
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1 & mask, (p0 >> half) ^ c3 ^ k1, p0 & mask
        k0, k1 = (k0 + np.uint64(_WEYL[0])) & mask, (k1 + np.uint64(_WEYL[1])) & mask
    return np.stack((c0, c1, c2, c3), axis=-1).astype(np.uint32)


class Stream(Protocol):
    """The draws of a session, by what they are for.

    Each draw is named by its purpose and its moment, (block, step), and has a shape (positions,
    draws). A process asks once for each name; what makes a state, such as its noise, has that
    state's moment, and what decides a step the moment of the state that it decides. A
    counter-based stream gives the same name the same numbers; a recorded one, or one that a
    generator draws, gives them in the order in which they are asked for.
    """

    def uniform(self, purpose: Purpose, at: tuple[int, int], shape: tuple[int, int]) -> Tensor:
        """float64 in (0, 1)."""

    def normal(self, purpose: Purpose, at: tuple[int, int], shape: tuple[int, int]) -> Tensor:
        """Standard normals."""

    def exponential(self, purpose: Purpose, at: tuple[int, int], shape: tuple[int, int]) -> Tensor:
        """Exponentials of mean 1, float64."""

    def integers(
        self, purpose: Purpose, at: tuple[int, int], shape: tuple[int, int], *, high: int
    ) -> Tensor:
        """int64 from 0 to high - 1."""


class Words:
    """The random words of a batch of states: row b belongs to (seed[b], block[b], step[b])."""

    def __init__(self, seeds: list[int], blocks: list[int], steps: list[int], device: torch.device):
        """Fix the key and the third counter word of each of the batch's rows."""
        self._key = tuple(
            torch.tensor([(s >> shift) & MASK32 for s in seeds], dtype=torch.int64, device=device)
            for shift in (0, 32)
        )
        place = [(b << 16) | s for b, s in zip(blocks, steps, strict=True)]
        self._place = torch.tensor(place, dtype=torch.int64, device=device)

    def words(self, purpose: Purpose, positions: int, draws: int) -> Tensor:
        """Words for each row and position: (batch, positions, draws) int64 in [0, 2**32)."""
        device = self._place.device
        group = torch.arange((draws + 3) // 4, dtype=torch.int64, device=device)
        position = torch.arange(positions, dtype=torch.int64, device=device)
        kind = torch.tensor(int(purpose), dtype=torch.int64, device=device)
        words = philox4x32(
            (group.view(1, 1, -1), position.view(1, -1, 1), self._place.view(-1, 1, 1), kind),
            (self._key[0].view(-1, 1, 1), self._key[1].view(-1, 1, 1)),
        )
        return words.flatten(-2)[..., :draws]

    def words_at(self, purpose: Purpose, rows: Tensor, positions: Tensor, draws: Tensor) -> Tensor:
        """One word for each (row, position, draw), int64 tensors of one shape; equals `words`
        there.
        """
        kind = torch.tensor(int(purpose), dtype=torch.int64, device=self._place.device)
        words = philox4x32(
            (draws >> 2, positions, self._place[rows], kind),
            (self._key[0][rows], self._key[1][rows]),
        )
        return words.gather(-1, (draws & 3).unsqueeze(-1)).squeeze(-1)


def uniform(words: Tensor) -> Tensor:
    """Words to float64 in (0, 1), never 0 or 1: (word + 1/2) / 2**32."""
    return (words.to(torch.float64) + 0.5) / 4294967296.0


@dataclass(frozen=True, slots=True)
class Philox:
    """The default `Stream`: every number follows from the seed and its name."""

    seed: int
    """uint64."""

    def words(self, at: tuple[int, int], device: torch.device = CPU) -> Words:
        """The words of a moment, a batch of one row."""
        return Words([self.seed], [at[0]], [at[1]], device)

    def uniform(self, purpose: Purpose, at: tuple[int, int], shape: tuple[int, int]) -> Tensor:
        """float64 in (0, 1)."""
        return uniform(self.words(at).words(purpose, *shape))[0]

    def normal(self, purpose: Purpose, at: tuple[int, int], shape: tuple[int, int]) -> Tensor:
        """Standard normals, float64."""
        normals: Tensor = torch.special.ndtri(self.uniform(purpose, at, shape))
        return normals

    def exponential(self, purpose: Purpose, at: tuple[int, int], shape: tuple[int, int]) -> Tensor:
        """Exponentials of mean 1, float64."""
        return -self.uniform(purpose, at, shape).log()

    def integers(
        self, purpose: Purpose, at: tuple[int, int], shape: tuple[int, int], *, high: int
    ) -> Tensor:
        """int64 from 0 to high - 1."""
        return (self.words(at).words(purpose, *shape)[0] * high) >> 32
