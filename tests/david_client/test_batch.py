"""`david batch`: each line a question of its own, and the first one that fails ends it."""

import io
import itertools
import json

import pytest

from common import Goliath
from common.collaboration.codec import LEAST_ENTRIES, MOST_ENTRIES
from common.collaboration.settings import Codec
from common.denoising.settings import values_of
from common.errors import BadDataError, ExitCode, UnreachableError
from david_client.batch import FIXED, Moments, ask_all, parse_line
from david_client.chat.pipe import Pipe
from david_client.conversation import Collaboration
from david_client.settings import DavidSettings
from tests.serving import DAVID, GOLIATH, PROMPT, VOCABULARY, embedded, question

PAIR = Collaboration(DAVID, Goliath(GOLIATH))
SETTINGS = DavidSettings(steps=4, seed=5)


def asked(*lines, pair=PAIR, settings=SETTINGS, **options):
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    return ask_all(pair, Pipe(io.BytesIO(text.encode())), settings, **options)


def test_each_line_is_answered_with_settings_of_its_own():
    lines = ({"prompt": PROMPT}, "", {"prompt": PROMPT, "steps": 2, "seed": 9, "codec": "dense"})
    first, second = (record for _, record in asked(*lines))
    assert first["tokens"] == list(embedded(question()).ids)
    assert second["tokens"] == list(embedded(question(steps=2, seed=9, codec=Codec.DENSE)).ids)
    assert (first["line"], second["line"]) == (1, 3)
    assert (first["steps"], second["steps"]) == (4, 2)
    assert first["vocabulary_size"] == VOCABULARY.size
    assert second["entries"]["rows"] == {str(VOCABULARY.size): 2 * 16}
    found = first["entries"]
    assert LEAST_ENTRIES <= found["p50"] <= found["p99"] <= min(MOST_ENTRIES, VOCABULARY.size)
    assert sum(found["rows"].values()) == 4 * 16


def test_texts_of_a_line_are_used():
    line = {"prompt": PROMPT, "context": "the soup is of cold milk", "contrast": 0.5}
    ((with_context, _),) = asked(line)
    expected = embedded(question(context="the soup is of cold milk", contrast=0.5))
    assert with_context.ids == expected.ids != embedded(question()).ids
    ((_, before),) = asked({"prompt": PROMPT, "suffix": "serve it hot."})
    assert before["full_text"].endswith("serve it hot.")


def test_moments_are_those_of_the_states():
    clock = itertools.count(10.0)
    ((_, record),) = asked({"prompt": PROMPT, "steps": 3}, now=lambda: next(clock))
    assert record["moments"] == {
        "asked": 10.0,
        "first_state": 11.0,
        "last_state": 13.0,
        "answered": 14.0,
    }
    assert Moments(lambda: 1.0).record()["first_state"] is None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("soup", "JSON object"),
        ('["soup"]', "JSON object"),
        ("{}", "prompt"),
        ('{"prompt": " "}', "prompt"),
        ('{"prompt": 3}', "prompt"),
        ('{"prompt": "a\\ud800"}', "prompt"),
        ('{"prompt": "soup", "context": null}', "context"),
        ('{"prompt": "soup", "steps": 0}', "steps"),
        ('{"prompt": "soup", "stepz": 1}', "stepz"),
        ('{"prompt": "soup", "goliath": "elsewhere:1"}', "goliath"),
        ('{"prompt": "soup", "threads": 3}', "threads"),
        ("[" * 100_000, "JSON object"),
    ],
)
def test_lines_that_ask_nothing(line, says):
    with pytest.raises(BadDataError) as refused:
        parse_line(line, SETTINGS)
    assert says in refused.value.message


def test_what_no_line_can_change_are_settings():
    assert set(values_of(DavidSettings())) > FIXED


def test_the_first_line_that_fails_ends_it():
    answers = asked({"prompt": PROMPT}, {"prompt": "soup " * 300}, {"prompt": PROMPT})
    assert next(answers)[1]["line"] == 1
    with pytest.raises(BadDataError, match=r"^line 2: .*256 positions"):
        next(answers)
    assert list(answers) == []


def test_a_server_that_is_not_there():
    away = Collaboration(DAVID, Goliath.connect("127.0.0.1:1", insecure=True, timeout_s=10))
    with pytest.raises(UnreachableError, match="line 1: nobody answers"):
        list(asked({"prompt": PROMPT}, pair=away))


@pytest.fixture
def batch(run, monkeypatch):
    """Runs the command on a file, with what `DAVID_*` says as settings."""
    monkeypatch.setattr("david_client.conversation.collaborate", lambda settings: PAIR)
    return lambda *arguments: run("david", "batch", *arguments)


def test_the_command_reads_a_file(batch, tmp_path):
    file = tmp_path / "questions.jsonl"
    lines = [{"prompt": PROMPT, "seed": seed} for seed in (5, 6)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, out, err = batch(file, "--json", "--steps", 2)
    assert code == 0, err
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["seed"] for record in records] == [5, 6]
    assert {record["steps"] for record in records} == {2}
    code, out, _ = batch(file, "--steps", 2)
    assert out == "".join(record["text"] + "\n" for record in records)


def test_the_command_reads_standard_input(batch, monkeypatch):
    class Stdin:
        buffer = io.BytesIO(b'{"prompt": "soup", "seed": 1, "steps": 2}\n{"prompt": 1}\n')

    monkeypatch.setattr("sys.stdin", Stdin)
    code, out, err = batch("-", "--json")
    assert code == ExitCode.BAD_INPUT
    assert len(out.splitlines()) == 1
    assert "line 2" in err


def test_a_file_that_is_not_there(batch, tmp_path):
    code, out, err = batch(tmp_path / "none.jsonl")
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert "none.jsonl" in err
