"""The frames of the wire as plain data: what protobuf carries, without protobuf.

Fields have the meaning, unit and range written in proto/goliath/v1/collaboration.proto. A frame
that `common.wire.conversions` read from a peer has been checked; one made here is trusted.
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np

from common.collaboration.contribution import Answer, Ask, Contribution
from common.collaboration.settings import ContributorSettings, Limits, ProcessFacts, SessionSettings
from common.denoising.plan import FinishReason
from common.processes.masked.settings import MaskedProcess
from common.text.summary import VocabularySummary
from common.text.templates import Message

PROTOCOL_VERSION = 1
"""Version of the wire contract that this software speaks."""

MAX_VOCABULARY = 2**20
"""Most token ids of a vocabulary; bounds what a hostile size can make us allocate."""

MAX_MESSAGES = 256
"""Most messages of a conversation."""

MAX_FUSED_ENTRIES = 256
"""Most entries for each position of a fused signal."""

DRAFT = "draft"
"""The feature with which the guesses of a state travel, for models of another kind."""

MAX_INDEX = 2**16
"""Blocks and steps are below this: together they fill one counter word of the noise."""


class Role(StrEnum):
    """The part that a client plays in a session."""

    OWNER = "owner"
    CONTRIBUTOR = "contributor"


class Outcome(IntEnum):
    """What became, for one step, of the contribution that it uses; a byte on the wire."""

    TOOK_PART = 1
    LATE = 2
    MISSED = 3


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server offers."""

    software_version: str
    model_name: str
    vocabulary: VocabularySummary
    vocabulary_size: int
    process: ProcessFacts
    limits: Limits
    defaults: SessionSettings
    """The settings that suit the model; the seed in it means nothing."""
    contributor_defaults: ContributorSettings
    """The settings that suit a contributor to it."""
    features: tuple[str, ...] = ()
    protocol_version: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True)
class Agreed:
    """What was agreed with one contributor."""

    contributor_id: str
    settings: ContributorSettings
    display_name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """The session is open, with these settings."""

    session_id: str
    settings: SessionSettings
    contributors: tuple[Agreed, ...]
    """All who take part, in the order of their ids."""
    process: ProcessFacts
    messages: tuple[Message, ...]
    """The public conversation."""
    prompt_ids: np.ndarray
    """(prompt,) int64 token ids of the prompt in the server's template."""
    suffix_ids: np.ndarray
    """(suffix,) int64 token ids; empty without a suffix."""
    times: tuple[float, ...]
    """Time of each step, 1 first, falling, all above 0; empty where the process has no times."""
    end_ids: tuple[int, ...]
    """Ids that end an answer, at least one."""
    limits: Limits
    model_name: str
    vocabulary_size: int
    features: tuple[str, ...] = ()
    protocol_version: int = PROTOCOL_VERSION

    @property
    def blocks(self) -> int:
        """Blocks of the longest answer; on a grid the prompt's last ids begin the first one."""
        on_grid = isinstance(self.process, MaskedProcess) and self.process.grid
        given = len(self.prompt_ids) % self.settings.block_length if on_grid else 0
        return -(-(given + self.settings.max_tokens) // self.settings.block_length)


@dataclass(frozen=True, slots=True, eq=False)
class Participation:
    """How one contributor kept up."""

    contributor_id: str
    outcomes: np.ndarray
    """(steps run so far,) uint8 values of `Outcome`, blocks one after another."""

    def count(self, outcome: Outcome) -> int:
        """Steps with this outcome."""
        return int(np.count_nonzero(self.outcomes == outcome))


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """All that a server needs to go on with a session that it does not know."""

    opened: Opened
    block: int
    finished_ids: np.ndarray
    """(block * block_length,) int64 token ids of the finished blocks."""
    steps: "tuple[Step, ...]"
    """The steps of this block so far, as they came."""
    participations: tuple[Participation, ...] = ()
    unchanged_steps: int = 0
    """Steps in a row, up to the last one, that changed no token."""


@dataclass(frozen=True, slots=True, eq=False)
class Open:
    """Begins, resumes or joins a session."""

    role: Role
    contributor_id: str
    messages: tuple[Message, ...]
    """The public conversation that the answer follows."""
    settings: SessionSettings
    """Requested for the session."""
    contributor: ContributorSettings
    """Requested for this contributor."""
    process: ProcessFacts
    vocabulary: VocabularySummary
    suffix: str = ""
    display_name: str = ""
    required_features: tuple[str, ...] = ()
    optional_features: tuple[str, ...] = ()
    session_id: str = ""
    """The session to resume or to join; empty for a new one."""
    checkpoint: Checkpoint | None = None
    protocol_version: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The state that models shall look at next; the noise follows from the agreed seed."""

    block: int
    step: int
    state: Any
    """The `State`, as the agreed process has it."""
    finished_ids: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """(block_length,) int64 ids of the block just ended, at step 0 of a later one, else none."""
    decided: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))
    """(block_length,) uint8, who decided the tokens of the step before; empty at the first step."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ContributionChunk(Contribution):
    """A run of rows of a contribution, alone in its arrays; those together are the contribution."""

    index: int
    """Index of this part, from 0."""
    count: int
    """Number of parts."""
    first_row: int
    """Index of the first row."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Gives the session up at once."""

    block: int
    step: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Ends the session politely."""

    block: int
    step: int


@dataclass(frozen=True, slots=True, eq=False)
class Completed:
    """The answer."""

    block: int
    step: int
    ids: np.ndarray
    """(answer,) int64 token ids, without the end token."""
    finish_reason: FinishReason
    participations: tuple[Participation, ...] = ()
    decided: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))
    """(block_length,) uint8, who decided the tokens of the last block."""
    uncertified: int = 0
    """Positions, over all steps, where entries that were not sent could have mattered."""
    bytes_received: int = 0
    """Bytes that the server received from this client in the session."""
    bytes_sent: int = 0
    """Bytes that the server sent to this client in the session, before this frame."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The session ended without an answer."""

    block: int
    step: int
    reason: str
    """Reason code of `common.errors`."""
    message: str
    remedy: str = ""


ClientFrame = Open | ContributionChunk | Answer | Cancel | Finish
ServerFrame = Opened | Step | Ask | Completed | Failed
