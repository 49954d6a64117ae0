"""Settings of `david`, from the command line, DAVID_* variables and david.toml."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from common.collaboration.settings import (
    Codec,
    ContributorSettings,
    LateRule,
    OwnSettings,
    SessionSettings,
    conflict,
)
from common.collaboration.timing import Every
from common.denoising.settings import Panel, Setting, borrowed, lent, setting, settings_of
from common.models import DEFAULT_DAVID, DEFAULT_GOLIATH
from common.processes.simplex.settings import Projection, SelfConditioning, SimplexSettings
from common.program.settings import ProgramSettings

EMBEDDED = ":embedded:"
"""In the place of an address: Goliath runs in this process."""


def fresh_steps(text: str) -> Every:
    """The steps with fresh contributions that FIRST:PERIOD:LAST stands for.

    Raises:
        ValueError: it is none, or out of range.
    """
    declared = dict(settings_of(Every))
    first, period, _ = (known.range for known in declared.values())
    bounds = f"FIRST and LAST from {first}, PERIOD from {period}"
    return Every(**_numbers(text, declared, "FIRST:PERIOD:LAST, such as 4:4:2", bounds))


def halting(text: str) -> dict[str, Any]:
    """The settings of simplex diffusion that PATIENCE or PATIENCE:MARGIN stands for.

    Raises:
        ValueError: it is neither, or out of range.
    """
    known = {one: k for one, k in settings_of(SimplexSettings) if one.name.startswith("halt_")}
    patience, margin = (one.range for one in known.values())
    named = _numbers(
        text if ":" in text else f"{text}:0",
        known,
        "PATIENCE or PATIENCE:MARGIN, such as 3 or 3:1.5",
        f"a patience from {patience} and a margin from {margin}",
    )
    if named["halt_margin"] and not named["halt_patience"]:
        raise ValueError("no margin without patience")
    return named


def _numbers(text: str, declared: Mapping[Any, Setting], form: str, bounds: str) -> dict[str, Any]:
    """The numbers of a text with colons between them, by the names that they are declared with.

    Raises:
        ValueError: there are others, which `form` says, or some out of range, which `bounds` says.
    """
    try:
        numbers = {
            one.name: type(one.default)(part)
            for one, part in zip(declared, text.split(":"), strict=True)
        }
    except ValueError as error:
        raise ValueError(form) from error
    if not all(known.holds(numbers[one.name]) for one, known in declared.items()):
        raise ValueError(bounds)
    return numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class DavidSettings(ProgramSettings):
    """What a user can choose. What is unset is the server's default."""

    program: ClassVar[str] = "david"

    goliath: str = setting(
        EMBEDDED,
        f"Address of a server, or {EMBEDDED} for a large model in this process",
        metavar="HOST:PORT",
        panel=Panel.CONNECTION,
    )
    goliath_model: str = setting(DEFAULT_GOLIATH, "Large model in this process, folder or name")
    server_ca: Path | None = setting(
        None, "Certificate of the authority that signs servers, a PEM file", panel=Panel.CONNECTION
    )
    server_name: str = setting(
        "",
        "Host that the server's certificate must name, behind a tunnel",
        shown="that of the address",
        panel=Panel.CONNECTION,
    )
    timeout: float = setting(
        600.0,
        "Longest time of an answer",
        low=0,
        above=True,
        unit="seconds",
        panel=Panel.CONNECTION,
    )
    model: str = setting(DEFAULT_DAVID, "Small model, folder or name", panel=Panel.PRIVATE_MODEL)
    weight: float | None = borrowed(ContributorSettings, "weight", optional=True)
    contrast: float = borrowed(OwnSettings, "contrast")
    steps: int | None = borrowed(SessionSettings, "steps", optional=True)
    block: int | None = borrowed(SessionSettings, "block_length", optional=True)
    max_tokens: int | None = borrowed(SessionSettings, "max_tokens", optional=True)
    temperature: float | None = borrowed(SimplexSettings, "temperature", optional=True)
    min_p: float | None = borrowed(SimplexSettings, "min_p", optional=True)
    ramp: float | None = borrowed(SimplexSettings, "ramp", optional=True)
    top_p: float | None = borrowed(SimplexSettings, "top_p", optional=True)
    no_repeat: int | None = borrowed(SimplexSettings, "no_repeat", optional=True)
    projection: Projection | None = borrowed(SimplexSettings, "projection", optional=True)
    self_conditioning: SelfConditioning | None = borrowed(
        SimplexSettings, "self_conditioning", optional=True
    )
    halt: str | None = setting(
        None,
        "End a block after so many steps without a change, each best token leading by so many "
        "logits",
        read=halting,
        shown="never",
        metavar="PATIENCE[:MARGIN]",
        panel=Panel.SAMPLING,
    )
    seed: int | None = borrowed(
        SessionSettings,
        "seed",
        optional=True,
        source=None,
        shown="drawn, and reported",
    )
    late: LateRule | None = borrowed(SessionSettings, "late_rule", optional=True)
    lag: int | None = borrowed(SessionSettings, "lag", optional=True)
    every: str | None = borrowed(SessionSettings, "every", optional=True, read=fresh_steps)
    codec: Codec | None = borrowed(ContributorSettings, "codec", optional=True)
    certify: bool = borrowed(SessionSettings, "certify")
    budget: float | None = borrowed(
        ContributorSettings,
        "budget_ms",
        optional=True,
        scale=1000,
        unit="seconds",
    )
    memory: int = setting(
        0,
        "Earlier turns that are sent along with a question",
        low=0,
        high=100,
        unit="turns",
        panel=Panel.CONVERSATION,
    )
    history: bool = setting(True, "Keep the lines typed in a conversation in a file")

    def conflict(self) -> tuple[str, str] | None:
        """The setting that another one rules out, with what is expected of it; None for none."""
        return conflict(lag=self.lag, every=self.every, certify=self.certify)

    @property
    def embedded(self) -> bool:
        """Whether Goliath runs in this process."""
        return self.goliath == EMBEDDED

    def requested(self) -> dict[str, Any]:
        """What is set of a session's settings, by their names there."""
        named = lent(self, SessionSettings, SimplexSettings)
        return named | ({} if self.halt is None else halting(self.halt))

    def contributor(self) -> dict[str, Any]:
        """What is set of David's part, by its names there."""
        return lent(self, ContributorSettings, OwnSettings)
