"""Settings of the programs: command line > environment > TOML file > default.

They are frozen, and misspelt keys are refused.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import platformdirs

from common.denoising.settings import settings_of, values_of
from common.errors import UsageError
from common.program.console import note
from common.program.settings import ProgramSettings, flag
from common.program.values import checked

_Settings = TypeVar("_Settings", bound=ProgramSettings)


def config_folder() -> Path:
    """Where goliath.toml and david.toml are looked for."""
    return platformdirs.user_config_path("goliath-david")


def load(kind: type[_Settings], *, given: Mapping[str, Any], file: Path | None = None) -> _Settings:
    """The effective settings.

    Args:
        kind: the program's settings class.
        given: what the command line said; None means that it said nothing.
        file: the TOML file to read instead of the one in the configuration folder.

    Raises:
        UsageError: a file that is missing or no TOML, an unknown key, a value out of range.
    """
    path = _file(kind.program, file)
    prefix = f"{kind.program.upper()}_"
    names = [one.name for one, _ in settings_of(kind)]
    _warn_of_misspelt(prefix, [name.upper() for name in names])
    found = {name: os.environ.get(f"{prefix}{name.upper()}") for name in names}
    environment = {name: value for name, value in found.items() if value is not None}
    said = {name: value for name, value in given.items() if value is not None}

    def as_given(name: str) -> str:
        """A setting as the person who gave it wrote it."""
        if name in said:
            return flag(name)
        return f"{prefix}{name.upper()}" if name in environment else f"{path}: {name}"

    return checked(
        kind,
        {**_read(path), **environment, **said},
        as_given,
        remedy="Change it, or leave it out for the default",
    )


def _warn_of_misspelt(prefix: str, known: list[str]) -> None:
    """Name variables that are nearly one of a program's; others are another program's affair."""
    for variable in filter(lambda name: name.startswith(prefix), os.environ):
        name = variable.removeprefix(prefix)
        near = [one for one in known if one.startswith(name)]
        near = near or get_close_matches(name, known, 1, cutoff=0.7)
        if near and name not in known:
            note(f"warning: there is no variable {variable}; the nearest one is {prefix}{near[0]}")


def as_record(settings: ProgramSettings) -> dict[str, Any]:
    """Effective settings as a JSON object."""
    values = values_of(settings).items()
    return {name: str(value) if isinstance(value, Path) else value for name, value in values}


def describe(settings: ProgramSettings) -> str:
    """Effective settings as TOML; what is not set is a comment."""
    return "\n".join(
        f"# {name} is not set" if value is None else f"{name} = {_toml(value)}"
        for name, value in as_record(settings).items()
    )


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text) + '"'


def _file(program: str, file: Path | None) -> Path | None:
    if file is not None:
        return file
    usual = config_folder() / f"{program}.toml"
    return usual if usual.is_file() else None


def _read(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(
            f"cannot read the settings in {file}: {error.strerror}",
            remedy="Give --config the path of a TOML file",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8", remedy="Save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"at (line \d+|end of document)", str(error))
        raise UsageError(
            f"{file} is not TOML{f' {place[0]}' if place else ''}",
            remedy="Lines look like: steps = 32",
        ) from error
