"""Traces: what is in them and what is not, how they are replayed, and files that are no traces."""

import copy
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from common.denoising.plan import Decider
from common.errors import BadDataError, BadFileError, ExitCode, LimitExceededError
from david_client.asking import David, Draft, Question, Reply
from david_client.embedded import ask_embedded
from david_client.replay import MAX_LINE_BYTES, Scene, StepLine, read_trace
from david_client.trace import open_trace
from david_client.view import View
from david_client.view.sketch import Sketch
from tests.serving import CONTEXT, DAVID, GOLIATH, PROMPT, VOCABULARY, question
from tests.tiny import save_tiny

CODE = "import sys; from david_client.cli import main; main()"


class Seen:
    """A surface that keeps what is drawn."""

    def __init__(self) -> None:
        self.sketches: list[Sketch] = []

    def say(self, text: str) -> None: ...

    def draw(self, sketch: Sketch) -> None:
        self.sketches.append(sketch)

    def close(self) -> None: ...


def traced(path: Path, *questions: Question, title: str = "") -> tuple[list[Sketch], list[Reply]]:
    """Ask the tiny pair; what was drawn, and the replies."""
    seen, replies = Seen(), []
    with open_trace(path) as trace, View(wanted=False, trace=trace) as view:
        view._surface = seen
        for asked in questions:
            view.begin(asked, DAVID, title=title)
            reply = ask_embedded(
                asked, DAVID, goliath="g", model=GOLIATH, vocabulary=VOCABULARY, on_draft=view.show
            )
            view.finish(reply)
            replies.append(reply)
    return seen.sketches, replies


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trace") / "t.jsonl"
    traced(path, question(max_tokens=32, weight=0.5, context=CONTEXT, temperature=1.5))
    return path


@pytest.fixture(scope="module")
def records(trace: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]


