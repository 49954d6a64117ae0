"""The conversation: prompts from turns, commands, lines from people and from pipes, and privacy."""

import asyncio
import io
import json
import os
import signal
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.denoising.plan import FinishReason
from common.errors import (
    BadDataError,
    BadFileError,
    BadModelError,
    CollaborationError,
    SessionCancelledError,
    UnreachableError,
    UsageError,
)
from common.program.interrupt import run_interruptible
from david_client.chat.answers import Answers
from david_client.chat.conversation import Conversation
from david_client.chat.lines import COMMANDS, Asked, Command, listed, parse
from david_client.chat.loop import chat
from david_client.chat.pipe import Pipe
from david_client.chat.prompt import Turn, prompt_of
from david_client.chat.show import OnPipe
from david_client.settings import DavidSettings
from tests.programs import Pair
from tests.serving import CONTEXT, PROMPT, embedded, question

pytestmark = pytest.mark.usefixtures("own_settings")


# --- a conversation as a prompt ---

TEXTS = st.text("ab \n", min_size=1, max_size=12)
TURNS = st.lists(st.builds(Turn, TEXTS, TEXTS), max_size=6)


@given(TURNS, TEXTS, st.integers(0, 8), st.integers(-20, 120))
def test_prompt_is_the_longest_run_of_whole_last_turns(
    turns: list[Turn], asked: str, memory: int, limit: int
) -> None:
    prompt = prompt_of(turns, asked, memory=memory, limit=limit, length=len)
    runs = [
        "\n".join([text for turn in turns[i:] for text in (turn.question, turn.answer)] + [asked])
        for i in range(len(turns) + 1)
    ]
    kept = [
        text for i, text in enumerate(runs[:-1]) if len(turns) - i <= memory and len(text) <= limit
    ]
    assert prompt == (kept[0] if kept else asked)


def test_a_turn_that_does_not_fit_ends_the_memory() -> None:
    turns = [Turn("a", "b"), Turn("c" * 50, "d"), Turn("e", "f")]
    assert prompt_of(turns, "g", memory=3, limit=20, length=len) == "e\nf\ng"


# --- lines ---


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", None),
        (" \n ", None),
        ("how?", Asked("how?")),
        ("  how?\nand why? ", Asked("how?\nand why?")),
        ("-", Asked("-")),
        ("//etc is what?", Asked("/etc is what?")),
        ("/weight", Command("weight", "")),
        ("/weight  0.5 ", Command("weight", "0.5")),
        ("/context\tmy notes.txt", Command("context", "my notes.txt")),
        ("/quit ", Command("quit", "")),
    ],
)
def test_lines(line: str, expected: object) -> None:
    assert parse(line) == expected


@pytest.mark.parametrize("line", ["/", "/Weight 1", "/exit", "/retry me", "/weight=1"])
def test_commands_that_are_none(line: str) -> None:
    with pytest.raises(UsageError):
        parse(line)


@given(st.text())
def test_any_line_is_a_question_a_command_or_refused(line: str) -> None:
    try:
        found = parse(line)
    except UsageError:
        assert line.strip().startswith("/")
        return
    if isinstance(found, Command):
        assert found.name in COMMANDS
    else:
        assert (found is None) == (not line.strip())


def test_the_list_of_commands_fits_a_terminal() -> None:
    assert all(len(line) < 80 for line in listed().splitlines())


# --- settings of a conversation ---


def obey(talk: Conversation, line: str) -> str:
    command = parse(line)
    assert isinstance(command, Command)
    return talk.obey(command)


def test_values_are_set_and_told() -> None:
    talk = Conversation(DavidSettings(weight=0.5))
    for line in ("/weight 0.25", "/seed 7", "/steps 9", "/temperature 0", "/memory 2"):
        obey(talk, line)
    held = talk.settings
    assert (held.weight, held.seed, held.steps, held.temperature) == (0.25, 7, 9, 0)
    assert held.memory == 2
    assert obey(talk, "/weight") == "weight 0.25"
    assert obey(talk, "/seed random") == "seed random"
    assert talk.settings.seed is None
    told = obey(talk, "/help")
    assert "steps 9" in told
    assert all(f"/{name}" in told for name in COMMANDS)


