"""What the settings of both programs share.

Importing this imports neither torch nor numpy: the help of a command is made from it.
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

from common.denoising.settings import Panel, setting
from common.guidance.choice import DEFAULT_STRENGTH, LARGEST_STRENGTH, GuideChoice, guide_choice

LogFormat = Literal["text", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramSettings:
    """Base of the settings of a program. Secrets are paths of files, never values."""

    program: ClassVar[str]
    """Name of the program: goliath or david."""

    insecure: bool = setting(False, "Plain text; on loopback only", panel=Panel.CONNECTION)
    tls_cert: Path | None = setting(
        None, "Certificate of this program, a PEM file", panel=Panel.CONNECTION
    )
    tls_key: Path | None = setting(
        None, "Private key of the certificate, a PEM file", panel=Panel.CONNECTION
    )
    guide: str | None = setting(
        None,
        "Classifier, folder or name, that steers the large model in this process; see david "
        "train-guide",
        panel=Panel.GUIDANCE,
    )
    label: str | None = setting(None, "What the guide steers towards", panel=Panel.GUIDANCE)
    strength: float | None = setting(
        None,
        "Factor of the guide's gradient; 0 is unguided",
        low=0,
        high=LARGEST_STRENGTH,
        shown=f"{DEFAULT_STRENGTH:g}",
        panel=Panel.GUIDANCE,
    )
    device: str = setting(
        "auto",
        "Torch device: cpu, cuda, cuda:1 ...; auto takes a GPU where there is one",
        panel=Panel.PROGRAM,
    )
    dtype: Literal["float32", "bfloat16", "float16"] = setting(
        "float32", "Number type of the models", panel=Panel.PROGRAM
    )
    threads: int | None = setting(
        None,
        "CPU threads of one operation",
        low=1,
        high=1024,
        shown="torch's choice",
        panel=Panel.PROGRAM,
    )
    log_format: LogFormat = setting(
        "text", "Form of the log on standard error", panel=Panel.PROGRAM
    )

    def conflict(self) -> tuple[str, str] | None:
        """The setting that another one rules out, with what is expected of it; None for none."""
        return None

    @property
    def guidance(self) -> GuideChoice | None:
        """The guide that is chosen; None for none.

        Raises:
            UsageError: one of its three settings lacks another.
        """
        return guide_choice(self.guide, self.label, self.strength)


def bare(kind: Any) -> Any:
    """A type without None beside it."""
    if get_origin(kind) in (Union, UnionType):
        return next(one for one in get_args(kind) if one is not NoneType)
    return kind


def choices_of(kind: Any) -> tuple[Any, ...]:
    """The values of an enumeration or a literal type; none of other types."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(kind) if isinstance(kind, type) and issubclass(kind, Enum) else ()


def flag(name: str) -> str:
    """What is typed for a setting: --min-p for min_p."""
    return f"--{name.replace('_', '-')}"
