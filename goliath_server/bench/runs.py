"""A bench's run: a server, a client and a client without a server, each a process of its own, with
the proxy between the first two.
"""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from common.errors import CollaborationError, UnreachableError
from common.evaluation.generation import question_seed
from common.evaluation.pair import Question
from common.models.registry import find
from common.program.console import note
from common.wire.channels import check_security, split_address
from common.wire.tls import TlsFiles
from goliath_server.bench.figures import Answer, LatencyMode, WireMode, latency_row, wire_row
from goliath_server.bench.processes import Certificates, Program, make_certificates, running
from goliath_server.bench.proxy import Proxy

Progress = Callable[[str, int, int], None]
"""Called with what is asked, how many answers are there, and of how many."""
_WARM_UP_STEPS = 2


@dataclass(frozen=True, slots=True)
class Remote:
    """A server that runs already."""

    address: str
    """HOST:PORT."""
    tls: TlsFiles | None
    """What the client shows, and whom it trusts; None for plain text, on loopback only."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What all rows of a bench share."""

    questions: Sequence[Question]
    steps: int
    """Denoising steps of a block, at least 2."""
    seed: int
    """From it comes each question's own, see `question_seed`."""
    goliath: str
    """The large model, name or folder: served here if there is no remote one, and in process."""
    david: str
    """The small model, name or folder."""
    threads: int
    """CPU threads of one operation in each process."""
    device: str
    """A torch device, the same in each process."""
    remote: Remote | None = None
    verbose: bool = False
    """Whether the other programs' messages to people are shown."""

    def stated(self) -> dict[str, Any]:
        """What a row tells of it."""
        return {
            "prompts": len(self.questions),
            "steps": self.steps,
            "threads": self.threads,
            "device": self.device,
            "goliath": self.remote.address if self.remote else ":started here:",
        }


class Rig:
    """The programs of a run, all awake but the client without a server, which comes when asked."""

    def __init__(
        self,
        setup: Setup,
        address: str,
        proxy: Proxy,
        david: Program,
        folder: Path,
        stack: AsyncExitStack,
    ) -> None:
        """Use `rig`."""
        self.address = address
        """HOST:PORT of the server."""
        self.proxy = proxy
        self._setup, self._david, self._folder, self._stack = setup, david, folder, stack
        self._embedded: Program | None = None

    async def ask(self, question: Question, options: dict[str, Any]) -> Answer:
        """Ask over the wire, with a connection of its own.

        Raises:
            CollaborationError: as the client reported it.
        """
        try:
            reply = await self._david.ask(self._line(question, options))
        except CollaborationError as error:
            if self.proxy.nobody:  # to the client it was the proxy that hung up
                raise _nobody(self.address) from error
            message = error.message.replace(self.proxy.address, self.address)
            raise type(error)(message, remedy=error.remedy) from error
        return Answer(reply, await self.proxy.settled())

    async def ask_here(self, question: Question, options: dict[str, Any]) -> dict[str, Any]:
        """Ask in process.

        Raises:
            CollaborationError: as the client reported it.
        """
        if self._embedded is None:
            note("bench: waking the pair in one process")
            pair = await self._stack.enter_async_context(_david(self._setup, self._folder, ()))
            await pair.ask(self._line(question, {"steps": _WARM_UP_STEPS}))
            self._embedded = pair
        return await self._embedded.ask(self._line(question, options))

    def _line(self, question: Question, options: dict[str, Any]) -> dict[str, Any]:
        return {
            "prompt": question.instruction,
            "context": question.context,
            "seed": question_seed(self._setup.seed, question),
            "steps": self._setup.steps,
            **options,
        }


@asynccontextmanager
async def rig(setup: Setup) -> AsyncIterator[Rig]:
    """Start what a run needs, and end it afterwards, whatever happens.

    Raises:
        UnreachableError: nobody answers at the address.
        CollaborationError: a program could not start; as it reported.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="goliath-bench-")))
        if setup.remote is None:
            certificates = make_certificates(folder)
            address = await _serve(setup, certificates, folder, stack)
            tls: TlsFiles | None = certificates.client
        else:
            address, tls = setup.remote.address, setup.remote.tls
            # The client connects to the proxy: what is safe is decided by where that one goes.
            check_security(address, tls=tls, insecure=tls is None)
        host, port = split_address(address)
        proxy = await stack.enter_async_context(Proxy(host, port))
        if not await proxy.reaches():
            raise _nobody(address)
        note("bench: waking David")
        place = _place(proxy.address, tls, host)
        david = await stack.enter_async_context(_david(setup, folder, place))
        made = Rig(setup, address, proxy, david, folder, stack)
        # The first pass of a model is slow, and no row shall have it.
        await made.ask(setup.questions[0], {"steps": _WARM_UP_STEPS})
        yield made


async def _serve(
    setup: Setup, certificates: Certificates, folder: Path, stack: AsyncExitStack
) -> str:
    """Start a server; its address."""
    note("bench: starting a server")
    files = certificates.server
    server = await stack.enter_async_context(
        running(
            "goliath",
            (
                *("serve", setup.goliath, "--listen", "127.0.0.1:0", "--json"),
                *("--tls-cert", files.certificate, "--tls-key", files.key),
                *("--client-ca", files.authority, "--device", setup.device),
            ),
            folder=folder,
            settings={},
            threads=setup.threads,
            verbose=setup.verbose,
        )
    )
    return str((await server.read())["address"])


def _place(address: str, tls: TlsFiles | None, name: str) -> tuple[object, ...]:
    """Options of `david` for the proxy's address; the certificate is that of the server behind."""
    if tls is None:
        return ("--goliath", address, "--insecure")
    return (
        *("--goliath", address, "--server-name", name, "--server-ca", tls.authority),
        *("--tls-cert", tls.certificate, "--tls-key", tls.key),
    )