@pytest.mark.parametrize(
    "line",
    [
        "/weight 1.5",
        "/weight nan",
        "/weight much",
        "/seed -1",
        "/seed 1.5",
        "/steps 0",
        "/temperature -1",
        "/memory some",
        "/contrast 1",
        "/context /nowhere/at/all",
        "/save",
        "/save early.txt",
    ],
)
def test_wrong_values_change_nothing(line: str) -> None:
    talk = Conversation(DavidSettings(weight=0.5, seed=3))
    before = talk.settings
    with pytest.raises(CollaborationError) as told:
        obey(talk, line)
    assert "\n" not in str(told.value)
    assert talk.settings == before
    assert talk.context == ""


def test_context_and_contrast_go_together(tmp_path: Path) -> None:
    file = tmp_path / "my notes.txt"
    file.write_text(CONTEXT)
    talk = Conversation(DavidSettings())
    assert obey(talk, "/context") == "no context"
    assert "my notes.txt" in obey(talk, f"/context {file}")
    obey(talk, "/contrast 0.5")
    with pytest.raises(BadFileError):
        obey(talk, f"/context {tmp_path}")
    assert (talk.context, talk.settings.contrast) == (CONTEXT, 0.5)
    assert obey(talk, "/context off") == "no context; contrast 0"
    assert (talk.context, talk.settings.contrast) == ("", 0)
    with pytest.raises(UsageError, match="context"):
        Conversation(DavidSettings(contrast=1))


def test_retry_takes_the_place_of_the_answer() -> None:
    talk = Conversation(DavidSettings())
    with pytest.raises(UsageError, match="retry"):
        talk.ask(None)
    one, two, three = (Turn("q", "1"), Turn("q", "2"), Turn("r", "3"))
    assert talk.ask("q") == ("q", ())
    talk.keep(one)
    assert talk.ask(None) == ("q", ())
    assert talk.turns == (one,), "nothing is lost before the second answer is there"
    talk.keep(two)
    assert talk.ask("r") == ("r", (two,))
    assert talk.ask(None) == ("r", (two,))
    talk.keep(three)
    assert talk.turns == (two, three)
    obey(talk, "/new")
    assert talk.turns == ()
    with pytest.raises(UsageError):
        talk.ask(None)


def test_saving(tmp_path: Path) -> None:
    context, file = tmp_path / "notes.txt", tmp_path / "talk.txt"
    context.write_text(CONTEXT)
    talk = Conversation(DavidSettings(), context=context)
    talk.ask("how\nmuch?")
    talk.keep(Turn("how\nmuch?", "a \x1blot", "seed 1"))
    obey(talk, f"/save {file}")
    assert file.read_text() == "> how\n> much?\n\na  lot\n\n(seed 1)\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    talk.keep(Turn("how\nmuch?", "b"))
    obey(talk, f"/save {file}")
    assert "b" in file.read_text()
    with pytest.raises(BadFileError, match="exists"):
        obey(talk, f"/save {context}")
    with pytest.raises(BadFileError, match="cannot write"):
        obey(talk, f"/save {tmp_path}/none/talk.txt")
    assert context.read_text() == CONTEXT


# --- the loop ---


class Scripted:
    """Lines that are known, and answers that are, each an error or none."""

    interactive = True

    def __init__(self, *lines: str, answers: tuple[BaseException | None, ...] = ()) -> None:
        self._lines = [*lines]
        self._answers = [*answers]
        self.asked: list[tuple[str, int]] = []
        self.hopeless: CollaborationError | None = None

    def read(self) -> str | None:
        return self._lines.pop(0) if self._lines else None

    def answer(self, talk: Any, asked: str, *, before: Any, view: Any) -> Any:
        self.asked.append((asked, len(before)))
        error = self._answers.pop(0) if self._answers else None
        if error is not None:
            raise error
        return embedded(question())

    def check(self) -> None:
        if self.hopeless is not None:
            raise self.hopeless


