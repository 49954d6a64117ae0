"""`david chat` as a program: pipes, terminals, signals, a server that goes away, and privacy."""

import contextlib
import io
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common.errors import ExitCode
from common.pb import collaboration_pb2 as pb
from david_client.chat.answers import Answers
from david_client.chat.conversation import Conversation
from david_client.chat.loop import chat
from david_client.chat.pipe import Pipe
from david_client.chat.show import OnPipe
from david_client.place import Meter
from david_client.settings import DavidSettings
from tests.programs import CODE, Pair, address_of, serve
from tests.serving import PROMPT, embedded, question

pytestmark = pytest.mark.usefixtures("own_settings")
READY = "\x1b[?2004h"
"""A prompt is drawn: pasting is marked from here on."""
CTRL_C, CTRL_D = "\x03", "\x04"


@pytest.fixture(scope="module")
def address(pair: Pair) -> Iterator[str]:
    with serve(pair) as server:
        yield address_of(server)


@contextlib.contextmanager
def conversation(
    pair: Pair, *arguments: object, on_terminal: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    program = [sys.executable, "-c", CODE.format(side="david_client"), "chat"]
    program += [str(argument) for argument in ("--model", pair.david, *arguments)]
    if on_terminal:
        spawn = "import os, pty, sys; s = pty.spawn(sys.argv[1:])"
        end = "sys.exit(os.waitstatus_to_exitcode(s) % 256)"
        program = [sys.executable, "-c", f"{spawn}; {end}", *program]
    plain = {"OMP_NUM_THREADS": "1", "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    with subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if on_terminal else subprocess.PIPE,
        env=os.environ | plain | {"DAVID_GOLIATH_MODEL": str(pair.goliath)},
        bufsize=0,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def piped(pair: Pair, *arguments: object, lines: tuple[str, ...]) -> Any:
    with conversation(pair, *arguments) as child:
        out, err = child.communicate("".join(f"{line}\n" for line in lines).encode(), timeout=100)
    assert b"Traceback" not in err
    return SimpleNamespace(code=child.returncode, out=out.decode().splitlines(), err=err.decode())


def says(child: subprocess.Popen[bytes], line: str) -> Any:
    """What comes back for a line, as JSON."""
    assert child.stdout is not None
    types(child, f"{line}\n")
    return json.loads(child.stdout.readline())


def seen(child: subprocess.Popen[bytes], text: str, *, timeout_s: float = 100) -> str:
    """The screen until a text appears on it."""
    assert child.stdout is not None
    screen, until = "", time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while text not in screen:
            ready = selector.select(until - time.monotonic())
            came = os.read(child.stdout.fileno(), 2**16) if ready else b""
            assert came, f"expected {text!r}, got {screen!r}"
            screen += came.decode("utf-8", "replace")
    return screen


def types(child: subprocess.Popen[bytes], keys: str) -> None:
    assert child.stdin is not None
    child.stdin.write(keys.encode())


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("option", "value", "lag", "every"),
    [("--lag", "2", 2, None), ("--every", "1:3:1", 0, {"first": 1, "period": 3, "last": 1})],
)
def test_latency_in_a_conversation(
    pair: Pair, option: str, value: str, lag: int, every: dict[str, int] | None
) -> None:
    came = piped(pair, "--steps", 4, option, value, "--json", lines=(PROMPT,))
    assert came.code == 0
    (reply,) = map(json.loads, came.out)
    assert (reply["lag"], reply["every"]) == (lag, every)


@pytest.mark.timeout(300)
def test_a_piped_conversation(pair: Pair) -> None:
    lines = ("/seed 5", PROMPT, "", "/steps none", "/seed 6", "/retry", "/memory 1", PROMPT)
    came = piped(pair, "--steps", 4, lines=lines)
    assert came.code == 0
    first, again, last = came.out
    assert "steps" in came.err
    assert first == embedded(question()).text
    assert again == embedded(question(seed=6)).text
    longer = "\n".join((PROMPT, again, PROMPT))
    assert last == embedded(question(seed=6, prompt=longer)).text


@pytest.mark.timeout(300)
def test_a_conversation_outlives_its_server(pair: Pair) -> None:
    with serve(pair) as server:
        address = address_of(server)
        place = ("--goliath", address, "--insecure", "--steps", 4, "--seed", 5, "--json")
        with conversation(pair, *place) as david:
            assert says(david, PROMPT)["tokens"] == list(embedded(question()).ids)
            server.kill()
            server.wait()
            assert says(david, PROMPT)["reason"] == "UNREACHABLE"
            with serve(pair, "--listen", address) as again:
                assert address_of(again) == address
                assert says(david, "/retry")["tokens"] == list(embedded(question()).ids)
                out, err = david.communicate(timeout=60)
    assert (david.returncode, out) == (0, b""), err


@pytest.mark.timeout(300)
def test_ctrl_c_at_a_terminal_stops_the_answer_and_not_the_program(pair: Pair) -> None:
    with conversation(pair, "--steps", 60_000, "--no-history", on_terminal=True) as david:
        assert "Ctrl-C stops" in seen(david, READY)
        types(david, f"{PROMPT}\r")
        seen(david, "/60000")
        types(david, CTRL_C)
        assert "/retry asks again" in seen(david, READY)
        types(david, "/steps 2\r")
        assert "steps 2" in seen(david, READY)
        types(david, "/retry\r")
        assert "2 steps, weight 0.75" in seen(david, READY)
        types(david, CTRL_D)
        assert david.wait(60) == 0


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds the program in /proc")
@pytest.mark.timeout(300)
def test_sigterm_at_a_terminal_ends_the_program(pair: Pair, address: str) -> None:
    place = ("--goliath", address, "--insecure", "--steps", 1000)
    with conversation(pair, *place, on_terminal=True) as david:
        seen(david, READY)
        types(david, f"{PROMPT}\r")
        seen(david, "/1000")
        inside = Path(f"/proc/{david.pid}/task/{david.pid}/children").read_text()
        os.kill(int(inside), signal.SIGTERM)
        assert david.wait(60) == ExitCode.INTERRUPTED


# --- privacy ---

SECRET = "the bread is of cold egg and butter"


def sent(
    pair: Pair, address: str, context: Path | None, monkeypatch: pytest.MonkeyPatch
) -> tuple[Conversation, list[tuple[str, Any]]]:
    """A conversation of two questions, and its messages to the server by their kind."""
    messages: list[tuple[str, Any]] = []

    def keep(meter: Meter, message: Any) -> Any:
        kind = isinstance(message, pb.CollaborateRequest) and message.WhichOneof("frame")
        messages.append((kind or "info", message))
        return message

    monkeypatch.setattr(Meter, "sent", keep)
    settings = DavidSettings(
        goliath=address, insecure=True, model=str(pair.david), steps=3, seed=5, memory=3
    )
    talk = Conversation(settings, context=context)
    lines = Pipe(io.BytesIO(f"{PROMPT}\nwhat is it\n/save {pair.david}/talk.txt\n".encode()))
    with Answers(settings) as answers:
        chat(lines, talk, answers, OnPipe(as_json=False))
    return talk, messages


@pytest.mark.timeout(300)
def test_no_byte_of_the_context_leaves(
    pair: Pair, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = tmp_path / "notes.txt"
    context.write_text(SECRET)
    talk, private = sent(pair, address, context, monkeypatch)
    saved = pair.david / "talk.txt"
    assert SECRET not in saved.read_text()
    saved.unlink()
    plain_talk, plain = sent(pair, address, None, monkeypatch)
    assert len(talk.turns) == len(plain_talk.turns) == 2
    # Beside the contributions, which do depend on it, a context changes nothing that is sent.
    assert of_kind(private, "contribution") != of_kind(plain, "contribution")
    assert of_kind(private, "open")[0] == of_kind(plain, "open")[0]
    assert all(SECRET.encode() not in message.SerializeToString() for _, message in private)
    first, second = (message.messages[0].content for message in of_kind(private, "open"))
    assert first == PROMPT
    assert second == "\n".join((PROMPT, talk.turns[0].answer, "what is it"))


def of_kind(messages: list[tuple[str, Any]], kind: str) -> list[Any]:
    return [getattr(message, kind) for name, message in messages if name == kind]
