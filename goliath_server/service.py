"""The gRPC handlers of the server: who is let in, and how a session ends."""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import grpc
import grpc.aio
import structlog

from common.collaboration.batcher import Batcher
from common.collaboration.certification import AskCaps
from common.collaboration.driver import Drive
from common.collaboration.settings import Limits
from common.denoising.plan import FinishReason
from common.denoising.streams import Philox
from common.errors import (
    CollaborationError,
    DrainingError,
    LimitExceededError,
    OutOfTimeError,
    ServerFullError,
    SessionCancelledError,
    spec_of,
)
from common.pb import collaboration_pb2 as pb
from common.pb import collaboration_pb2_grpc as rpc
from common.wire.channels import peer_address, translated_errors
from common.wire.conversions import server_info_to_proto
from common.wire.frames import Open
from goliath_server.remote import Remote
from goliath_server.session import Host, Session, open_session
from goliath_server.stream import Stream

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Caps:
    """What the server takes on at a time, and for how long."""

    sessions: int = 8
    """Sessions in all."""
    streams_per_peer: int = 4
    """Sessions of one peer: of one certificate's names, or of one address."""
    session_s: float = 3600.0
    """Longest life of a session, in seconds."""
    open_s: float = 10.0
    """Seconds in which the first frame must come."""
    settle_s: float = 2.0
    """Seconds in which a client may say that the answer arrived."""
    last_step_s: float = 10.0
    """Seconds in which the step in flight must end when the grace of `drain` is over."""


