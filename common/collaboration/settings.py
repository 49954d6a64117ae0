"""The settings of a session and of each contributor: requested in `Open`, agreed in `Opened`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import EnumType, StrEnum
from typing import Any, TypeVar

from common.collaboration.contribution import Codec
from common.collaboration.timing import MAX_LAG, Every
from common.denoising.settings import setting, settings_of
from common.errors import UsageError
from common.processes.masked.settings import MaskedProcess, MaskedSettings
from common.processes.simplex.settings import SimplexProcess, SimplexSettings

MAX_STEPS = 2**16 - 1
"""Blocks and steps fill one counter word of the noise together."""


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
        64, "Positions that are generated together", low=1, high=4096, unit="positions"
    )
    steps: int = setting(32, "Most denoising steps of a block", low=1, high=MAX_STEPS, unit="steps")
    max_tokens: int = setting(64, "Longest answer", low=1, high=2**20, unit="tokens")
    seed: int = setting(0, "Seed of all noise", low=0, high=2**64 - 1)
    late_rule: LateRule = setting(
        LateRule.WAIT, "What happens when a contribution is late: wait, solo or fail"
    )
    certify: bool = setting(
        False,
        "Whether the server asks for logits that were left out, where they could change a token",
    )
    lag: int = setting(
        0, "Steps that contributions lag behind; 0 is lock-step", low=0, high=MAX_LAG, unit="steps"
    )
    every: Every | None = setting(
        None, "Which steps have fresh contributions; never together with a lag"
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


@dataclass(frozen=True, slots=True)
class ContributorSettings:
    """What holds for one contributor."""

    weight: float = setting(0.75, "Share of the contribution in the fused logits", low=0, high=1)
    mode: Mode = setting(Mode.INTERPOLATE, "What the rows of a contribution mean")
    codec: Codec = setting(Codec.TOPK, "How rows are written: topk or dense")
    budget_ms: int = setting(
        10_000, "Time that a contribution may take", low=1, high=3_600_000, unit="milliseconds"
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
