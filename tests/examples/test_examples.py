"""The examples run, with the options that their docstrings show."""

import ast
import json
import runpy
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from common.collaboration.codec import encode
from common.errors import ExitCode
from tests.tiny import save_tiny

EXAMPLES = Path(__file__).parents[2] / "examples"
PROMPT = "how do i make a cake?"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    root = tmp_path_factory.mktemp("pair")
    return str(save_tiny(root / "goliath", seed=1)), str(save_tiny(root / "david", seed=2))


@pytest.fixture
def run(monkeypatch, capsys):
    def run_example(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        capsys.readouterr()
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run_example


@pytest.fixture(scope="module")
def server(pair):
    command = "from goliath_server.cli import main; main()"
    listen = ("--listen", "127.0.0.1:0", "--insecure", "--json", "--threads", "1")
    with subprocess.Popen(
        [sys.executable, "-c", command, "serve", pair[0], *listen],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield json.loads(process.stdout.readline())["address"]
        finally:
            process.terminate()


def embedded(run, pair, *more):
    names = ("--goliath", pair[0], "--david", pair[1])
    return run("embedded_pair.py", PROMPT, *names, "--steps", "4", *more)


def test_embedded_pair_answers_and_weight_matters(run, pair):
    alone, together = embedded(run, pair, "--weight", "0"), embedded(run, pair, "--weight", "0.5")
    assert alone.strip()
    assert together.strip()
    assert alone != together


def test_embedded_pair_shows_the_context_to_david_alone(run, pair):
    context = ("--context", "flour, sugar, butter")
    alone = embedded(run, pair, "--weight", "0")
    assert embedded(run, pair, "--weight", "0", *context) == alone
    assert embedded(run, pair, "--weight", "1", *context) != embedded(run, pair, "--weight", "1")


def test_own_contributor_puts_its_words_into_the_answer(run, pair):
    common = (PROMPT, "--goliath", pair[0], "--steps", "4", "--words", "butter")
    assert "butter" not in run("own_contributor.py", *common, "--weight", "0").lower()
    assert "butter" in run("own_contributor.py", *common, "--weight", "0.9").lower()


def test_own_process_settles_words_from_left_to_right(run, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("stir the soup and add salt, then stir the soup. ", encoding="utf-8")
    drafts = run("own_process.py", "Stir", "--text", str(text), "--tokens", "6").splitlines()
    assert len(drafts) == 7  # one before each step, and the answer
    assert [after.lower().startswith(before.lower()) for before, after in pairwise(drafts)] == [
        True
    ] * 6
    assert "the soup" in drafts[-1].lower()


@pytest.mark.parametrize(
    ("name", "kind", "most"),
    [("own_contributor.py", "liking", 15), ("own_process.py", "LeftToRight", 60)],
)
def test_what_is_of_your_own_is_short(name, kind, most):
    tree = ast.parse((EXAMPLES / name).read_text(encoding="utf-8"))
    (own,) = (node for node in tree.body if getattr(node, "name", "") == kind)
    assert own.end_lineno - own.lineno < most


def test_watch_steps_prints_every_step_and_the_answer(run, pair):
    lines = run("watch_steps.py", PROMPT, "--model", pair[0], "--steps", "4").splitlines()
    steps = [line for line in lines if line.startswith("step ")]
    assert [int(line.split()[1]) for line in steps] == [0, 1, 2, 3]
    assert steps[0].endswith("...")
    assert lines[-1].startswith("answer  ")
    assert len(lines[-1]) > len("answer  ")


def test_client_gets_its_answer_from_the_server(run, pair, server):
    mine = ("--goliath", server, "--david", pair[1], "--context", "flour", "--steps", "4")
    assert run("client_over_grpc.py", PROMPT, *mine).strip()


def test_client_says_that_nobody_is_there(run, pair, capsys):
    with pytest.raises(SystemExit) as ended:
        run("client_over_grpc.py", PROMPT, "--goliath", "127.0.0.1:9", "--david", pair[1])
    assert ended.value.code == ExitCode.UNREACHABLE
    assert "127.0.0.1:9" in capsys.readouterr().err


def test_identity_asks_each_prompt_in_each_mode(run, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    options = ("--prompts", "1", "--steps", "2", "--all-modes", "--modes", "certified,lag 1")
    with pytest.raises(SystemExit) as ended:
        run("identity.py", *options, "--results", str(tmp_path / "results.jsonl"))
    assert ended.value.code == 0
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(row["mode"], row["same"]) for row in rows] == [("certified", True), ("lag 1", True)]
    assert all(row["tokens"] for row in rows)


def test_sparse_rows_are_full_rows_with_lifted_caps(run, pair, monkeypatch):
    # The usual number of entries is more than the tiny vocabulary.
    monkeypatch.setitem(encode.__kwdefaults__, "entries", 3)
    options = ("--goliath", pair[0], "--david", pair[1], "--prompts", "2", "--steps", "4")
    report = json.loads(run("sparse_rows.py", *options, "--temperature", "2"))
    assert report["tokens"] == 2 * 4 * 16
    assert report["certified"] < 1
    assert report["asks_a_step"] > 0
    assert report["certified"] <= report["certified_after_asks"]
    assert report["certified_with_lifted_caps"] == report["same_tokens_with_lifted_caps"] == 1


@pytest.mark.parametrize(
    "name", ["embedded_pair.py", "own_contributor.py", "watch_steps.py", "client_over_grpc.py"]
)
def test_what_people_copy_is_short_and_says_how_to_run_it(name):
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    assert f"python examples/{name} " in text.split('"""')[1]
