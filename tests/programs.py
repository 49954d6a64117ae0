"""The two programs as processes of their own, and what they told."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

CODE = "import sys; from {side}.cli import main; main()"


class Pair(NamedTuple):
    goliath: Path
    david: Path


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@contextlib.contextmanager
def process(side: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", CODE.format(side=side), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as started:
        try:
            yield started
        finally:
            if started.poll() is None:
                started.kill()


def serve(
    pair: Pair, *more: object, host: str = "127.0.0.1", safety: Sequence[object] = ("--insecure",)
) -> Any:
    listen = ("--listen", f"{host}:0", *safety, "--json", "--log-format", "json")
    return process("goliath_server", "serve", pair.goliath, *listen, *more)


def address_of(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    told = json.loads(server.stdout.readline())
    assert told["type"] == "serving"
    return str(told["address"])


def event(server: subprocess.Popen[str], *names: str) -> dict[str, Any]:
    """The next event of one of these names in the server's log."""
    assert server.stderr is not None
    for line in server.stderr:
        if line.startswith("{"):
            record: dict[str, Any] = json.loads(line)
            if record["event"] in names:
                return record
    raise AssertionError(f"the log ended without {names}")


def ended(child: subprocess.Popen[str]) -> Outcome:
    out, err = child.communicate(timeout=60)
    assert "Traceback" not in err, err
    return Outcome(child.returncode, out, err)
