"""`david ask`: what it says, how it samples, gaps, and questions that cannot be asked."""

import asyncio
import io
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from common.errors import ExitCode
from common.program.console import print_parts
from tests.programs import Pair, address_of, ended, process, serve

PROMPT = "how do i make soup"


def test_the_answer_alone_on_stdout(ask: Any) -> None:
    told = ask("--steps", 3, "--seed", 4)
    assert told.code == 0
    assert told.out.count("\n") == 1
    assert "seed 4" in told.err
    again = ask("--steps", 3, "--seed", 4)
    assert again.out == told.out
    drawn = json.loads(ask("--steps", 1, "--json").out)["seed"]
    assert drawn != json.loads(ask("--steps", 1, "--json").out)["seed"]


def test_weights_and_contrast_are_told(ask: Any, tmp_path: Path) -> None:
    context = tmp_path / "context.txt"
    context.write_text("cold soup of milk")
    told = ask("--steps", 2, "--weight", 1, "--contrast", 0.5, "--context", context, "--json")
    record = json.loads(told.out)
    assert (record["weight"], record["contrast"], record["david_steps"]) == (1.0, 0.5, 2)
    assert json.loads(ask("--steps", 2, "--weight", 0, "--json").out)["david_steps"] == 0


def test_ways_of_sampling_are_chosen_and_told(ask: Any) -> None:
    usual = json.loads(ask("--steps", 3, "--seed", 4, "--json").out)
    assert (usual["projection"], usual["self_conditioning"]) == ("sample", "own")
    assert usual["halt"] == {"patience": 0, "margin": 0.0}
    ways = ("--projection", "multi-hot", "--self-conditioning", "fused", "--halt", "2:0.5")
    told = ask("--steps", 3, "--seed", 4, *ways, "--json")
    assert told.code == 0, told.err
    record = json.loads(told.out)
    assert (record["projection"], record["self_conditioning"]) == ("multi-hot", "fused")
    assert record["halt"] == {"patience": 2, "margin": 0.5}
    assert record["steps_run"] == record["david_steps"] <= 3


def test_certify_is_chosen_and_told(ask: Any) -> None:
    options = ("--steps", 3, "--temperature", 0, "--weight", 0.5)
    record = json.loads(ask(*options, "--certify", "--json").out)
    assert record["certify"]
    assert record["uncertified"] == 0
    assert "0 positions uncertified after" in ask(*options, "--certify").err
    assert "uncertified" not in ask(*options).err


@pytest.mark.parametrize("halt", ["", "x", "-1", "2:", "2:x", "2:-1", "2:nan", "2:1001", "0:1"])
def test_rules_of_halting_that_are_none(ask: Any, halt: str) -> None:
    told = ask("--halt", halt)
    assert told.code == ExitCode.USAGE
    assert "halt: expected" in told.err


def test_latency_is_chosen_and_told(ask: Any) -> None:
    usual = json.loads(ask("--steps", 3, "--seed", 4, "--json").out)
    assert (usual["lag"], usual["every"]) == (0, None)
    late = json.loads(ask("--steps", 3, "--seed", 4, "--lag", 1, "--json").out)
    assert (late["lag"], late["every"]) == (1, None)
    reused = json.loads(ask("--steps", 3, "--seed", 4, "--every", "1:4:1", "--json").out)
    assert (reused["lag"], reused["every"]) == (0, {"first": 1, "period": 4, "last": 1})
    assert reused["david_steps"] == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        *((("--every", every), "every: ") for every in ("", "4", "1:0:1", "1:x:1", "-1:2:0")),
        (("--every", "1:65536:1"), "every: expected FIRST and LAST"),
        (("--lag", "17"), "lag: "),
        (("--lag", "-1"), "lag: "),
        (("--lag", "2", "--every", "4:4:2"), "every: expected none together with a lag of 2"),
    ],
)
def test_latencies_that_are_none(ask: Any, options: tuple[str, ...], says: str) -> None:
    told = ask(*options)
    assert told.code == ExitCode.USAGE
    assert says in told.err


