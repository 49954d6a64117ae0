"""Settings that are declared once: the command lines, configuration files, environment variables
and the wire take range, unit, default and help from the declaration.

Importing this imports no torch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from enum import EnumType
from typing import Any


class Panel:
    """Headings under which `--help` lists options, in this order."""

    CONNECTION = "Connection"
    PRIVATE_MODEL = "Private model"
    MODELS = "Models and data"
    CONVERSATION = "Conversation"
    ANSWER = "Answer"
    SAMPLING = "Sampling"
    GUIDANCE = "Guidance"
    COLLABORATION = "Collaboration"
    TRAINING = "Training"
    MEASUREMENT = "Measurement"
    PROGRAM = "Output and program"


def _as_is(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of a setting beside its name, type and default.

    Attributes:
        help: One sentence for people, without unit, range and default.
        low: Smallest value; None for no range.
        high: Largest value; None for none.
        above: Whether the smallest value itself is out of range.
        unit: What is counted: steps, tokens, logits, milliseconds.
        read: Makes of a value in range what it stands for; its ValueError says what is expected.
        shown: The default in words; empty where its value says it.
        panel: Heading under which a command lists it.
        metavar: What stands for its value in the help, such as HOST:PORT.
        argument: Whether a command takes it by its place, without a flag.
        source: The dataclass that it is borrowed from, and its name there; None for one of its own.
    """

    help: str
    low: float | None = None
    high: float | None = None
    above: bool = False
    unit: str = ""
    read: Callable[[Any], Any] = _as_is
    shown: str = ""
    panel: str = ""
    metavar: str | None = None
    argument: bool = False
    source: tuple[type[Any], str] | None = None

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
        if not self.holds(value):
            return self.range
        try:
            self.read(value)
        except ValueError as error:
            return str(error)
        return None

    def holds(self, value: Any) -> bool:
        """Whether a value is in range; NaN is in none."""
        if self.low is not None and not (value > self.low if self.above else value >= self.low):
            return False
        return self.high is None or value <= self.high

    @property
    def range(self) -> str:
        """The range in words, with the unit; empty where there is none."""
        if self.low is None:
            return ""
        words = f"{'above' if self.above else 'at least'} {in_words(self.low)}"
        if self.high is not None:
            link = " and at most " if self.above else " to "
            words = f"{words.removeprefix('at least ')}{link}{in_words(self.high)}"
        return f"{words} {self.unit}".rstrip()


def in_words(value: Any) -> str:
    """A value as people write it."""
    if value is None or isinstance(value, bool):
        return {None: "none", False: "off", True: "on"}[value]
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def setting(default: Any, help: str, **known: Any) -> Any:
    """A dataclass field with its `Setting`."""
    return field(default=default, metadata={"setting": Setting(help, **known)})


def borrowed(
    kind: type[Any], name: str, *, optional: bool = False, scale: int = 1, **changes: Any
) -> Any:
    """A dataclass field with the `Setting` of another dataclass.

    Args:
        kind: the dataclass that declares it.
        name: its name there.
        optional: whether it is unset by default, and the other's default holds.
        scale: how many of its units there are one of here: 1000 for milliseconds there and seconds
            here.
        changes: what is known of it here alone.
    """
    one, known = next(pair for pair in settings_of(kind) if pair[0].name == name)
    default: Any = one.default
    facts: dict[str, Any] = {"source": (kind, name)}
    if scale != 1:
        default /= scale
        facts |= {end: getattr(known, end) / scale for end in ("low", "high")}
        facts["read"] = lambda value: round(value * scale)
    facts["shown"] = known.shown or in_words(default)
    metadata = {"setting": replace(known, **facts | changes)}
    return field(default=None if optional else default, metadata=metadata)


def settings_of(kind: type[Any]) -> Iterator[tuple[Any, Setting]]:
    """The fields of a dataclass that are declared with `setting`."""
    for one in fields(kind):
        if "setting" in one.metadata:
            yield one, one.metadata["setting"]


def values_of(settings: Any) -> dict[str, Any]:
    """The values of the settings of a dataclass, by name."""
    return {one.name: getattr(settings, one.name) for one, _ in settings_of(type(settings))}


def lent(settings: Any, *kinds: type[Any]) -> dict[str, Any]:
    """What the settings of a dataclass that are borrowed from others stand for, by their names
    there; those that are unset are left out.
    """
    values = values_of(settings)
    return {
        known.source[1]: known.read(values[one.name])
        for one, known in settings_of(type(settings))
        if known.source and known.source[0] in kinds and values[one.name] is not None
    }
