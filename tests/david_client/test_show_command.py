"""`david show` and `david ask --trace`, piped and at a terminal."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.errors import ExitCode
from david_client.asking import David
from david_client.replay import read_trace
from david_client.trace import open_trace
from david_client.view import View
from tests.david_client.traces import CODE
from tests.serving import DAVID, PROMPT, embedded, question
from tests.tiny import save_tiny

# --- david show, david ask --trace ---


@pytest.fixture
def david(run: Any) -> Any:
    return lambda *arguments: run("david", *arguments)


def test_piped_a_step_is_a_line(david: Any, trace: Path, records: list[dict[str, Any]]) -> None:
    code, out, err = david("show", trace)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].startswith(PROMPT)
    assert lines[1] == "   1  t 1.000  (noise)"
    assert [line.split()[0] for line in lines[1:-1]] == [str(n) for n in range(1, 9)]
    assert lines[2].endswith(records[2]["text"])
    assert lines[-1] == f"answer  {records[-1]['text']}"
    assert "\x1b" not in out


def test_json_is_an_object_a_line(david: Any, trace: Path, records: list[dict[str, Any]]) -> None:
    _, out, _ = david("show", trace, "--json")
    shown = [json.loads(line) for line in out.splitlines()]
    assert [one["type"] for one in shown] == [one["type"] for one in records]
    for one, record in zip(shown, records, strict=True):
        assert {name: record[name] for name in one if name not in {"settings"}} == {
            name: value for name, value in one.items() if name not in {"settings"}
        }


def test_one_step_can_be_shown(david: Any, trace: Path) -> None:
    assert david("show", trace, "--step", 3)[1].startswith("   3  t 0.")
    assert len(david("show", trace, "--step", 3)[1].splitlines()) == 1
    code, out, err = david("show", trace, "--step", 9)
    assert (code, out) == (ExitCode.USAGE, "")
    assert "at most 8" in err


def test_usage_and_files_have_their_exit_codes(david: Any, trace: Path, tmp_path: Path) -> None:
    assert david("show", trace, "--delay", 1, "--rate", 1)[0] == ExitCode.USAGE
    assert david("show", trace, "--delay", -1)[0] == ExitCode.USAGE
    assert david("show", tmp_path / "none")[0] == ExitCode.BAD_INPUT
    (tmp_path / "bad").write_text("{}\n", encoding="utf-8")
    code, _, err = david("show", tmp_path / "bad")
    assert code == ExitCode.BAD_INPUT
    assert "line 1" in err


def test_a_trace_that_stops_says_so(david: Any, trace: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_text("".join(trace.read_text().splitlines(keepends=True)[:4]), encoding="utf-8")
    code, out, err = david("show", cut)
    assert code == 0
    assert len(out.splitlines()) == 4
    assert "ends before the answer" in err


def test_a_bad_path_is_told_before_models_are_loaded(david: Any, trace: Path) -> None:
    code, _, err = david("ask", PROMPT, "--model", "no-such-model", "--trace", trace)
    assert code == ExitCode.BAD_INPUT
    assert "holds something" in err


def test_showing_needs_no_model_and_no_torch(trace: Path) -> None:
    code = (
        "import sys; sys.argv = ['david', 'show', sys.argv[1]]\n"
        "from david_client.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = ('torch', 'numpy', 'tokenizers', 'transformers', 'grpc')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(trace)], capture_output=True, text=True, timeout=100
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


# --- a real terminal ---


def at_terminal(arguments: list[object], *, columns: int, **environment: str) -> tuple[int, str]:
    """Run the program with a terminal of its own; its exit code, and all that it wrote."""
    parent, child = pty.openpty()
    env = os.environ | {"TERM": "xterm", "OMP_NUM_THREADS": "1"} | environment
    env |= {"COLUMNS": str(columns), "LINES": "24"}
    env.pop("NO_COLOR", None) if "NO_COLOR" not in environment else None
    with subprocess.Popen(
        [sys.executable, "-c", CODE, *map(str, arguments)],
        stdin=child,
        stdout=child,
        stderr=child,
        env=env,
    ) as process:
        os.close(child)
        shown, end = b"", time.monotonic() + 200
        while time.monotonic() < end and select.select([parent], [], [], 200)[0]:
            try:
                data = os.read(parent, 65536)
            except OSError:  # Linux: the last writer is gone
                break
            if not data:
                break
            shown += data
        os.close(parent)
        return process.wait(timeout=60), shown.decode().replace("\r\n", "\n")


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


@pytest.mark.timeout(300)
def test_asking_and_showing_at_a_terminal(tmp_path: Path) -> None:
    goliath, model = save_tiny(tmp_path / "g", seed=1), save_tiny(tmp_path / "d", seed=2)
    file = tmp_path / "t.jsonl"
    asking = ["ask", PROMPT, "--model", model, "--steps", 6, "--seed", 3, "--trace", file]
    code, shown = at_terminal(asking, columns=80, DAVID_GOLIATH_MODEL=str(goliath))
    assert code == 0, shown
    for text in ("waking the models", "step 1/6", "weight 0.75", "brought in by", "\u00b7" * 16):
        assert text in plain(shown)
    assert "\x1b[?25l" in shown  # the cursor goes, and comes back
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    last = json.loads(file.read_text(encoding="utf-8").splitlines()[-1])
    left = plain(shown[shown.rindex("\x1b[?25h") :])
    assert " ".join(left.split()).startswith(last["text"])
    assert "seed 3, 6 steps" in left

    for columns in (40, 200):
        code, shown = at_terminal(["show", file, "--rate", 100], columns=columns)
        assert code == 0, shown
        assert "answer after" in plain(shown)
        lines = plain(shown).replace("\r", "\n").splitlines()
        # The line that tells the prompt is left to the terminal to break.
        assert all(len(line) <= columns for line in lines[1:])
    code, shown = at_terminal(["show", file, "--step", 2], columns=80, NO_COLOR="1")
    assert code == 0
    assert "step 2/6" in plain(shown)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown)


def test_a_david_of_another_name_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    with open_trace(path) as trace, View(wanted=False, trace=trace) as view:
        mine = David(replace(DAVID, name="mine"))
        view.begin(question().question, mine, title="gap 1 of 2")
        view.finish(embedded(question(), on_draft=view.show))
    scenes = list(read_trace(path))
    assert scenes[0].record.david == "mine"
    assert scenes[1].sketch is not None
    assert scenes[1].sketch.title == "gap 1 of 2"
