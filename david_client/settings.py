"""Settings of `david ask` and `chat`, from the command line, DAVID_* variables and david.toml."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from common.collaboration.contribution import Codec
from common.collaboration.settings import LateRule
from common.collaboration.timing import MAX_EVERY, MAX_LAG, Every
from common.denoising.halting import MAX_MARGIN, MAX_PATIENCE, HaltRule
from common.guidance.choice import LARGEST_STRENGTH, GuideChoice, guide_choice
from common.models.registry import DEFAULT_DAVID, DEFAULT_GOLIATH
from common.processes.simplex.settings import (
    LONGEST_NO_REPEAT,
    MAX_RAMP,
    Projection,
    SelfConditioning,
)
from common.program.config import ProgramSettings

EMBEDDED = ":embedded:"
"""In the place of an address: Goliath runs in this process."""


class DavidSettings(ProgramSettings):
    """What a user can choose. What is unset is the server's default."""

    model_config = SettingsConfigDict(env_prefix="DAVID_")

    goliath: str = EMBEDDED
    """HOST:PORT of a server, or :embedded:."""
    goliath_model: str = DEFAULT_GOLIATH
    """The large model when it is embedded."""
    insecure: bool = False
    """Plain text, on loopback only."""
    tls_cert: Path | None = None
    """This user's certificate, PEM."""
    tls_key: Path | None = None
    """Its private key, PEM."""
    server_ca: Path | None = None
    """The authority that signs servers, PEM."""
    server_name: str = ""
    """The host that the server's certificate must name; empty: that of the address."""
    model: str = DEFAULT_DAVID
    """Folder or name of the small model."""
    weight: float | None = Field(None, ge=0, le=1)
    """David's share."""
    contrast: float = Field(0.0, ge=0, le=100)
    """How much the context is stressed; needs a context."""
    steps: int | None = Field(None, ge=1, le=65535)
    """Denoising steps of a block."""
    block: int | None = Field(None, ge=1, le=4096)
    """Positions that are generated together."""
    max_tokens: int | None = Field(None, ge=1, le=2**20)
    """Longest answer."""
    temperature: float | None = Field(None, ge=0, le=100)
    """0 is greedy."""
    min_p: float | None = Field(None, gt=0, le=1)
    """Least probability of a candidate as a share of the best one's."""
    ramp: float | None = Field(None, ge=0, le=MAX_RAMP)
    """How much later the last position is denoised than the first; 0 is all at once."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Share of the candidates' mass that is drawn from, the best first."""
    no_repeat: int | None = Field(None, ge=0, le=LONGEST_NO_REPEAT)
    """Tokens of a run that is not drawn twice in a block; 0: all may be."""
    projection: Projection | None = None
    """How scores become the next state."""
    self_conditioning: SelfConditioning | None = None
    """What the models condition on beside the state; unset is what Goliath was trained with."""
    halt: str | None = None
    """PATIENCE or PATIENCE:MARGIN; when a block ends early, 0 is never."""
    guide: str | None = None
    """Folder or name of a classifier that steers the large model."""
    label: str | None = None
    """What the guide steers towards."""
    strength: float | None = Field(None, ge=0, le=LARGEST_STRENGTH, allow_inf_nan=False)
    """How hard the guide pushes; unset is 500, 0 is unguided."""
    seed: int | None = Field(None, ge=0, lt=2**64)
    """Seed of all noise; unset draws one, which is reported."""
    late: LateRule | None = None
    """What happens when David is late."""
    lag: int | None = Field(None, ge=0, le=MAX_LAG)
    """Steps that contributions lag behind; 0 is lock-step."""
    every: str | None = None
    """FIRST:PERIOD:LAST, which steps have fresh contributions; not together with a lag."""
    codec: Codec | None = None
    """How David's logits are written."""
    certify: bool = False
    """Whether Goliath asks David for what he left out, where it could change the answer."""
    budget: float | None = Field(None, gt=0, le=3600)
    """Seconds that David may take for a step."""
    timeout: float = Field(600.0, gt=0)
    """Seconds that the whole session may take."""
    memory: int = Field(0, ge=0, le=100)
    """Turns of a conversation that are sent along with a question."""
    history: bool = True
    """Whether the lines typed in a conversation are kept in a file."""
    device: str = "auto"
    """A torch device; auto takes a GPU where there is one."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number type of the models."""
    threads: int | None = Field(None, ge=1, le=1024)
    """CPU threads of one operation; unset leaves it to torch."""
    log_format: Literal["text", "json"] = "text"
    """Form of the log on stderr."""

    @field_validator("halt", mode="before")
    @classmethod
    def _check_halt(cls, value: object) -> object:
        # TOML may give a number, as the patience alone.
        text = str(value) if isinstance(value, int) else value
        if isinstance(text, str):
            halt_rule(text)
        return text

    @field_validator("no_repeat")
    @classmethod
    def _check_no_repeat(cls, value: int | None) -> int | None:
        if value == 1:
            raise ValueError("expected 0, or 2 and more, so that a token may come again")
        return value

    @field_validator("every")
    @classmethod
    def _check_every(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None:
            fresh_steps(value)
            if info.data.get("lag"):
                raise ValueError(f"expected none together with a lag of {info.data['lag']}")
        return value

    @field_validator("certify")
    @classmethod
    def _check_certify(cls, value: bool, info: ValidationInfo) -> bool:
        if value and (info.data.get("lag") or info.data.get("every") is not None):
            raise ValueError(
                "expected neither a lag nor `every` beside it: to ask about each step is to wait "
                "for it"
            )
        return value

    @property
    def embedded(self) -> bool:
        """Whether Goliath runs in this process."""
        return self.goliath == EMBEDDED

    @property
    def guidance(self) -> GuideChoice | None:
        """The guide that is chosen; None for none.

        Raises:
            UsageError: one of its three settings lacks another.
        """
        return guide_choice(self.guide, self.label, self.strength)

    def requested(self) -> dict[str, Any]:
        """What is set of a session's settings, by their names there."""
        named = {
            "steps": self.steps,
            "block_length": self.block,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "min_p": self.min_p,
            "ramp": self.ramp,
            "top_p": self.top_p,
            "no_repeat": self.no_repeat,
            "projection": self.projection,
            "self_conditioning": self.self_conditioning,
            "late_rule": self.late,
            "lag": self.lag,
            "every": None if self.every is None else fresh_steps(self.every),
            "certify": self.certify or None,
        }
        if self.halt is not None:
            rule = halt_rule(self.halt)
            named |= {"halt_patience": rule.patience, "halt_margin": rule.margin}
        return {name: value for name, value in named.items() if value is not None}

    def contributor(self) -> dict[str, Any]:
        """What is set of David's part, by its names there."""
        named = {
            "contrast": self.contrast,
            "weight": self.weight,
            "codec": self.codec,
            "budget_ms": None if self.budget is None else max(1, round(self.budget * 1000)),
        }
        return {name: value for name, value in named.items() if value is not None}


def halt_rule(text: str) -> HaltRule:
    """The rule that PATIENCE or PATIENCE:MARGIN stands for.

    Raises:
        ValueError: it is neither, or out of range.
    """
    patience, colon, margin = text.partition(":")
    try:
        rule = HaltRule(int(patience), float(margin) if colon else 0.0)
    except ValueError as error:
        raise ValueError("expected PATIENCE or PATIENCE:MARGIN, such as 3 or 3:1.5") from error
    if not 0 <= rule.patience <= MAX_PATIENCE:
        raise ValueError(f"expected a patience of 0 to {MAX_PATIENCE} steps")
    if not 0 <= rule.margin <= (MAX_MARGIN if rule.patience else 0):
        raise ValueError(
            f"expected a margin of 0 to {MAX_MARGIN:g} logits, and none without patience"
        )
    return rule


def fresh_steps(text: str) -> Every:
    """The steps with fresh contributions that FIRST:PERIOD:LAST stands for.

    Raises:
        ValueError: it is none, or out of range.
    """
    try:
        first, period, last = (int(part) for part in text.split(":"))
    except ValueError as error:
        raise ValueError("expected FIRST:PERIOD:LAST, such as 4:4:2") from error
    if not (0 <= first <= MAX_EVERY and 1 <= period <= MAX_EVERY and 0 <= last <= MAX_EVERY):
        raise ValueError(
            f"expected FIRST and LAST from 0 to {MAX_EVERY} steps, PERIOD from 1 to {MAX_EVERY}"
        )
    return Every(first, period, last)
