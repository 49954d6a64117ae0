"""What tests of the programs share: settings of their own, and both programs in this process."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.programs import Outcome, Pair
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The folders of a tiny pair."""
    root = tmp_path_factory.mktemp("pair")
    return Pair(save_tiny(root / "g", seed=1), save_tiny(root / "d", seed=2))


def _no_news_of_old_loops(record: logging.LogRecord) -> bool:
    """With many loops in one process gRPC wakes closed ones; a program has only one."""
    return "PollerCompletionQueue" not in record.getMessage()


@pytest.fixture
def own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No settings of this machine; handlers that the programs install go again."""
    for name in [n for n in os.environ if n.startswith(("GOLIATH_", "DAVID_"))]:
        monkeypatch.delenv(name)
    for name in ("config", "data", "state"):
        monkeypatch.setenv(f"XDG_{name.upper()}_HOME", str(tmp_path / name))
    before, root = signal.getsignal(signal.SIGTERM), logging.getLogger()
    handlers, level = root.handlers, root.level
    quiet = logging.getLogger("asyncio")
    quiet.addFilter(_no_news_of_old_loops)
    yield
    quiet.removeFilter(_no_news_of_old_loops)
    signal.signal(signal.SIGTERM, before)
    root.handlers = handlers
    root.setLevel(level)


@pytest.fixture
def run(
    own_settings: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Any:
    """Runs `david` or `goliath` in this process."""

    def program(name: str, *arguments: object) -> Outcome:
        import david_client.cli
        import goliath_server.cli

        main = {"david": david_client.cli.main, "goliath": goliath_server.cli.main}[name]
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Outcome(int(ended.value.code or 0), out, err)

    return program


@pytest.fixture
def ask(run: Any, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `david ask` with the tiny pair in this process."""
    monkeypatch.setenv("DAVID_GOLIATH_MODEL", str(pair.goliath))

    def asked(*arguments: object, prompt: str = "how do i make soup") -> Outcome:
        usual = () if "--model" in arguments else ("--model", pair.david)
        return run("david", "ask", prompt, *usual, *arguments)

    return asked