class CollaborationService(rpc.CollaborationServiceServicer):
    """Sessions of one model. Refuses all until `begin`, and new ones after `drain`."""

    def __init__(self, *, limits: Limits, caps: Caps, software_version: str) -> None:
        """Know the limits; the model comes later."""
        self._limits = limits
        self._caps = caps
        self._software_version = software_version
        self._host: Host | None = None
        self._batcher: Batcher | None = None
        self._per_peer: Counter[str] = Counter()
        self._drives: dict[Drive, Stream] = {}
        self._draining = False
        self._hurry: float | None = None
        """When the grace was over, on the loop's clock."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._pumps: set[asyncio.Task[None]] = set()

    def begin(self, host: Host, batcher: Batcher) -> None:
        """Take sessions from now on."""
        self._host, self._batcher = host, batcher

    async def drain(self, grace_s: float) -> None:
        """Take no new session, and let those that run finish; after the grace they end with their
        step in flight, and wait for no contribution.

        Returns when all have ended, or `Caps.last_step_s` after the grace.
        """
        self._draining = True
        if await self._ended_within(grace_s):
            return
        log.warning("drain.cut", extra={"sessions": self._per_peer.total()})
        self._hurry = asyncio.get_running_loop().time()
        for drive, stream in self._drives.items():
            _hurry(drive, stream, self._hurry)
        if not await self._ended_within(self._caps.last_step_s):
            log.warning("drain.incomplete", extra={"sessions": self._per_peer.total()})

    async def _ended_within(self, budget_s: float) -> bool:
        """Whether all sessions end in this time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(budget_s):
                await self._idle.wait()
        return self._idle.is_set()

    async def GetServerInfo(
        self, request: pb.GetServerInfoRequest, context: Context
    ) -> pb.GetServerInfoResponse:
        """What this server offers."""
        async with translated_errors(context):
            host, _ = self._ready()
            return server_info_to_proto(host.info(software_version=self._software_version))

    async def Collaborate(  # type: ignore[override]
        self, request_iterator: Any, context: Context
    ) -> None:
        """One session on one stream."""
        async with translated_errors(context):
            with self._admitted(context) as peer:
                stream = Stream(context, self._limits)
                pump = asyncio.create_task(stream.pump())
                self._pumps.add(pump)
                pump.add_done_callback(self._pumps.discard)
                try:
                    await self._guarded(stream, peer, peer_address(context.peer()))
                finally:
                    stream.close()

    async def _guarded(self, stream: Stream, peer: str, address: str) -> None:
        """A session whose end stands in a frame and in the log."""
        with structlog.contextvars.bound_contextvars(peer=peer, address=address):
            try:
                async with asyncio.timeout(self._caps.session_s):
                    await self._session(stream)
            except asyncio.CancelledError:
                log.info("session.lost")
                raise
            except SessionCancelledError:
                log.info("session.cancelled")
                raise
            except TimeoutError as error:
                late = OutOfTimeError(
                    f"the session passed its {self._caps.session_s:g} s", remedy="Begin a new one"
                )
                await stream.fail(late)
                raise late from error
            except CollaborationError as error:
                log.info("session.failed", extra={"reason": spec_of(error).reason})
                await stream.fail(error)
                raise

    async def _session(self, stream: Stream) -> None:
        session = await self._opened(stream)
        drive = self._drive(session, stream)
        self._drives[drive] = stream
        if self._hurry is not None:
            _hurry(drive, stream, self._hurry)
        try:
            with structlog.contextvars.bound_contextvars(session=session.opened.session_id[:8]):
                agreed = {"weight": session.mine.weight, "seed": session.opened.settings.seed}
                log.info("session.opened", extra=agreed)
                result = await drive.run()
                completed = session.completed(result, uncertified=drive.tally.uncertified)
                await stream.send(
                    replace(completed, bytes_received=stream.received, bytes_sent=stream.sent)
                )
                log.info(
                    "session.completed",
                    extra={
                        "reason": completed.finish_reason.value,
                        "tokens": len(completed.ids),
                        "dropped": session.dropped,
                        "received": stream.received,
                        "sent": stream.sent,
                    },
                )
                await stream.settle(self._caps.settle_s)
        finally:
            del self._drives[drive]

    def _drive(self, session: Session, stream: Stream) -> Drive:
        """What runs a session, with its client as the one who takes part."""
        _, batcher = self._ready()
        remote, opened = Remote(session, stream), session.opened
        caps = AskCaps(opened.limits.max_ask_ids_per_position, opened.limits.max_ask_ids)
        drive = Drive(
            session.plan,
            batcher.predict,
            {session.contributor_id: remote},
            stream=Philox(opened.settings.seed),
            caps=caps if opened.settings.certify else None,
            threads=True,
        )
        remote.end, remote.ending = drive.end, lambda: drive.ending is not None
        return drive

    async def _opened(self, stream: Stream) -> Session:
        until = asyncio.get_running_loop().time() + self._caps.open_s
        frame = await stream.receive(until=until)
        if not isinstance(frame, Open):
            raise OutOfTimeError(
                f"no first frame within {self._caps.open_s:g} s", remedy="Send Open at once"
            )
        host, _ = self._ready()
        # Tokenising a long prompt takes a while: not on the event loop.
        session = await asyncio.to_thread(
            open_session, frame, host, session_id=secrets.token_urlsafe(16)
        )
        await stream.open(session.opened, session.mine)
        return session

    def _ready(self) -> tuple[Host, Batcher]:
        if self._host is None or self._batcher is None:
            raise ServerFullError(
                "the model is still loading: no session can begin yet",
                remedy="Try again in a moment",
            )
        return self._host, self._batcher

    @contextmanager
    def _admitted(self, context: Context) -> Iterator[str]:
        """A place on this server for one session, under the peer's name."""
        peer = _identity(context)
        self._ready()
        if self._draining:
            raise DrainingError("the server is shutting down", remedy="Try again later")
        if self._per_peer.total() >= self._caps.sessions:
            raise ServerFullError(
                f"all {self._caps.sessions} sessions are taken", remedy="Try again in a moment"
            )
        if self._per_peer[peer] >= self._caps.streams_per_peer:
            raise LimitExceededError(
                f"sessions of one peer: at most {self._caps.streams_per_peer} at a time",
                remedy="Wait for one of your sessions to end",
            )
        self._per_peer[peer] += 1
        self._idle.clear()
        try:
            yield peer
        finally:
            self._per_peer[peer] -= 1
            if not self._per_peer[peer]:
                del self._per_peer[peer]
            if not self._per_peer:
                self._idle.set()


def _hurry(drive: Drive, stream: Stream, until: float) -> None:
    """End after the step in flight, and wait for its contribution no longer than until then."""
    drive.end(FinishReason.DRAINING)
    stream.hurry(until)


def _identity(context: Context) -> str:
    """The names in the peer's certificate, vouched for by its authority; without TLS its host, of
    which all connections count together.
    """
    names = (context.auth_context() or {}).get("x509_subject_alternative_name")
    if names:
        return ",".join(sorted(name.decode("utf-8", "replace") for name in names))
    return peer_address(context.peer()).rpartition(":")[0]
