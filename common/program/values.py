"""Values of settings: checked against their declarations, and refused in words of this project."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from typer import TyperException

from common.denoising.settings import Setting, settings_of, values_of
from common.errors import UsageError
from common.program.settings import ProgramSettings, bare, choices_of, flag

_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false"}
_TRUTH = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(
    ("false", "no", "off", "0"), False
)
_Settings = TypeVar("_Settings", bound=ProgramSettings)


def wanted(kind: Any, known: Setting) -> str:
    """What is expected: "a number from 0 to 1", or "one of wait, solo, fail".

    Args:
        kind: the declared type; None beside it is not mentioned.
        known: the range.
    """
    kind = bare(kind)
    if choices := choices_of(kind):
        return f"one of {', '.join(map(str, choices))}"
    words = replace(known, unit="").range
    lead = "" if known.above or not words else "of " if known.high is None else "from "
    return f"{_KINDS.get(kind, 'a text')} {lead}{words}".rstrip()


def checked(
    kind: type[_Settings],
    values: Mapping[str, Any],
    named: Callable[[str], str] = str,
    *,
    remedy: str = "",
) -> _Settings:
    """The settings with these values; the others have their defaults.

    Args:
        kind: the settings of a program.
        values: by the names of the settings; numbers may be texts.
        named: what a person calls a setting, such as its flag.
        remedy: what to do about a value that is refused.

    Raises:
        UsageError: everything that is wrong with the values.
    """
    made, wrong = read_values(kind, values, named)
    declared = [one.name for one, _ in settings_of(kind)]
    for name in [name for name in values if name not in declared]:
        near = [f"; the nearest one is {one}" for one in get_close_matches(name, declared, 1)]
        wrong.append(f"{named(name)} is no setting{''.join(near)}")
    settings = kind(**made)
    if not wrong and (conflict := settings.conflict()):
        name, words = conflict
        wrong.append(_refused(named(name), words, values[name]))
    if wrong:
        raise UsageError("; ".join(wrong), remedy=remedy)
    return settings


def read_values(
    kind: type[Any], values: Mapping[str, Any], named: Callable[[str], str]
) -> tuple[dict[str, Any], list[str]]:
    """Those values that are settings of a dataclass, as their types have them, and what is wrong
    with the others. None leaves a setting unset.
    """
    types, made, wrong = get_type_hints(kind), {}, []
    for one, known in settings_of(kind):
        name = one.name
        if name in values and (values[name] is not None or one.default is not None):
            try:
                made[name] = _value(types[name], known, values[name])
                known.read(made[name])
            except ValueError as error:
                wrong.append(_refused(named(name), str(error), values[name]))
    return made, wrong


def requested(kinds: Iterable[type[Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a session that a command line gives, by name.

    Args:
        kinds: the dataclasses that declare them.
        given: their values; None for those that are not given.

    Raises:
        UsageError: a value out of range.
    """
    said = {name: value for name, value in given.items() if value is not None}
    found = [read_values(kind, said, flag) for kind in kinds]
    if wrong := "; ".join(one for _, refused in found for one in refused):
        raise UsageError(wrong, remedy="Change it, or leave it out for the default")
    return {name: value for made, _ in found for name, value in made.items()}


def changed(
    settings: _Settings,
    changes: dict[str, Any],
    named: Callable[[str], str] = str,
    *,
    remedy: str = "",
) -> _Settings:
    """The settings with some values changed, checked as in `checked`.

    Raises:
        UsageError: everything that is wrong with the values.
    """
    return checked(type(settings), values_of(settings) | changes, named, remedy=remedy)


def _refused(name: str, words: str, came: object) -> str:
    return f"{name}: expected {words}" + ("" if came is True else f", got {_shown(came)}")


def _value(kind: Any, known: Setting, value: Any) -> Any:
    """A value as its type has it; ValueError says what is expected."""
    with suppress(ValueError, TypeError, LookupError, OverflowError):
        made = _converted(bare(kind), value)
        if known.holds(made):
            return made
    raise ValueError(wanted(kind, known))


def _converted(kind: Any, value: Any) -> Any:
    if choices := choices_of(kind):
        return choices[choices.index(value)]
    if kind is bool:
        return _TRUTH[str(value).lower()]
    if isinstance(value, bool) or not isinstance(value, str | int | float | Path):
        raise TypeError
    made = kind(str(value) if kind in (str, Path) else value)
    if isinstance(value, float) and made != value:
        raise ValueError
    return made


def usage_error(error: TyperException) -> UsageError:
    """What the command line's library refused, in this project's words."""
    from pydantic import ValidationError

    context: Any = getattr(error, "ctx", None)
    remedy = f"See {context.command_path} --help" if context else "See --help"
    message = error.format_message()
    message = message[:1].lower() + message[1:].rstrip(".")
    if isinstance(error.__cause__, ValidationError):
        parameter: Any = getattr(error, "param", None)
        declared = parameter.type_descriptor
        info = declared.parameter_info
        words = wanted(declared.annotation, Setting("", info.min, info.max))
        message = _refused(parameter.opts[-1], words, error.__cause__.errors()[0]["input"])
    return UsageError(message, remedy=remedy)


def _shown(value: object) -> str:
    return (f"{value:g}" if isinstance(value, float) else str(value)[:100]) or "nothing"