def _david(
    setup: Setup, folder: Path, place: tuple[object, ...]
) -> AbstractAsyncContextManager[Program]:
    """David, with these options for the way to a server, or with Goliath in its process."""
    return running(
        "david",
        ("batch", "-", "--json", "--model", setup.david, "--device", setup.device, *place),
        folder=folder,
        settings={"goliath_model": setup.goliath},
        threads=setup.threads,
        verbose=setup.verbose,
    )


def _nobody(address: str) -> UnreachableError:
    return UnreachableError(
        f"nobody answers at {address}",
        remedy="Check the address, and that a Goliath runs there (goliath serve)",
    )


async def wire(
    setup: Setup, modes: Iterable[WireMode], *, progress: Progress
) -> AsyncIterator[dict[str, Any]]:
    """The rows of `bench wire`, each as it is done.

    Raises:
        CollaborationError: any of its kinds.
    """
    known: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    here: bool | None = None
    async with rig(setup) as made:
        for mode in modes:
            name = f"{mode.codec}, {mode.projection}, temperature {mode.temperature:g}"
            answers = []
            for number, question in enumerate(setup.questions):
                progress(name, number, len(setup.questions))
                answers.append(await made.ask(question, mode.asked))
            progress(name, len(setup.questions), len(setup.questions))
            references = None
            here = _is_here(setup, answers[0]) if here is None else here
            if here:
                key = tuple(sorted(mode.reference.items()))
                if key not in known:
                    known[key] = [await made.ask_here(q, mode.reference) for q in setup.questions]
                references = known[key]
            yield wire_row(mode, answers, references) | setup.stated()


async def latency(
    setup: Setup, modes: Sequence[LatencyMode], rtts_ms: Sequence[float], *, progress: Progress
) -> AsyncIterator[tuple[dict[str, Any], list[str]]]:
    """The rows of `bench latency`, but for the quality of the text, each with its answers' texts.

    Args:
        setup: what all rows share.
        modes: what is asked.
        rtts_ms: what the proxy adds to a round trip, in milliseconds; it adds nothing first, also
            where 0 is not among them.
        progress: called with how far it is.

    Raises:
        CollaborationError: any of its kinds.
    """
    references: list[dict[str, Any]] | None = None
    here: bool | None = None
    async with rig(setup) as made:
        for mode in modes:
            near: list[Any] = []
            for rtt in sorted({0.0, *rtts_ms}):
                made.proxy.delay_s = rtt / 2000
                name = f"{mode.name}, {rtt:g} ms"
                answers = []
                for number, question in enumerate(setup.questions):
                    progress(name, number, len(setup.questions))
                    answers.append(await made.ask(question, dict(mode.options)))
                progress(name, len(setup.questions), len(setup.questions))
                replies = [answer.reply for answer in answers]
                near = near or replies
                here = _is_here(setup, answers[0]) if here is None else here
                if here and references is None:
                    references = [await made.ask_here(q, {}) for q in setup.questions]
                if rtt in rtts_ms:
                    row = latency_row(mode, rtt, replies, near=near, references=references)
                    row["connect_ms"] = 1000 * median(made.proxy.connects)
                    yield row | setup.stated(), [reply["text"] for reply in replies]


def _is_here(setup: Setup, answer: Answer) -> bool:
    """Whether the model that answered is the one that this machine can run in process, by its
    name alone.
    """
    if setup.remote is None:
        return True
    served = answer.reply["goliath"]
    try:
        here = find(setup.goliath).name
    except CollaborationError:
        here = ""
    if served != here:
        note(f"bench: the server has {served}, which is not here: nothing to compare it with")
    return bool(served == here)
