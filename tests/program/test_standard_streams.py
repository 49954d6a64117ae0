"""Standard output that is closed, full, or has lost its reader; a folder that is gone."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import ExitCode
from tests.programs import CODE, Pair

pytestmark = [
    pytest.mark.usefixtures("own_settings"),
    pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full"),
]
SIDES = {"david": "david_client", "goliath": "goliath_server"}
CLOSED = "standard output is closed: send it to a file, or to /dev/null"
FULL = "cannot write to standard output: No space left on device"
CHEAP = ["david models", "goliath config --json", "david --help", "goliath quality --help"]


def line(program: str) -> list[str]:
    return [sys.executable, "-c", CODE.format(side=SIDES[program])]


def told(command: list[str], shell: str = "", **streams: Any) -> tuple[int, str]:
    """Exit code, and what is on stderr; `shell` redirects as a person would."""
    ran = subprocess.run(
        ["sh", "-c", f'"$@" {shell}', "sh", *command],
        stderr=subprocess.PIPE,
        text=True,
        timeout=100,
        check=False,
        **streams,
    )
    return ran.returncode, ran.stderr


@contextlib.contextmanager
def lost_reader() -> Iterator[int]:
    """A pipe that nobody reads any more, as after `head`."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize("command", CHEAP)
def test_every_kind_of_output(command: str) -> None:
    program, *arguments = command.split()
    whole = [*line(program), *arguments]
    assert told(whole, ">&-") == (ExitCode.BAD_INPUT, f"{program}: {CLOSED}\n")
    assert told(whole, ">/dev/full") == (ExitCode.BAD_INPUT, f"{program}: {FULL}\n")
    with lost_reader() as pipe:
        assert told(whole, stdout=pipe) == (ExitCode.BROKEN_PIPE, "")


def test_output_that_was_not_flushed() -> None:
    code = (
        "import sys; from common.program.console import run\n"
        "run(lambda: sys.stdout.write('unflushed') and None, program='p')"
    )
    whole = [sys.executable, "-c", code]
    assert told(whole, ">/dev/full") == (ExitCode.BAD_INPUT, f"p: {FULL}\n")
    with lost_reader() as pipe:
        assert told(whole, stdout=pipe) == (ExitCode.BROKEN_PIPE, "")


@pytest.mark.parametrize(
    "command",
    [
        *("david ask x --model none", "david batch none", "david chat --model none"),
        *("david show none", "david doctor", "david train none --held-out none --out none"),
        *("goliath serve none", "goliath evaluate --david none --data none", "goliath bench wire"),
        *("goliath quality --judge none", "goliath doctor none"),
    ],
)
def test_a_closed_output_is_told_before_anything_is_loaded(command: str) -> None:
    program, *arguments = command.split()
    whole = [*line(program), *arguments]
    assert told(whole, ">&-") == (ExitCode.BAD_INPUT, f"{program}: {CLOSED}\n")


@pytest.mark.timeout(300)
def test_answers_that_cannot_be_written(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAVID_GOLIATH_MODEL", str(pair.goliath))
    david = ("--model", str(pair.david), "--steps", "2")
    asking = [*line("david"), "ask", "how do i make soup", *david]
    assert told(asking, ">/dev/full") == (ExitCode.BAD_INPUT, f"david: {FULL}\n")
    with lost_reader() as pipe:
        code, err = told([*line("david"), "chat", *david], "<<end\nsoup\ncake\nend", stdout=pipe)
        assert (code, err) == (ExitCode.BROKEN_PIPE, "")
    serving = [*line("goliath"), "serve", str(pair.goliath), "--listen", "127.0.0.1:0"]
    code, err = told([*serving, "--insecure", "--json"], ">/dev/full")
    assert code == ExitCode.BAD_INPUT
    assert err.endswith(f"goliath: {FULL}\n")
    with lost_reader() as pipe:
        code, err = told([*line("goliath"), "doctor", "none", "--insecure"], stdout=pipe)
        assert (code, err) == (ExitCode.BROKEN_PIPE, "")


def test_a_closed_input_is_empty_and_closed_errors_are_nothing() -> None:
    assert told([*line("david"), "config"], "<&- 2>&- >/dev/null") == (0, "")
    code, err = told([*line("david"), "ask", "-"], "<&-")
    assert code == ExitCode.BAD_INPUT
    assert "prompt is empty" in err
    assert told([*line("david"), "nonsense"], "2>/dev/full")[0] == ExitCode.USAGE


@pytest.mark.parametrize("command", ["david models", "david ask x", "goliath serve --insecure"])
def test_a_deleted_folder_is_one_line(command: str, tmp_path: Path) -> None:
    program, *arguments = command.split()
    gone = tmp_path / "gone"
    gone.mkdir()
    ran = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", *line(program), *arguments],
        cwd=gone,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (ExitCode.BAD_INPUT, "")
    assert ran.stderr == f"{program}: the working directory is gone: change to one that exists\n"
