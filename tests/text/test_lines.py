"""Files of text as editors and shells leave them: with a byte order mark, in UTF-16, joined, with
odd ends of lines; and what is said of those that cannot be read.
"""

import codecs
import io
import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import BadDataError, ExitCode
from common.text.lines import decoded, read_objects
from david_client.chat.pipe import Pipe
from tests.programs import Pair
from tests.tiny import ROWS, save_rows, tiny_vocabulary

TEXT = '{"text": "eins"}\n{"text": "zw\u00f6lf"}\n'
EXPECTED = [("rows.jsonl:1", {"text": "eins"}), ("rows.jsonl:2", {"text": "zw\u00f6lf"})]


def marked(path: Path) -> Path:
    """The same file as an editor of Windows saves it."""
    text = path.read_text(encoding="utf-8").replace("\n", "\r\n")
    path.write_bytes(codecs.BOM_UTF8 + text.encode())
    return path


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode("utf-8-sig"),
        TEXT.replace("\n", "\r\n").encode("utf-8-sig"),
        TEXT.replace("\n", "\r").encode(),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.removesuffix("\n").encode(),
        "".join("\ufeff" + line for line in TEXT.splitlines(keepends=True)).encode(),
    ],
)
def test_marks_and_ends_of_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_bytes(data)
    assert read_objects(Path("rows.jsonl")) == EXPECTED
    assert read_objects(Path("rows.jsonl"), limit=1) == EXPECTED[:1]


def test_a_line_ends_at_its_end_and_blank_ones_count(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('\n{"text": "one\u2028two\u0085three"}\n  \nno\n', encoding="utf-8")
    assert read_objects(path, limit=1) == [(f"{path}:2", {"text": "one\u2028two\u0085three"})]
    with pytest.raises(BadDataError, match=r"rows\.jsonl:4: expected a JSON object, got 'no'"):
        read_objects(path)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no records"),
        (codecs.BOM_UTF8 + b"\n", "no records"),
        (b'{"text": "\xff"}', r"not UTF-8 \(byte 10\)"),
        (b"PK\x03\x04\0\0", "is binary"),
        (b"[1]", ":1: expected a JSON object"),
        (b"[" * 100_000, ":1: expected a JSON object"),
        (b'{"text": "\\ud800"}', ":1: expected a JSON object"),
        (None, "No such file"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, data: bytes | None, says: str) -> None:
    path = tmp_path / "rows.jsonl"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(BadDataError, match=says):
        read_objects(path)


def test_text_without_a_mark_is_utf_8() -> None:
    assert decoded("\u00fc\ufeff".encode(), "it") == "\u00fc\ufeff"
    with pytest.raises(BadDataError, match="it is binary"):
        decoded("\u00fc".encode("utf-16-le"), "it")


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"text": 1},
        {"text": None},
        {"instruction": "how?"},
        {"instruction": "how?", "response": ["so"]},
        {"instruction": "how?", "response": "so", "context": 1},
        {"text": "so", "instruction": 1},
        {"text": "so", "source": ["a"]},
    ],
)
def test_records_of_another_kind_name_their_line(tmp_path: Path, row: Any) -> None:
    from common.training.examples import read_records

    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "so", "source": null, "context": null}\n' + json.dumps(row) + "\n")
    with pytest.raises(BadDataError, match=r"rows\.jsonl:2: expected"):
        read_records(path, tiny_vocabulary())


# --- the commands ---


def test_training_data(run: Any, pair: Pair, tmp_path: Path) -> None:
    data, plain = marked(save_rows(tmp_path / "rows.jsonl")), save_rows(tmp_path / "plain.jsonl")
    losses = []
    for file in (data, plain):
        usual = ("--start", pair.david, "--out", tmp_path / file.stem, "--steps", 1, "--batch", 4)
        told = run("david", "train", file, "--held-out", file, *usual, "--json")
        assert told.code == 0, told.err
        losses.append(json.loads(told.out.splitlines()[0])["loss"])
    assert losses[0] == losses[1]


def test_texts_of_a_guide(run: Any, pair: Pair, tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    rows = [{"text": word, "label": label} for word, label in (("bake", "sweet"), ("stir", "b"))]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    usual = ("--held-out", marked(file), "--start", pair.david, "--out", tmp_path / "guide")
    told = run("david", "train-guide", file, *usual, "--steps", 1, "--json")
    assert told.code == 0, told.err
    assert json.loads(told.out.splitlines()[-1])["labels"] == ["b", "sweet"]


def test_held_out_data(run: Any, pair: Pair, tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:4]))
    usual = ("--david", pair.david, "--goliath", pair.goliath, "--weights", 0.5, "--json")
    told = run("goliath", "evaluate", *usual, "--data", marked(file))
    assert told.code == 0, told.err
    assert json.loads(told.out)["n"] == 4


def test_batches(run: Any, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAVID_GOLIATH_MODEL", str(pair.goliath))
    file = tmp_path / "batch.jsonl"
    file.write_text('{"prompt": "how do i make soup", "steps": 2}\n' * 2)
    told = run("david", "batch", marked(file), "--model", pair.david, "--json")
    assert told.code == 0, told.err
    assert [json.loads(line)["line"] for line in told.out.splitlines()] == [1, 2]
    assert Pipe(io.BytesIO(file.read_bytes())).read() == '{"prompt": "how do i make soup", ' + (
        '"steps": 2}\r\n'
    )


def test_settings(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "david.toml"
    file.write_text("steps = 7\n")
    told = run("david", "config", "--config", marked(file))
    assert (told.code, "steps = 7" in told.out) == (ExitCode.DONE, True), told.err
