"""Settings of `goliath serve`, from the command line, GOLIATH_* variables and goliath.toml."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from common.collaboration.settings import Limits
from common.denoising.settings import Panel, borrowed, lent, setting
from common.models import DEFAULT_GOLIATH
from common.program.settings import ProgramSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class GoliathSettings(ProgramSettings):
    """What an operator can choose."""

    program: ClassVar[str] = "goliath"

    model: str = setting(DEFAULT_GOLIATH, "Large model, folder or name", argument=True)
    listen: str = setting(
        "127.0.0.1:7600",
        "Address to listen on; port 0 takes any free one",
        metavar="HOST:PORT",
        panel=Panel.CONNECTION,
    )
    client_ca: Path | None = setting(
        None, "Certificate of the authority that signs clients, a PEM file", panel=Panel.CONNECTION
    )
    max_sessions: int = setting(
        8, "Most sessions at a time", low=1, high=10_000, unit="sessions", panel=Panel.CONNECTION
    )
    max_streams_per_peer: int = setting(
        4,
        "Most sessions of one peer at a time",
        low=1,
        high=10_000,
        unit="sessions",
        panel=Panel.CONNECTION,
    )
    max_session_seconds: float = setting(
        3600.0, "Longest life of a session", low=0, above=True, unit="seconds"
    )
    max_prompt_bytes: int = borrowed(Limits, "max_prompt_bytes")
    max_block_length: int = borrowed(Limits, "max_block_length")
    max_steps: int = borrowed(Limits, "max_steps")
    max_tokens: int = borrowed(Limits, "max_tokens")
    max_weight: float = borrowed(Limits, "max_weight")
    max_budget_seconds: float = borrowed(Limits, "max_budget_ms", scale=1000, unit="seconds")
    max_entries: int = borrowed(Limits, "max_entries")
    max_ask_ids_per_position: int = borrowed(Limits, "max_ask_ids_per_position")
    max_ask_ids: int = borrowed(Limits, "max_ask_ids")
    max_batch: int = setting(
        1,
        "Sessions that share a pass of the model; more than 1 changes the last bits of results",
        low=1,
        high=1024,
        unit="sessions",
    )
    grace: float = setting(
        30.0,
        "Time that running answers have to finish after Ctrl-C or SIGTERM; a second one ends them "
        "at once",
        low=0,
        unit="seconds",
        panel=Panel.PROGRAM,
    )

    def limits(self) -> Limits:
        """What sessions may use."""
        return Limits(**lent(self, Limits))
