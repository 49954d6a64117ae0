"""The frames of the wire as plain data: what protobuf carries, without protobuf.

Fields have the meaning, unit and range written in proto/goliath/v1/collaboration.proto. A frame
that `common.wire.conversions` read from a peer has been checked; one made here is trusted.
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

import numpy as np

from common.collaboration.contribution import Answer, Ask, Codec
from common.collaboration.timing import Every
from common.denoising.plan import FinishReason
from common.processes.simplex.state import FusedSignal
from common.processes.simplex.terms import Projection, SelfConditioning

PROTOCOL_VERSION = 1
"""Version of the wire contract that this software speaks."""

FINGERPRINT_BYTES = 32
"""Length of a vocabulary's fingerprint: SHA-256."""

MAX_VOCABULARY = 2**20
"""Most token ids of a vocabulary; bounds what a hostile size can make us allocate."""

MAX_FUSED_ENTRIES = 256
"""Most entries for each position of a fused signal."""

MAX_INDEX = 2**16
"""Blocks and steps are below this: together they fill one counter word of the noise."""


class Role(StrEnum):
    """The part that a client plays in a session."""

    OWNER = "owner"
    CONTRIBUTOR = "contributor"


class LateRule(StrEnum):
    """What the server does when a contribution is not there within the budget."""

    WAIT = "wait"
    SOLO = "solo"
    FAIL = "fail"


class NoiseKind(StrEnum):
    """How the noise of a simplex state is made from the seed."""

    DENSE = "dense"
    EXTREMES = "extremes"


class Outcome(IntEnum):
    """What became, for one step, of the contribution that it uses; a byte on the wire."""

    TOOK_PART = 1
    LATE = 2
    MISSED = 3


