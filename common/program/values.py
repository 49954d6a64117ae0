"""What a value has to be, in words: from its declared type and bounds, never a library's words."""

from collections.abc import Callable
from difflib import get_close_matches
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from typer import TyperException

from common.errors import UsageError

_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false"}


def expected(
    kind: Any,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> str:
    """Such as "expected a number from 0 to 1", or "expected one of wait, solo, fail".

    Args:
        kind: the declared type; None beside it is not mentioned.
        ge: the least value.
        gt: what a value has to be above.
        le: the largest value.
        lt: what a whole number has to be below.
    """
    if get_origin(kind) in (Union, UnionType):
        kind = next(one for one in get_args(kind) if one is not NoneType)
    if get_origin(kind) is Literal:
        return f"expected one of {', '.join(map(str, get_args(kind)))}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"expected one of {', '.join(str(member.value) for member in kind)}"
    name = f"expected {_KINDS.get(kind, 'a text')}"
    high = le if lt is None else lt - 1
    if ge is not None and high is not None:
        return f"{name} from {_shown(ge)} to {_shown(high)}"
    bounds = ((ge, "of at least"), (gt, "above"), (high, "at most"))
    words = [f"{word} {_shown(bound)}" for bound, word in bounds if bound is not None]
    return f"{name} {' and '.join(words)}".rstrip()


def explained(
    error: ValidationError, kind: type[BaseModel], named: Callable[[str], str] = str
) -> str:
    """Everything that is wrong with the values of a model.

    Args:
        error: what its library found.
        kind: the model.
        named: what a person calls a field, such as its flag.
    """
    return "; ".join(_wrong(one, kind, named) for one in error.errors())


def _wrong(found: Any, kind: type[BaseModel], named: Callable[[str], str]) -> str:
    name = str(found["loc"][0])
    if found["type"] == "extra_forbidden":
        near = get_close_matches(name, kind.model_fields, 1)
        return f"{named(name)} is no setting" + (f"; the nearest one is {near[0]}" if near else "")
    if found["type"] == "value_error":  # of a check of ours, in its own words
        wanted = str(found["ctx"]["error"])
    else:
        field = kind.model_fields[name]
        bounds = {
            bound: getattr(limit, bound)
            for limit in field.metadata
            for bound in ("ge", "gt", "le", "lt")
            if hasattr(limit, bound)
        }
        wanted = expected(field.annotation, **bounds)
    came = found["input"]
    return f"{named(name)}: {wanted}" + ("" if came is True else f", got {_shown(came)}")


def usage_error(error: TyperException) -> UsageError:
    """What the command line's library refused, in this project's words."""
    context: Any = getattr(error, "ctx", None)
    remedy = f"See {context.command_path} --help" if context else "See --help"
    message = error.format_message()
    message = message[:1].lower() + message[1:].rstrip(".")
    if isinstance(error.__cause__, ValidationError):
        parameter: Any = getattr(error, "param", None)
        declared = parameter.type_descriptor
        info = declared.parameter_info
        wanted = expected(declared.annotation, ge=info.min, le=info.max)
        came = error.__cause__.errors()[0]["input"]
        message = f"{parameter.opts[-1]}: {wanted}, got {_shown(came)}"
    return UsageError(message, remedy=remedy)


def _shown(value: object) -> str:
    return (f"{value:g}" if isinstance(value, float) else str(value)[:100]) or "nothing"