def written(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return path


# --- what is in a trace ---


def test_a_replay_shows_what_was_drawn(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    drawn, replies = traced(
        path,
        question(max_tokens=32, temperature=1.0),
        replace(question(weight=0.0), suffix="serve hot."),
        title="gap",
    )
    scenes = list(read_trace(path))
    kinds = [scene.record.type for scene in scenes]
    one = ["header", *["step"] * 8, "reply"]
    assert kinds == [*one, "header", *["step"] * 4, "reply"]
    shown = [scene.sketch for scene in scenes if scene.sketch is not None]
    assert [replace(one, seconds=0.0) for one in shown] == [
        replace(one, seconds=0.0) for one in drawn
    ]
    assert [scene.number for scene in scenes if scene.number] == list(range(1, 13))
    assert [one.text for one in drawn if one.finished] == [reply.text for reply in replies]


def test_every_step_is_written_in_full(records: list[dict[str, Any]]) -> None:
    drafts: list[Draft] = []
    asked = question(max_tokens=32, weight=0.5, context=CONTEXT, temperature=1.5)
    reply = ask_embedded(
        asked, DAVID, goliath="g", model=GOLIATH, vocabulary=VOCABULARY, on_draft=drafts.append
    )
    header, *steps, last = records
    assert header["prompt"] == PROMPT
    assert header["vocabulary"] == VOCABULARY.fingerprint.hex()
    assert (header["goliath"], header["david"]) == ("g", "d")
    assert (header["seed"], header["weight"], header["contrast"]) == (5, 0.5, 0.0)
    assert header["settings"]["steps"] == 4
    assert [(one["block"], one["step"]) for one in steps] == [(d.block, d.step) for d in drafts]
    for one, draft in zip(steps, drafts, strict=True):
        assert one["t"] == draft.t
        assert one["decided"] == draft.decided.tolist()
        assert one["estimate"] == ([] if draft.hot is None else draft.hot.tolist())
        assert len(one["changed"]) <= 16
    assert last["tokens"] == list(reply.tokens)
    assert last["decided"] == list(reply.decided)
    assert {decider for _, _, decider, _ in last["words"]} <= set(Decider)


def test_the_context_is_not_in_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    secret = "oven oven sugar sugar"
    traced(path, question(context=secret, steps=2))
    text = path.read_text(encoding="utf-8")
    assert secret not in text
    assert "context" not in text


def test_steps_are_there_as_they_happen(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    lengths = []
    with open_trace(path) as trace, View(wanted=False, trace=trace) as view:
        asked = question()
        view.begin(asked, DAVID)

        def look(draft: Draft) -> None:
            view.show(draft)
            lengths.append(len(path.read_text(encoding="utf-8").splitlines()))

        ask_embedded(asked, DAVID, goliath="g", model=GOLIATH, vocabulary=VOCABULARY, on_draft=look)
    assert lengths == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (LimitExceededError("too long"), "LIMIT_EXCEEDED", "too long"),
        (KeyboardInterrupt(), "CANCELLED", "interrupted"),
        (BadFileError("/home/me/secret.txt"), "BAD_FILE", "log"),
        (ValueError("secret"), "INTERNAL", "log"),
    ],
)
def test_a_failure_is_the_last_line(
    tmp_path: Path, error: BaseException, reason: str, message: str
) -> None:
    path = tmp_path / "t.jsonl"

    def failing() -> None:
        with open_trace(path) as trace, View(wanted=False, trace=trace) as view:
            view.begin(question(), DAVID)
            raise error

    with pytest.raises(type(error)):
        failing()
    header, failure = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert header["settings"] is None
    assert failure["reason"] == reason
    assert message in failure["message"]
    assert "secret" not in failure["message"]
    assert [scene.record.type for scene in read_trace(path)] == ["header", "failure"]


def test_a_trace_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.touch()
    with open_trace(path):
        pass
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(BadFileError, match="holds something"):
        open_trace(path)
    assert path.read_text(encoding="utf-8") == "mine"
    for wrong in (tmp_path, tmp_path / "no" / "folder"):
        with pytest.raises(BadFileError, match="cannot write"):
            open_trace(wrong)
    with open_trace(None) as none:
        assert none is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told() -> None:
    with pytest.raises(BadFileError, match="cannot go on writing"):
        traced(Path("/dev/full"), question())


# --- files from somewhere ---


def test_an_empty_file_and_none_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(BadFileError, match="empty"):
        list(read_trace(tmp_path / "empty"))
    with pytest.raises(BadFileError, match="cannot read"):
        list(read_trace(tmp_path / "none"))


def changed(record: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return record | fields


STEP_CHANGES: list[dict[str, Any]] = [
    {"type": "other"},
    {"type": None},
    {"step": -1},
    {"step": 4},
    {"step": True},
    {"step": "1"},
    {"step": 10**400},
    {"block": 2},
    {"t": 0},
    {"t": 1.5},
    {"t": float("nan")},
    {"t": "0.5"},
    {"seconds": float("inf")},
    {"seconds": -1},
    {"text": None},
    {"text": "x" * (2**20 + 1)},
    {"words": [[0, 2**19, 1, 0]]},
    {"words": [[2, 1, 1, 0]]},
    {"words": [[1, 2, 1, 0], [0, 1, 1, 0]]},
    {"words": [[0, 1, 5, 0]]},
    {"words": [[0, 1, 1, 2]]},
    {"words": [[0, 1, 1]]},
    {"words": "0111"},
    {"words": [[0, 0, 1, 0]] * 70_000},
    {"noise": 2**13},
    {"noise": -1},
    {"estimate": [[0] * 17]},
    {"estimate": [[2**21]]},
    {"estimate": [[0.5]]},
    {"decided": [9]},
    {"changed": [-1]},
    {"bytes_up": -1},
    {"bytes_up": 2**60},
]


@pytest.mark.parametrize("fields", STEP_CHANGES, ids=lambda one: str(one)[:40])
def test_steps_that_cannot_be_are_refused_with_their_line(
    tmp_path: Path, records: list[dict[str, Any]], fields: dict[str, Any]
) -> None:
    path = tmp_path / "t.jsonl"
    lines = [json.dumps(one) for one in (records[0], records[1])]
    key, value = next(iter(fields.items()))
    shown = "1" + "0" * 400 if value == 10**400 else json.dumps(value)
    lines.append(json.dumps(records[2] | {key: "HERE"}).replace('"HERE"', shown))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(BadDataError, match="line 3") as caught:
        list(read_trace(path))
    assert caught.value.remedy
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 2},
        {"version": "1"},
        {"seed": -1},
        {"seed": 2**64},
        {"vocabulary": "x"},
        {"weight": 2},
        {"prompt": 5},
        {"settings": {"steps": 0, "block_length": 1, "max_tokens": 1}},
        {"settings": {"steps": 1}},
        {"settings": None},
    ],
)
def test_headers_that_cannot_be_are_refused(
    tmp_path: Path, records: list[dict[str, Any]], fields: dict[str, Any]
) -> None:
    path = written(tmp_path / "t.jsonl", [records[0] | fields, records[1]])
    with pytest.raises(BadDataError, match="line"):
        list(read_trace(path))


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{",
        b"[]",
        b"null",
        b"5",
        b'{"type": "step"}',
        b"\xff\xfe",
        b'{"type": ' + b"[" * 100_000,
        b"x" * (MAX_LINE_BYTES + 10),
        b"\x00" * 100,
    ],
    ids=lambda one: repr(one[:12]),
)
def test_lines_that_are_no_records_are_refused(tmp_path: Path, trace: Path, line: bytes) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(trace.read_bytes() + line)
    scenes = read_trace(path)
    with pytest.raises(BadDataError, match="line 11"):
        list(scenes)