def test_the_prompt_from_standard_input(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pipe:
        def __init__(self, data: bytes) -> None:
            self.buffer = self
            self._data = data

        def read(self, _: int) -> bytes:
            return self._data

    expected = ask("--steps", 2, "--seed", 1).out
    monkeypatch.setattr(sys, "stdin", Pipe(PROMPT.encode()))
    assert ask("--steps", 2, "--seed", 1, prompt="-").out == expected
    monkeypatch.setattr(sys, "stdin", Pipe(b"\xff\xfe"))
    assert ask(prompt="-").code == ExitCode.BAD_INPUT


def test_unknown_pieces_are_counted(ask: Any) -> None:
    told = ask("--steps", 1, prompt="soup \u2603 with \u4e2d")
    assert told.code == 0
    assert "2 pieces of the prompt" in told.err


@pytest.mark.parametrize(
    ("prompt", "says"), [("", "empty"), ("  \n ", "empty"), ("soup " * 300, "256 positions")]
)
def test_prompts_that_cannot_be_asked(ask: Any, prompt: str, says: str) -> None:
    told = ask(prompt=prompt)
    assert told.code == ExitCode.BAD_INPUT
    assert says in told.err
    assert told.out == ""


def test_contexts_that_cannot_be_used(ask: Any, tmp_path: Path) -> None:
    files = {"binary": b"\xff\xfe\x00", "empty": b" \n", "huge": b"soup " * 2**20}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for path in (*(tmp_path / name for name in files), tmp_path / "missing", tmp_path):
        told = ask("--context", path)
        assert told.code == ExitCode.BAD_INPUT, told.err
        assert "context" in told.err


SUFFIX = "then serve it hot."


SUFFIX = "then serve it hot."
GAPS = "Heat the water. [[...]] Add salt, then [[...6]] serve Hot."


def test_an_answer_leads_into_a_suffix(ask: Any) -> None:
    options = ("--steps", 3, "--seed", 4, "--suffix", SUFFIX)
    told, record = ask(*options), json.loads(ask(*options, "--json").out)
    assert told.code == 0
    assert told.out == record["text"] + "\n"
    assert record["suffix"] == SUFFIX
    assert record["full_text"].startswith(record["text"])
    assert record["full_text"].endswith(SUFFIX)
    plain = json.loads(ask("--steps", 3, "--seed", 4, "--json").out)
    assert (plain["suffix"], plain["full_text"]) == ("", plain["text"])
    assert plain["tokens"] != record["tokens"]


def test_gaps_are_filled(ask: Any) -> None:
    options = ("--steps", 3, "--seed", 4)
    told = ask(*options, prompt=GAPS)
    record = json.loads(ask(*options, "--json", prompt=GAPS).out)
    assert told.code == 0
    assert told.out == record["text"] + "\n"
    assert "seed 4, 6 steps" in told.err
    assert re.fullmatch(r"Heat the water\..* ?Add salt, then.* ?serve Hot\.", record["text"])
    assert len(record["gaps"][1]["tokens"]) <= 6
    ended_by = ask(*options, "--suffix", "Enjoy it.", prompt=GAPS)
    assert ended_by.out.endswith("serve Hot. Enjoy it.\n")


def test_literal_gaps_are_text(ask: Any) -> None:
    told = ask("--steps", 2, "--literal", "--json", prompt=GAPS)
    assert "gaps" not in json.loads(told.out)
    assert ask("--steps", 2, "--literal", prompt="[[...x]]").code == 0


@pytest.mark.parametrize(
    ("prompt", "options", "says"),
    [
        ("[[...]] serve hot.", (), "begins with a gap"),
        ("soup [[...0]]", (), "number of tokens"),
        ("soup [[...]]" + " hot" * 300, (), "256 positions"),
        ("soup", ("--suffix", " "), "the suffix is empty"),
        ("soup", ("--suffix", "hot " * 300), "256 positions"),
    ],
)
def test_what_cannot_be_filled(ask: Any, prompt: str, options: tuple[str, ...], says: str) -> None:
    told = ask(*options, prompt=prompt)
    assert told.code == ExitCode.BAD_INPUT
    assert says in told.err
    assert told.out == ""


@pytest.mark.timeout(300)
def test_gaps_over_the_wire(pair: Pair, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--steps", 3, "--seed", 4, "--json")
    monkeypatch.setenv("GOLIATH_MAX_PROMPT_BYTES", "256")
    with serve(pair) as server:
        place = ("--goliath", address_of(server), "--insecure")
        with process("david_client", "ask", GAPS, "--model", pair.david, *place, *options) as david:
            over = ended(david)
        long = ("--suffix", "serve hot " * 30)
        with process("david_client", "ask", "soup", "--model", pair.david, *place, *long) as david:
            refused = ended(david)
    assert over.code == 0, over.err
    there, here = json.loads(over.out), json.loads(ask(*options, prompt=GAPS).out)
    assert there["text"] == here["text"]
    assert there["bytes_up"] > there["bytes_down"] > here["bytes_down"] == 0
    assert refused.code == ExitCode.REFUSED
    assert "suffix bytes" in refused.err


def test_unknown_pieces_of_a_suffix_and_between_gaps(ask: Any) -> None:
    told = ask("--steps", 1, "--suffix", "hot \u2603")
    assert "1 pieces of the suffix" in told.err
    told = ask("--steps", 1, prompt="soup \u2603 [[...3]] \u4e2d")
    assert told.err.count("pieces of the prompt") == 1
    assert "2 pieces of the prompt" in told.err


@pytest.mark.parametrize("terminal", [True, False])
def test_fillings_stand_out_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, *, terminal: bool
) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    stream = Stream()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("TERM", "xterm")
    words = "stir " * 40
    print_parts((("soup [b]\n", False), (f"{words}\x1b[31m", True), (" hot", False)))
    shown = stream.getvalue()
    plain = f"soup [b]\n{words} [31m hot\n"
    assert re.sub("\x1b\\[[0-9;]*m", "", shown) == plain
    assert ("\x1b[1m" in shown) == terminal


def test_an_interrupt_in_the_embedded_run(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    async def interrupted(*_: Any) -> None:
        try:
            await asyncio.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    monkeypatch.setattr("david_client.embedded.Drive.run", interrupted)
    told = ask("--steps", 2)
    assert ended
    assert told.code == ExitCode.INTERRUPTED
    assert "interrupted" in told.err