def held(script: Scripted) -> Conversation:
    talk = Conversation(DavidSettings())
    chat(script, talk, script, OnPipe(as_json=True))  # type: ignore[arg-type]
    return talk


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_failed_answer_is_told_and_can_be_retried(capsys: pytest.CaptureFixture[str]) -> None:
    gone = UnreachableError("nobody answers", remedy="Start it")
    script = Scripted("a", "b", "/retry", "/weight 9", "/retry", "/quit", "c", answers=(None, gone))
    talk = held(script)
    assert script.asked == [("a", 0), ("b", 1), ("b", 1), ("b", 1)]
    assert [turn.question for turn in talk.turns] == ["a", "b"]
    came = told(capsys)
    assert [one["type"] for one in came] == ["reply", "error", "reply", "error", "reply"]
    assert came[1]["reason"] == "UNREACHABLE"


def test_ctrl_c_stops_the_answer_of_a_person_and_the_program_of_a_pipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stops = (KeyboardInterrupt(), SessionCancelledError("interrupted"))
    talk = held(Scripted("a", "b", "c", answers=stops))
    assert [turn.question for turn in talk.turns] == ["c"]
    assert capsys.readouterr().err.count("stopped") == 2
    for stop in stops:
        script = Scripted("a", "b", answers=(stop,))
        script.interactive = False
        with pytest.raises(SessionCancelledError):
            held(script)


def test_without_models_there_is_no_conversation() -> None:
    script = Scripted("a", "b", answers=(BadModelError("none"),))
    script.hopeless = BadModelError("none")
    with pytest.raises(BadModelError):
        held(script)


def test_an_unfinished_answer_is_no_turn(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Scripted("a")
    unfinished = replace(embedded(question()), finish_reason=FinishReason.DRAINING)
    monkeypatch.setattr(script, "answer", lambda *_, **__: unfinished)
    assert held(script).turns == ()
    assert [one.get("reason") for one in told(capsys)] == [None, "DRAINING"]


def test_lines_of_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("david_client.chat.pipe.MAX_TEXT_BYTES", 8)
    pipe = Pipe(io.BytesIO(b"one\r\n\n\xff\n" + b"x" * 30 + b"\nlast"))
    assert pipe.read() == "one\r\n"
    assert pipe.read() == "\n"
    for _ in range(2):
        with pytest.raises(BadDataError):
            pipe.read()
    assert [pipe.read(), pipe.read()] == ["last", None]


def test_sigterm_has_its_say_when_it_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(number: int) -> None:
        os.kill(os.getpid(), number)
        await asyncio.sleep(30)

    def leave(*_: object) -> None:
        raise SystemExit(130)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        with pytest.raises(SystemExit):
            run_interruptible(work(signal.SIGTERM))
        with pytest.raises(SessionCancelledError):
            run_interruptible(work(signal.SIGINT))
    finally:
        signal.signal(signal.SIGTERM, before)


# --- real answers ---


def test_a_long_conversation_leaves_room_for_context_and_answer(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = tmp_path / "notes.txt"
    context.write_text(" ".join([CONTEXT] * 4))
    settings = DavidSettings(
        model=str(pair.david), goliath_model=str(pair.goliath), steps=1, memory=100, max_tokens=64
    )
    talk = Conversation(settings, context=context)
    talk.turns = (Turn(PROMPT, CONTEXT),) * 90
    wordy = " ".join([CONTEXT] * 40)
    lines = Pipe(io.BytesIO(f"{PROMPT}\n{wordy}\n/context off\n{PROMPT}\n".encode()))
    with Answers(settings) as answers:
        chat(lines, talk, answers, OnPipe(as_json=True))
    first, refused, last = told(capsys)
    assert first["type"] == last["type"] == "reply"
    assert (refused["type"], refused["reason"]) == ("error", "BAD_DATA")