def test_steps_need_a_header(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    path = written(tmp_path / "t.jsonl", records[1:])
    with pytest.raises(BadDataError, match=r"line 1: expected a header"):
        list(read_trace(path))


def test_texts_come_without_control_characters(
    tmp_path: Path, records: list[dict[str, Any]]
) -> None:
    step = records[2] | {"text": "a\x1b[2J\x9b1m\u202eb", "words": []}
    header = records[0] | {"prompt": "p\x07", "title": "\x1b]0;x"}
    scenes = list(read_trace(written(tmp_path / "t.jsonl", [header, step])))
    for scene in scenes:
        shown = scene.record.model_dump_json()
        assert not re.search(r"\\u00[01]|[\x00-\x1f\x7f-\x9f\u202e]", shown)
    assert isinstance(scenes[1].record, StepLine)
    assert len(scenes[1].record.text) == len(step["text"])


def places(record: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children = (
        record.items()
        if isinstance(record, dict)
        else enumerate(record[:3])
        if isinstance(record, list)
        else ()
    )
    for key, value in children:
        yield (*path, key)
        yield from places(value, (*path, key))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(st.data())
@hypothesis_settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_trace_is_shown_or_refused(
    tmp_path: Path, records: list[dict[str, Any]], data: st.DataObject
) -> None:
    lines = copy.deepcopy([*records[:4], records[-1]])
    number = data.draw(st.integers(0, len(lines) - 1))
    *above, last = data.draw(st.sampled_from(list(places(lines[number]))))
    target: Any = lines[number]
    for key in above:
        target = target[key]
    target[last] = data.draw(VALUES)
    _shown_or_refused(written(tmp_path / "t.jsonl", lines))


@given(st.binary(max_size=200))
@example(b'{"type": "header", "seed": "\\ud800"}')
@hypothesis_settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(data)
    _shown_or_refused(path)


def _shown_or_refused(path: Path) -> None:
    scenes: list[Scene] = []
    try:
        scenes.extend(read_trace(path))
    except BadDataError:
        return
    for scene in scenes:
        json.dumps(scene.record.model_dump(mode="json"), allow_nan=False).encode()
        if scene.sketch is not None:
            assert all(0 <= w.begin <= w.end <= len(scene.sketch.text) for w in scene.sketch.words)


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
        view.begin(question(), David("mine", DAVID.model, VOCABULARY), title="gap 1 of 2")
        view.finish(
            ask_embedded(
                question(),
                DAVID,
                goliath="g",
                model=GOLIATH,
                vocabulary=VOCABULARY,
                on_draft=view.show,
            )
        )
    scenes = list(read_trace(path))
    assert scenes[0].record.david == "mine"
    assert scenes[1].sketch is not None
    assert scenes[1].sketch.title == "gap 1 of 2"
