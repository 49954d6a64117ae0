"""Programs of ours as child processes, with what they need: certificates, no settings of others."""

import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import (
    BadDataError,
    CollaborationError,
    ExitCode,
    IncompatibleError,
    InternalError,
    NotPermittedError,
    OutOfTimeError,
    SessionCancelledError,
    UnreachableError,
    UsageError,
)
from common.program.console import note
from common.wire.tls import TlsFiles

MODULES = {"goliath": "goliath_server.cli", "david": "david_client.cli"}
"""What runs each program; this side starts the other one, and never imports it."""
_GRACE_S = 10.0
"""Longest time in which a program ends when it is asked to."""
_LINE_BYTES = 2**24
"""Longest line of a program's output."""
_KEPT_LINES = 20
_ERRORS: dict[int, type[CollaborationError]] = {
    ExitCode.USAGE: UsageError,
    ExitCode.UNREACHABLE: UnreachableError,
    ExitCode.REFUSED: NotPermittedError,
    ExitCode.INCOMPATIBLE: IncompatibleError,
    ExitCode.OUT_OF_TIME: OutOfTimeError,
    ExitCode.BAD_INPUT: BadDataError,
    ExitCode.INTERRUPTED: SessionCancelledError,
}
"""What a program's exit code means for who started it."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """What both sides of a trusted connection need, made for one run."""

    server: TlsFiles
    client: TlsFiles


def make_certificates(folder: Path) -> Certificates:
    """An authority, a server on loopback and a client that it signed, as PEM files in `folder`,
    which nobody else should be able to read; the authority's own key is kept nowhere.
    """
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))

    def files(name: str, *hosts: str) -> TlsFiles:
        made = authority.issue_cert(*hosts)
        paths = TlsFiles(folder / f"{name}.pem", folder / f"{name}.key", folder / "authority.pem")
        paths.key.touch(mode=0o600)
        made.private_key_pem.write_to_path(str(paths.key))
        paths.certificate.write_bytes(b"".join(one.bytes() for one in made.cert_chain_pems))
        return paths

    return Certificates(files("server", "127.0.0.1", "localhost"), files("client", "david.bench"))


class Program:
    """A running program that talks in lines of JSON."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, *, verbose: bool) -> None:
        """Follow a process whose three streams are pipes."""
        self._name, self._process, self._verbose = name, process, verbose
        self._told: deque[str] = deque(maxlen=_KEPT_LINES)
        self._listening = asyncio.create_task(self._listen())

    async def ask(self, record: dict[str, Any]) -> dict[str, Any]:
        """Send one object, and read the next one.

        Raises:
            CollaborationError: the program ended instead; its last message, by its exit code.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(record).encode() + b"\n")
            await self._process.stdin.drain()
        except OSError:
            pass  # it has ended, and the read says so
        return await self.read()

    async def read(self) -> dict[str, Any]:
        """The next object that it prints.

        Raises:
            CollaborationError: as `ask`.
        """
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise await self._error()
        record: dict[str, Any] = json.loads(line)
        return record

    async def end(self) -> None:
        """Have it end, by force if it takes long, or if this is cancelled."""
        try:
            if self._process.returncode is None:
                self._process.terminate()
            async with asyncio.timeout(_GRACE_S):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            if self._process.returncode is None:
                self._process.kill()
            self._listening.cancel()
        await self._process.wait()

    async def _listen(self) -> None:
        """Keep the last lines of what it tells people: a full pipe would stop it."""
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            text = line.decode("utf-8", "replace").rstrip("\n")
            self._told.append(text)
            if self._verbose:
                note(f"[{self._name}] {text}")

    async def _error(self) -> CollaborationError:
        """What the end of the program means."""
        code = await self._process.wait()
        await asyncio.wait({self._listening})
        lines, mark = list(self._told), f"{self._name}: "
        at = max((i for i, line in enumerate(lines) if line.startswith(mark)), default=None)
        kind = _ERRORS.get(code, InternalError)
        if at is None:  # nothing of its own: a usage that is refused, a library's last words
            last = next((line for line in reversed(lines) if any(map(str.isalnum, line))), "")
            return kind(f"{self._name} ended with exit code {code}: {last.strip('│ ')}")
        remedy = " ".join(line.strip() for line in lines[at + 1 :] if line.startswith("  "))
        return kind(lines[at].removeprefix(mark), remedy=remedy)


@asynccontextmanager
async def running(
    name: str,
    arguments: Sequence[object],
    *,
    folder: Path,
    settings: dict[str, str],
    threads: int,
    verbose: bool,
) -> AsyncIterator[Program]:
    """A program as long as this lasts; it ends with it, whatever happens.

    Args:
        name: "goliath" or "david".
        arguments: its command and options, but for the settings file.
        folder: gets that file.
        settings: what is in it. Nothing of this user's own settings and variables holds: a figure
            shall be what its row says.
        threads: of one operation, in all its libraries.
        verbose: whether its messages to people are shown.
    """
    file = folder / f"{name}.toml"
    file.write_text(
        "".join(
            f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in settings.items()
        )
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GOLIATH_", "DAVID_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", f"from {MODULES[name]} import main; main()"),
        *map(str, arguments),
        *("--config", str(file), "--threads", str(threads)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=kept | {"OMP_NUM_THREADS": str(threads)},
        limit=_LINE_BYTES,
        # Ctrl-C at a terminal reaches this program alone, which ends its children in order.
        start_new_session=True,
    )
    program = Program(name, process, verbose=verbose)
    try:
        yield program
    finally:
        await program.end()
