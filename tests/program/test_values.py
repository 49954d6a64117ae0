"""Values that are refused: named as a person gave them, in no library's words."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from common.denoising.settings import Setting, settings_of
from common.errors import ExitCode, UsageError
from common.program.settings import ProgramSettings
from common.program.values import checked, wanted
from david_client import cli as david
from david_client.settings import DavidSettings
from goliath_server import cli as goliath
from goliath_server.settings import GoliathSettings

FOREIGN = re.compile(
    r"input should|value error|validation|valid (integer|number|string)|pydantic|discriminator"
    r"|unable to parse|errno|is not a valid|invalid value",
    re.IGNORECASE,
)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--weight", 1.5), "--weight: expected a number from 0 to 1, got 1.5"),
        (("--weight", "nan"), "--weight: expected a number from 0 to 1, got nan"),
        (("--max-tokens", 0), "--max-tokens: expected a whole number from 1 to 1048576, got 0"),
        (("--min-p", 0), "--min-p: expected a number above 0 and at most 1, got 0"),
        (("--timeout", 0), "--timeout: expected a number above 0, got 0"),
        (("--late", "never"), "--late: expected one of wait, solo, fail, got never"),
        (("--log-format", ""), "--log-format: expected one of text, json, got nothing"),
        (("--every", "1:2"), "--every: expected FIRST:PERIOD:LAST, such as 4:4:2, got 1:2"),
        (("--no-repeat", 1), "--no-repeat: expected 0, or 2 and more"),
        (("--certify", "--lag", 2), "--certify: expected neither a lag nor"),
        (("--steps", "many"), "--steps: expected a whole number, got many"),
        (("--steps",), "option '--steps' requires an argument"),
        (("--stepz", 3), "no such option: --stepz"),
    ],
)
def test_flags_are_named_as_typed(run: Any, arguments: Any, says: str) -> None:
    told = run("david", "ask", "soup", *arguments)
    assert told.code == ExitCode.USAGE
    assert told.err.startswith(f"david: {says}")
    assert len(told.err.splitlines()) == 2
    assert not FOREIGN.search(told.err)


def numbers() -> list[tuple[str, str, str]]:
    """Program, command and flag of every option that takes a number or one of a few words."""
    found = []
    for program, app in (("david", david.app), ("goliath", goliath.app)):
        for name, command in typer.main.get_command(app).commands.items():
            for option in command.params:
                kind = str(option.type_descriptor.annotation)
                if isinstance(option, typer.core.TyperOption) and re.search(
                    "'(int|float)'|processes", kind
                ):
                    found.append((program, name, option.opts[0]))
    return found


def test_no_command_passes_on_a_librarys_words(run: Any) -> None:
    assert len(numbers()) > 80
    for program, name, flag in numbers():
        told = run(program, name, flag, "x")
        assert told.code == ExitCode.USAGE
        assert re.match(f"{program}: {flag}: expected .*, got x\n", told.err), told.err
        assert not FOREIGN.search(told.err)


@pytest.mark.parametrize("kind", [DavidSettings, GoliathSettings])
def test_no_setting_passes_on_a_librarys_words(kind: type[ProgramSettings]) -> None:
    for name in [one.name for one, _ in settings_of(kind)]:
        with pytest.raises(UsageError) as refused:
            checked(kind, {name: ["x"]})
        told = refused.value.message
        assert re.fullmatch(rf"{name}: expected .*, got \['x'\]", told)
        assert not FOREIGN.search(told)


def test_bounds_in_words() -> None:
    def expected(kind: Any, low: float | None = None, high: float | None = None) -> str:
        return f"expected {wanted(kind, Setting('', low, high))}"

    assert expected(int | None, 0, 2**64 - 1) == (
        "expected a whole number from 0 to 18446744073709551615"
    )
    assert expected(float, 0.5) == "expected a number of at least 0.5"
    assert expected(bool) == "expected true or false"
    assert expected(Path | None) == "expected a text"


def test_a_value_is_named_by_where_it_came_from(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "david.toml"
    file.write_text("weight = 3\nstepz = 1\n")
    monkeypatch.setenv("DAVID_MAX_TOKENS", "0")
    told = run("david", "ask", "soup", "--config", file, "--steps", 0)
    assert told.code == ExitCode.USAGE
    wrong = told.err.splitlines()[0].removeprefix("david: ").split("; ")
    assert wrong == [
        f"{file}: weight: expected a number from 0 to 1, got 3",
        "--steps: expected a whole number from 1 to 65535, got 0",
        "DAVID_MAX_TOKENS: expected a whole number from 1 to 1048576, got 0",
        f"{file}: stepz is no setting",
        "the nearest one is steps",
    ]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"steps = [\n\n[a]\n", "is not TOML at line 3"),
        (b"a = '", "is not TOML at "),
        (b"a = \xff", "is not UTF-8"),
    ],
)
def test_files_that_are_no_settings(run: Any, tmp_path: Path, data: bytes, says: str) -> None:
    file = tmp_path / "david.toml"
    file.write_bytes(data)
    told = run("david", "config", "--config", file)
    assert told.code == ExitCode.USAGE
    assert told.err.startswith(f"david: {file} {says}")


def test_a_file_with_a_mark_is_read(run: Any, tmp_path: Path) -> None:
    (tmp_path / "goliath.toml").write_bytes(b"\xef\xbb\xbfmax_steps = 5\n")
    assert "max_steps = 5\n" in run("goliath", "config", "--config", tmp_path / "goliath.toml").out


def test_misspelt_variables_are_told_once(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DAVID_STEPZ", "DAVID_TEMP", "DAVID", "DAVIDSTEPS", "DAVID_USER", "DAVID_HOME"):
        monkeypatch.setenv(name, "3")
    monkeypatch.setenv("GOLIATH_MODL", "x")
    monkeypatch.setenv("DAVID_STEPS", "3")
    told = run("david", "config")
    assert told.code == 0
    assert sorted(told.err.splitlines()) == [
        "warning: there is no variable DAVID_STEPZ; the nearest one is DAVID_STEPS",
        "warning: there is no variable DAVID_TEMP; the nearest one is DAVID_TEMPERATURE",
    ]
    assert run("goliath", "config").err == (
        "warning: there is no variable GOLIATH_MODL; the nearest one is GOLIATH_MODEL\n"
    )
