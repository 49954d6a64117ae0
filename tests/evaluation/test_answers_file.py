"""A file of answers is found again, and a foreign one is kept."""

import json
from dataclasses import replace

import pytest

from common.errors import BadFileError, UsageError
from common.evaluation.answers import Cell, Row, resume
from tests.evaluation.quality_bench import RUN

ROW = Row("cooking", "pair", 8, "abc", "stir\nthe soup", 3.5, 4)


def test_answers_are_found_again(tmp_path):
    path = tmp_path / "new" / "answers.jsonl"
    first = resume(path, RUN)
    first.add([ROW])
    again = resume(path, RUN)
    assert again.get(ROW.cell, "abc") == ROW
    assert again.get(Cell("cooking", "pair", 16), "abc") is None


def test_a_row_cut_off_is_dropped(tmp_path):
    path = tmp_path / "answers.jsonl"
    answers = resume(path, RUN)
    answers.add([ROW, replace(ROW, question="def")])
    path.write_bytes(path.read_bytes()[:-7])
    answers = resume(path, RUN)
    assert answers.get(ROW.cell, "abc") == ROW
    assert answers.get(ROW.cell, "def") is None
    answers.add([replace(ROW, question="ghi")])
    assert [json.loads(line).get("question") for line in path.read_text().splitlines()] == [
        *(None, "abc", "ghi")
    ]


def test_answers_of_another_run_are_refused(tmp_path):
    path = tmp_path / "answers.jsonl"
    resume(path, RUN)
    with pytest.raises(UsageError, match="weight"):
        resume(path, {"weight": 0.6})


@pytest.mark.parametrize(
    "held",
    [
        "nonsense\n",
        "[]\n",
        '{"run": {"weight": 0.5}}\n{"data": 1}\n',
        '{"run": {"weight": 0.5}}\n{"data": "a", "system": "pair", "steps": "8", "question": "q", '
        '"text": "t", "nats": 1.0, "tokens": 1}\n',
        b"\xff\n",
    ],
)
def test_a_foreign_file_is_refused_and_kept(tmp_path, held):
    path = tmp_path / "notes.txt"
    path.write_bytes(held if isinstance(held, bytes) else held.encode())
    with pytest.raises(BadFileError, match=r"notes\.txt"):
        resume(path, RUN)
    assert path.read_bytes() == (held if isinstance(held, bytes) else held.encode())
