"""Settings of `goliath serve`, from the command line, GOLIATH_* variables and goliath.toml."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from common.guidance.choice import LARGEST_STRENGTH, GuideChoice, guide_choice
from common.models.registry import DEFAULT_GOLIATH
from common.program.config import ProgramSettings


class GoliathSettings(ProgramSettings):
    """What an operator can choose."""

    model_config = SettingsConfigDict(env_prefix="GOLIATH_")

    model: str = DEFAULT_GOLIATH
    """Folder or name of the model."""
    listen: str = "127.0.0.1:7600"
    """HOST:PORT; port 0 takes any free one."""
    insecure: bool = False
    """Plain text, on loopback only."""
    tls_cert: Path | None = None
    """The server's certificate, PEM."""
    tls_key: Path | None = None
    """Its private key, PEM."""
    client_ca: Path | None = None
    """The authority that signs clients, PEM."""
    max_sessions: int = Field(8, ge=1, le=10_000)
    """Sessions at a time."""
    max_streams_per_peer: int = Field(4, ge=1, le=10_000)
    """Sessions of one peer at a time."""
    max_session_seconds: float = Field(3600.0, gt=0)
    """Longest life of a session."""
    max_prompt_bytes: int = Field(2**16, ge=1, le=2**24)
    """Longest prompt, and longest suffix."""
    max_block_length: int = Field(256, ge=1, le=4096)
    """Longest block, in positions."""
    max_steps: int = Field(1024, ge=1, le=65535)
    """Most denoising steps of a block."""
    max_tokens: int = Field(4096, ge=1, le=2**20)
    """Longest answer."""
    max_weight: float = Field(1.0, ge=0, le=1)
    """Largest weight of a David."""
    max_budget_seconds: float = Field(600.0, gt=0, le=3600)
    """Longest budget of a step."""
    max_entries: int = Field(4096, ge=1, le=65535)
    """Most entries of a row in the codec topk."""
    max_ask_ids_per_position: int = Field(256, ge=0, le=65535)
    """Most entries that a David is asked for at one position; 0 never asks."""
    max_ask_ids: int = Field(4096, ge=0, le=2**20)
    """Most entries that a David is asked for at one step."""
    max_batch: int = Field(1, ge=1, le=1024)
    """Sessions that share a pass of the model; more than 1 changes the last bits of results."""
    guide: str | None = None
    """Folder or name of a classifier that steers the large model."""
    label: str | None = None
    """What the guide steers towards."""
    strength: float | None = Field(None, ge=0, le=LARGEST_STRENGTH, allow_inf_nan=False)
    """How hard the guide pushes; unset is 500, 0 is unguided."""
    grace: float = Field(30.0, ge=0)
    """Seconds that answers in flight have to finish after a signal."""
    device: str = "auto"
    """A torch device; auto takes a GPU where there is one."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number type of the model."""
    threads: int | None = Field(None, ge=1, le=1024)
    """CPU threads of one operation; unset leaves it to torch."""
    log_format: Literal["text", "json"] = "text"
    """Form of the log on stderr."""

    @property
    def guidance(self) -> GuideChoice | None:
        """The guide that is chosen; None for none.

        Raises:
            UsageError: one of its three settings lacks another.
        """
        return guide_choice(self.guide, self.label, self.strength)
