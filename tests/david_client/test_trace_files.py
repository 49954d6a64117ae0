"""Files that are no traces, or damaged ones."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from common.errors import BadDataError, BadFileError
from david_client.replay import MAX_LINE_BYTES, Scene, StepLine, read_trace
from tests.david_client.traces import written


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
        b"{\n",
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