@dataclass(frozen=True, slots=True)
class SimplexProcess:
    """The diffusion process: tokens are points of a simplex, corrupted by Gaussian noise."""

    k: float
    """Simplex value of a certain token, in (0, 1000]."""
    schedule: str
    """Name of the noise schedule, which fixes its constants."""
    noise_form: NoiseKind
    """How noise is made."""
    extremes_draws: int = 0
    """m of `extremes`: normals drawn for each position; 0 for `dense`."""
    extremes_rows: int = 0
    """r of `extremes`: rows averaged for the tail; 0 for `dense`."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """The terms of a session, wished for in `Open`, agreed in `Opened`."""

    block_length: int
    """Positions that are generated together."""
    steps: int
    """Denoising steps of a block."""
    max_tokens: int
    """Longest answer, in tokens."""
    temperature: float
    """What the models' logits are divided by, but for the state's likelihood, in [0, 100]; 0 is
    greedy.
    """
    min_p: float
    """Least probability of a candidate as a share of the best one's, in (0, 1]."""
    seed: int
    """Seed of all noise, uint64."""
    weight: float
    """Share of the client's contribution in the fused logits, in [0, 1]."""
    late_rule: LateRule
    """What happens when a contribution is late."""
    codec: Codec
    """How contributions are written."""
    self_conditioning: SelfConditioning
    """What models condition on beside the state."""
    budget_ms: int
    """Time that a contribution may take, in milliseconds."""
    projection: Projection = Projection.SAMPLE
    """How scores become the estimate of the next state."""
    halt_patience: int = 0
    """Unchanged steps in a row after which a block ends early, under 2**16; 0 is never."""
    halt_margin: float = 0.0
    """Least lead of each best candidate for that, in logits, in [0, 1000]."""
    ramp: float = 0.0
    """How much later the last position of a block is denoised than the first, as a share of the
    steps that one position takes, in [0, 16]; 0: all at once.
    """
    top_p: float = 1.0
    """Share of the candidates' mass that is drawn from, or hot, the best first, in (0, 1]."""
    no_repeat: int = 0
    """Tokens of a run that is not drawn twice in a block, 2 to 16; 0: all may be. Instead the
    position takes another candidate, of the nucleus or not.
    """
    certify: bool = False
    """Whether the server may ask for entries that a contribution left out."""
    lag: int = 0
    """Steps that contributions lag behind, 0 (lock-step) to 16."""
    every: Every | None = None
    """Which steps have fresh contributions; None for all. Never together with a lag."""

    @property
    def blocks(self) -> int:
        """Blocks of the longest answer."""
        return -(-self.max_tokens // self.block_length)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server lets a client do."""

    max_message_bytes: int = 16 * 2**20
    """Largest message either way."""
    max_prompt_bytes: int = 2**16
    """Longest prompt, and longest suffix."""
    max_block_length: int = 256
    """Longest block, in positions."""
    max_steps: int = 1024
    """Most denoising steps of a block."""
    max_tokens: int = 4096
    """Longest answer, in tokens."""
    max_weight: float = 1.0
    """Largest weight of one client."""
    max_entries: int = 4096
    """Most entries of a row in the codec `topk`."""
    max_budget_ms: int = 600_000
    """Longest budget of a step."""
    max_ask_ids_per_position: int = 256
    """Most ids that an `Ask` may ask for at one position; 0: there are no asks."""
    max_ask_ids: int = 4096
    """Most ids that the `Ask` of one step may ask for in all."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server offers."""

    software_version: str
    model_name: str
    vocabulary_fingerprint: bytes
    """SHA-256, 32 bytes."""
    vocabulary_size: int
    process: SimplexProcess
    limits: Limits
    defaults: SessionSettings
    """The settings that suit the model; the seed in it means nothing."""
    features: tuple[str, ...] = ()
    protocol_version: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """The session is open on these terms."""

    session_id: str
    settings: SessionSettings
    process: SimplexProcess
    prompt_ids: np.ndarray
    """(prompt,) int64 token ids of the prompt in the server's template."""
    suffix_ids: np.ndarray
    """(suffix,) int64 token ids; empty without a suffix."""
    times: tuple[float, ...]
    """Time of each step, 1 first, falling, all above 0."""
    limits: Limits
    model_name: str
    vocabulary_size: int
    features: tuple[str, ...] = ()
    protocol_version: int = PROTOCOL_VERSION


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
    estimates: tuple[np.ndarray, ...]
    """Estimate of each step of this block so far, as in `Step`."""
    participations: tuple[Participation, ...] = ()
    unchanged_steps: int = 0
    """Steps in a row, up to the last one, that changed no token."""


@dataclass(frozen=True, slots=True, eq=False)
class Open:
    """Begins, resumes or joins a session."""

    role: Role
    contributor_id: str
    prompt: str
    settings: SessionSettings
    process: SimplexProcess
    vocabulary_fingerprint: bytes
    """SHA-256, 32 bytes."""
    suffix: str = ""
    display_name: str = ""
    required_features: tuple[str, ...] = ()
    optional_features: tuple[str, ...] = ()
    session_id: str = ""
    """The session to resume or to join; empty for a new one."""
    checkpoint: Checkpoint | None = None
    protocol_version: int = PROTOCOL_VERSION


def _no_ids() -> np.ndarray:
    return np.empty(0, dtype=np.int64)


def _no_bytes() -> np.ndarray:
    return np.empty(0, dtype=np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The state that models shall look at next; the noise follows from the agreed seed."""

    block: int
    step: int
    estimate: np.ndarray
    """(block_length, h) int64 token ids, the best first; h = 0 at step 0, later 1, or up to 16 with
    the projection multi-hot; -1 where a row has fewer than h.
    """
    finished_ids: np.ndarray = field(default_factory=_no_ids)
    """(block_length,) int64 ids of the block just ended, at step 0 of a later one, else none."""
    decided: np.ndarray = field(default_factory=_no_bytes)
    """(block_length,) uint8, who decided the tokens of the step before; empty at the first step."""
    fused: FusedSignal | None = None
    """What to condition on, with the self-conditioning fused, but at step 0."""


@dataclass(frozen=True, slots=True, eq=False)
class ContributionChunk:
    """A run of rows of a contribution; arrays as in `Contribution`, for these rows."""

    block: int
    step: int
    codec: Codec
    index: int
    """Index of this part, from 0."""
    count: int
    """Number of parts."""
    first_position: int
    """Position of the first row."""
    counts: np.ndarray
    """(rows,) int32."""
    ids: np.ndarray
    """(sum counts,) int32; empty for `dense`."""
    values: np.ndarray
    """(sum counts,) float16."""
    floors: np.ndarray
    """(rows,) float16; empty for `dense`."""
    log_mass: np.ndarray
    """(rows,) float32."""


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
    decided: np.ndarray = field(default_factory=_no_bytes)
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
