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
from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from common.errors import UsageError
from common.program.console import note
from common.program.values import explained


class ProgramSettings(BaseSettings):
    """Base of both programs' settings. Secrets are given as paths of files, never as values."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, validate_default=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` passes: it reads the sources itself, in their one order."""
        return (init_settings,)


_Settings = TypeVar("_Settings", bound=ProgramSettings)


def config_folder() -> Path:
    """Where goliath.toml and david.toml are looked for."""
    return platformdirs.user_config_path("goliath-david")


def load(
    kind: type[_Settings], *, program: str, given: Mapping[str, Any], file: Path | None = None
) -> _Settings:
    """The effective settings.

    Args:
        kind: the program's settings class.
        program: "goliath" or "david"; names the file in the configuration folder.
        given: what the command line said; None means that it said nothing. Names that are no
            settings are the command's own.
        file: the TOML file to read instead of the one in the configuration folder.

    Raises:
        UsageError: a file that is missing or no TOML, an unknown key, a value out of range.
    """
    path = _file(program, file)
    table, environment = _read(path), EnvSettingsSource(kind)()
    named = {
        name: value
        for name, value in given.items()
        if value is not None and name in kind.model_fields
    }
    prefix = kind.model_config.get("env_prefix", "")
    _warn_of_misspelt(prefix, kind)

    def told(name: str) -> str:
        """A setting as the person who gave it wrote it."""
        if name in named:
            return f"--{name.replace('_', '-')}"
        return f"{prefix}{name.upper()}" if name in environment else f"{path}: {name}"

    try:
        return kind(**{**table, **environment, **named})
    except ValidationError as error:
        raise UsageError(
            explained(error, kind, told), remedy="Change it, or leave it out for the default"
        ) from error


def _warn_of_misspelt(prefix: str, kind: type[ProgramSettings]) -> None:
    """Name variables that are nearly one of a program's; others are another program's affair."""
    known = [name.upper() for name in kind.model_fields]
    for variable in filter(lambda name: name.startswith(prefix), os.environ):
        name = variable.removeprefix(prefix)
        near = [one for one in known if one.startswith(name)]
        near = near or get_close_matches(name, known, 1, cutoff=0.7)
        if near and name not in known:
            note(f"warning: there is no variable {variable}; the nearest one is {prefix}{near[0]}")


def describe(settings: ProgramSettings) -> str:
    """Effective settings as TOML; what is not set is a comment."""
    lines = []
    for name, value in settings.model_dump(mode="json").items():
        lines.append(f"# {name} is not set" if value is None else f"{name} = {_toml(value)}")
    return "\n".join(lines)


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
