"""Settings that are declared once: the command lines, configuration files, environment variables
and the wire take range, unit, default and help from the declaration.

Importing this imports no torch.
"""

from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields
from enum import EnumType
from typing import Any


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of a setting beside its name, type and default."""

    help: str
    """One sentence for people, without unit, range and default."""
    low: float | None = None
    """Smallest value; None for no range."""
    high: float | None = None
    """Largest value."""
    above: bool = False
    """Whether the smallest value itself is out of range."""
    unit: str = ""
    """What is counted: steps, tokens, logits, milliseconds."""

    def refusal(self, value: Any, kind: Any = None) -> str | None:
        """What is expected in place of a value; None where it is in range, and of the type of the
        field where that is given.
        """
        if isinstance(kind, EnumType):
            return None if value in [*kind] else " or ".join(kind)
        if (kind in (int, bool) and type(value) is not kind) or (
            kind is float and type(value) not in (int, float)
        ):
            return self.range or kind.__name__
        if self.low is None or self.high is None:
            return None
        if self.low <= value <= self.high and not (self.above and value == self.low):
            return None
        return self.range

    @property
    def range(self) -> str:
        """The range in words; empty where there is none."""
        if self.low is None or self.high is None:
            return ""
        unit = f" {self.unit}" if self.unit else ""
        return f"{'above ' if self.above else ''}{self.low:.15g} to {self.high:.15g}{unit}"


def setting(default: Any, help: str, **known: Any) -> Any:
    """A dataclass field with its `Setting`."""
    return field(default=default, metadata={"setting": Setting(help, **known)})


def settings_of(kind: type[Any]) -> Iterator[tuple[Field[Any], Setting]]:
    """The fields of a dataclass that are declared with `setting`."""
    for one in fields(kind):
        if "setting" in one.metadata:
            yield one, one.metadata["setting"]
