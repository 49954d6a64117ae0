"""A context that the small model has no room for is refused before the first step, everywhere."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from common.collaboration.room import check_room
from common.errors import BadDataError, ExitCode
from tests.programs import CODE, Pair, address_of, serve

SAYS = (
    "the context has 300 tokens, and David has room for {room}: prompt, suffix and "
    "answer take {beside} of David's 256 positions"
)
PROMPT = "how do i make soup"
WORDS, TEMPLATE, BLOCK = 5, 4, 16
BESIDE = WORDS + TEMPLATE + BLOCK
TOLD = SAYS.format(room=256 - BESIDE, beside=BESIDE)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_text("soup " * 300, encoding="utf-8")
    return path


def test_the_last_token_that_fits() -> None:
    check_room(231, beside=25, positions=256)
    with pytest.raises(BadDataError, match="has 232 tokens, and David has room for 231"):
        check_room(232, beside=25, positions=256)
    with pytest.raises(BadDataError, match="fit David's 256 positions, got 257"):
        check_room(0, beside=257, positions=256)


def test_asking(ask: Any, context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = ask("--context", context)
    assert (told.code, told.out) == (ExitCode.BAD_INPUT, "")
    assert told.err == f"david: {TOLD}\n  Give the part of the context that matters\n"
    assert ask("--context", context, "--weight", 0, "--steps", 1).code == 0
    gaps = ask("--context", context, prompt=f"{PROMPT} [[...]]")
    assert gaps.code == ExitCode.BAD_INPUT
    assert "the context has 300 tokens" in gaps.err
    # It needs no large model, which may take minutes to load.
    monkeypatch.setenv("DAVID_GOLIATH_MODEL", "none")
    assert ask("--context", context).err == told.err


def test_a_batch(run: Any, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAVID_GOLIATH_MODEL", str(pair.goliath))
    lines = [{"prompt": PROMPT}, {"prompt": PROMPT, "context": "soup " * 300}]
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = run("david", "batch", file, "--model", pair.david, "--steps", 1)
    assert told.code == ExitCode.BAD_INPUT
    assert len(told.out.splitlines()) == 1
    assert f"david: line 2: {TOLD}" in told.err


@pytest.mark.timeout(300)
def test_over_the_wire_and_in_a_conversation(
    pair: Pair, context: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOLIATH_MAX_STEPS", "9")
    with serve(pair) as server:
        place = ("--goliath", address_of(server), "--insecure", "--model", pair.david)
        told = run("david", "ask", PROMPT, *place, "--context", context)
        assert told.code == ExitCode.BAD_INPUT
        assert told.err.startswith(f"david: {TOLD}\n")
        more = run("david", "ask", PROMPT, *place, "--steps", 10)
        assert more.code == ExitCode.REFUSED
        assert more.err.startswith("david: --steps: this server takes at most 9, got 10\n")
        chat = subprocess.run(
            [
                *(sys.executable, "-c", CODE.format(side="david_client"), "chat"),
                *map(str, place),
                *("--context", str(context), "--steps", "1"),
            ],
            input=f"{PROMPT}\n/context off\n{PROMPT}\n",
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert chat.returncode == 0
    assert f"error: {TOLD}. Give" in chat.stderr
    assert len(chat.stdout.splitlines()) == 1
