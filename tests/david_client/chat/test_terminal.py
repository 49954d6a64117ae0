"""`david chat` at a terminal: keys, pasted lines, history, ways to leave."""

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from david_client.chat.terminal import Terminal, history_file

pytestmark = pytest.mark.usefixtures("own_settings")


@contextlib.contextmanager
def typing(keys: str | bytes, history: Path | None = None) -> Iterator[Terminal]:
    with create_pipe_input() as source:
        source.send_bytes(keys.encode() if isinstance(keys, str) else keys)
        yield Terminal(history=history, source=source, screen=DummyOutput())


ALT_ENTER, UP, CTRL_C, CTRL_D = "\x1b\r", "\x1b[A", "\x03", "\x04"


def test_several_lines() -> None:
    with typing(f"how{ALT_ENTER}do\\\ri\r/help\r") as terminal:
        assert terminal.read() == "how\ndo\ni"
        assert terminal.read() == "/help"


def test_pasted_lines_are_one_question() -> None:
    with typing("\x1b[200~one\ntwo\x1b[201~\r") as terminal:
        assert terminal.read() == "one\ntwo"


def test_history_is_kept_for_its_owner_alone() -> None:
    file = history_file()
    with typing("how do\\\ri?\r", file) as terminal:
        assert terminal.read() == "how do\ni?"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.chmod(0o644)
    # The file is read meanwhile: the first lines may come before it.
    with typing(f"{UP}\r" * 50, file) as terminal:
        assert "how do\ni?" in (terminal.read() for _ in range(50))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_no_history_writes_nothing(tmp_path: Path) -> None:
    with typing("how?\r") as terminal:
        assert terminal.read() == "how?"
    assert not history_file().exists()


def test_a_history_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    history_file().mkdir(parents=True)
    with typing("how?\r", history_file()) as terminal:
        assert terminal.read() == "how?"
    assert "no history" in capsys.readouterr().err


def test_ways_to_leave(capsys: pytest.CaptureFixture[str]) -> None:
    with typing(CTRL_D) as terminal:
        assert terminal.read() is None
    with typing(f"text{CTRL_C}{CTRL_C}more\r{CTRL_C}{CTRL_C}") as terminal:
        assert terminal.read() == "more"
        assert terminal.read() is None
    assert capsys.readouterr().err.count("again") == 2


def test_what_is_no_text_is_replaced() -> None:
    with typing(b"a\xffb\r", history_file()) as terminal:
        assert terminal.read() == "a?b"


def test_commands_complete_with_tab() -> None:
    with typing("/we\t0.5\r/s\te\t\r/te\rbake\t\r\t\r") as terminal:
        read = [terminal.read() for _ in range(5)]
    assert read == ["/weight 0.5", "/seed ", "/te", "bake", ""]
