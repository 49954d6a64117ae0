"""What is in a trace and what is not, and how it is replayed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.denoising.plan import Decider
from common.errors import BadFileError, LimitExceededError
from david_client.replay import read_trace
from david_client.reply import Draft
from david_client.trace import open_trace
from david_client.view import View
from tests.david_client.traces import traced
from tests.serving import CONTEXT, PROMPT, VOCABULARY, embedded, question


def test_a_replay_shows_what_was_drawn(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    drawn, replies = traced(
        path,
        question(max_tokens=32, temperature=1.0),
        question(weight=0.0, suffix="serve hot."),
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
    reply = embedded(asked, on_draft=drafts.append)
    header, *steps, last = records
    assert header["prompt"] == PROMPT
    assert header["vocabulary"] == VOCABULARY.summary.fingerprint
    assert (header["goliath"], header["david"]) == ("g", "d")
    assert (header["seed"], header["weight"], header["contrast"]) == (5, 0.5, 0.0)
    assert header["settings"]["steps"] == 4
    assert [(one["block"], one["step"]) for one in steps] == [(d.block, d.step) for d in drafts]
    for one, draft in zip(steps, drafts, strict=True):
        assert one["t"] == draft.t
        assert one["decided"] == draft.decided.tolist()
        assert one["estimate"] == ([] if draft.hot is None else draft.hot.tolist())
        assert len(one["changed"]) <= 16
    assert last["tokens"] == list(reply.ids)
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
        view.begin(asked.question, asked.david)

        def look(draft: Draft) -> None:
            view.show(draft)
            lengths.append(len(path.read_text(encoding="utf-8").splitlines()))

        embedded(asked, on_draft=look)
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
            view.begin(question().question, question().david)
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
