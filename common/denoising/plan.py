"""What a generation depends on beside the models; importing this imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.denoising.process import Process


class Decider(IntEnum):
    """Whose first choice the token of a position was; a byte on the wire."""

    CORE = 1
    DAVID = 2
    BOTH = 3
    NEITHER = 4


class FinishReason(StrEnum):
    """Why an answer ended."""

    END_TOKEN = "end_token"
    MAX_TOKENS = "max_tokens"
    CLIENT_FINISHED = "client_finished"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Plan:
    """One generation. With nothing but a process, a prompt and a length it is the process's
    published sampler: nothing is barred, and no end token cuts.
    """

    process: Process
    prompt: tuple[int, ...]
    """Ids before the answer, template tokens included."""
    max_tokens: int
    """Longest answer, in tokens; what a block has beyond it is cut."""
    suffix: tuple[int, ...] = ()
    """Ids after the answer; empty for none."""
    ends: tuple[int, ...] = ()
    """Ids that end an answer; they are no part of it, nor its first token."""
    forbidden: tuple[int, ...] = ()
    """Ids that must not appear."""

    @property
    def given(self) -> int:
        """How many of the prompt's last ids stand in the first block."""
        return len(self.prompt) % self.process.block_length if self.process.grid else 0

    @property
    def blocks(self) -> int:
        """Blocks of the longest answer."""
        return -(-(self.given + self.max_tokens) // self.process.block_length)
