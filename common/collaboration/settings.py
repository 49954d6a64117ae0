"""The settings of a session and of each contributor: requested in `Open`, agreed in `Opened`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import EnumType, StrEnum
from typing import Any, TypeVar

from common.collaboration.timing import MAX_LAG, Every
from common.denoising.settings import Panel, setting, settings_of
from common.errors import UsageError
from common.processes.masked.settings import MaskedProcess, MaskedSettings
from common.processes.simplex.settings import SimplexProcess, SimplexSettings

MAX_STEPS = 2**16 - 1
"""Blocks and steps fill one counter word of the noise together."""


MAX_PROMPT_BYTES = 2**24
"""Longest texts of a conversation together, and longest suffix, in bytes."""


class Codec(StrEnum):
    """How the rows of a contribution are written."""

    DENSE = "dense"
    TOPK = "topk"


class LateRule(StrEnum):
    """What the server does when a contribution is not there within the budget."""

    WAIT = "wait"
    SOLO = "solo"
    FAIL = "fail"


class Mode(StrEnum):
    """What the rows of a contribution mean."""

    INTERPOLATE = "interpolate"
    """Logits of the contributor's own model."""
    DELTA = "delta"
    """What a context or a training changes in them."""


ProcessFacts = SimplexProcess | MaskedProcess
"""What all models of a session were trained for, by process."""
ProcessSettings = SimplexSettings | MaskedSettings
"""What a process can be asked for, by process."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What holds for all who take part in a session."""

    block_length: int = setting(
        64,
        "Positions that are generated together",
        low=1,
        high=4096,
        unit="positions",
        shown="the model's",
        panel=Panel.ANSWER,
    )
    steps: int = setting(
        32,
        "Most denoising steps of a block",
        low=1,
        high=MAX_STEPS,
        unit="steps",
        panel=Panel.ANSWER,
    )
    max_tokens: int = setting(
        64,
        "Longest answer",
        low=1,
        high=2**20,
        unit="tokens",
        shown="one block",
        panel=Panel.ANSWER,
    )
    seed: int = setting(0, "Seed of all noise", low=0, high=2**64 - 1, panel=Panel.ANSWER)
    late_rule: LateRule = setting(
        LateRule.WAIT, "What the server does when a contribution is late", panel=Panel.COLLABORATION
    )
    certify: bool = setting(
        False,
        "Have the server request logits that were left out, where they could change a token",
        panel=Panel.COLLABORATION,
    )
    lag: int = setting(
        0,
        "Steps that contributions lag behind; 0 is lock-step",
        low=0,
        high=MAX_LAG,
        unit="steps",
        panel=Panel.COLLABORATION,
    )
    every: Every | None = setting(
        None,
        "Steps with fresh contributions: the first ones, multiples of a period and the last ones; "
        "not together with a lag",
        shown="every step",
        metavar="FIRST:PERIOD:LAST",
        panel=Panel.COLLABORATION,
    )
    process: ProcessSettings = field(default_factory=SimplexSettings)
    """Settings of the process alone."""

    def __post_init__(self) -> None:
        """Refuse to certify what depends on every logit of a row.

        Raises:
            UsageError: it is so.
        """
        if self.certify and isinstance(self.process, MaskedSettings):
            raise UsageError(
                "certify: expected a simplex process, got masked diffusion, which reads full rows "
                "of logits: no row with entries left out can prove what it makes of them",
                remedy="Leave --certify out",
            )

    @property
    def blocks(self) -> int:
        """Blocks of the longest answer, where blocks begin behind the prompt."""
        return -(-self.max_tokens // self.block_length)


def conflict(*, lag: int | None, every: object, certify: bool) -> tuple[str, str] | None:
    """The setting that another one rules out, with what is expected of it; None for none."""
    if lag and every is not None:
        return "every", f"none together with a lag of {lag}"
    if certify and (lag or every is not None):
        return "certify", (
            "neither a lag nor `every` beside it: to ask about each step is to wait for it"
        )
    return None


@dataclass(frozen=True, slots=True)
class ContributorSettings:
    """What holds for one contributor."""

    weight: float = setting(
        0.75,
        "Share of a contribution in the fused logits",
        low=0,
        high=1,
        panel=Panel.COLLABORATION,
    )
    mode: Mode = setting(
        Mode.INTERPOLATE, "What the rows of a contribution mean", panel=Panel.COLLABORATION
    )
    codec: Codec = setting(
        Codec.TOPK, "How the logits of a contribution are written", panel=Panel.COLLABORATION
    )
    budget_ms: int = setting(
        10_000,
        "Longest time of a contribution",
        low=1,
        high=3_600_000,
        unit="milliseconds",
        panel=Panel.COLLABORATION,
    )


@dataclass(frozen=True, slots=True)
class OwnSettings:
    """What a contributor chooses alone: nothing of it is on the wire."""

    contrast: float = setting(
        0.0,
        "How much the context is stressed; needs a context",
        low=0,
        high=100,
        panel=Panel.COLLABORATION,
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server lets a client do."""

    max_message_bytes: int = setting(
        16 * 2**20, "Largest message either way", low=2**16, high=2**28, unit="bytes"
    )
    max_prompt_bytes: int = setting(
        2**16,
        "Longest texts of a conversation together, and longest suffix",
        low=1,
        high=MAX_PROMPT_BYTES,
        unit="bytes",
    )
    max_block_length: int = setting(256, "Longest block", low=1, high=4096, unit="positions")
    max_steps: int = setting(
        1024, "Most denoising steps of a block", low=1, high=MAX_STEPS, unit="steps"
    )
    max_tokens: int = setting(4096, "Longest answer", low=1, high=2**20, unit="tokens")
    max_weight: float = setting(1.0, "Largest weight of one client", low=0, high=1)
    max_entries: int = setting(
        4096, "Most entries of a row in the codec topk", low=1, high=2**16 - 1, unit="entries"
    )
    max_budget_ms: int = setting(
        600_000, "Longest budget of a step", low=1, high=3_600_000, unit="milliseconds"
    )
    max_ask_ids_per_position: int = setting(
        256,
        "Most ids that the server may request at one position; 0 for no requests",
        low=0,
        high=2**16 - 1,
        unit="ids",
    )
    max_ask_ids: int = setting(
        4096, "Most ids that the server may request in one step", low=0, high=2**20, unit="ids"
    )


_Settings = TypeVar("_Settings")


@dataclass(frozen=True, slots=True)
class Requested:
    """What shall not be as the server has it by default, by the names of the settings."""

    values: Mapping[str, Any] = field(default_factory=dict)

    def session(self, defaults: SessionSettings) -> SessionSettings:
        """The session's settings to ask for.

        Raises:
            UsageError: a setting that the process does not have, or a value out of range.
        """
        foreign = set(self.values) - {
            one.name
            for kind in (SessionSettings, ContributorSettings, type(defaults.process))
            for one in fields(kind)
        }
        if foreign:
            raise UsageError(
                f"{min(foreign)}: no setting of a session of this model's process",
                remedy="Leave it out, or ask a model of another kind",
            )
        return replace(self._over(defaults), process=self._over(defaults.process))

    def contributor(self, defaults: ContributorSettings) -> ContributorSettings:
        """The contributor's settings to ask for.

        Raises:
            UsageError: a value out of range.
        """
        return self._over(defaults)

    def _over(self, defaults: _Settings) -> _Settings:
        mine: dict[str, Any] = {}
        for one, known in settings_of(type(defaults)):
            if one.name in self.values:
                value = self.values[one.name]
                if expected := known.refusal(value, one.type):
                    raise UsageError(f"{one.name}: expected {expected}, got {value!r}")
                # An enum's member may be given by its value.
                mine[one.name] = one.type(value) if isinstance(one.type, EnumType) else value
        return replace(defaults, **mine)  # type: ignore[type-var]
