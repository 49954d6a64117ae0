"""The stream of one call as frames.

One pump task moves messages into a bounded queue; budgets are on the queue, never on a read: an
expired read would end the whole call.
"""

import asyncio
import logging
from typing import Any

import grpc
import grpc.aio

from common.collaboration.settings import ContributorSettings, Limits
from common.errors import CollaborationError, InvalidFrameError, public_text, spec_of
from common.wire.conversions import client_frame_from_proto, server_frame_to_proto
from common.wire.frames import ClientFrame, Failed, Opened, ServerFrame, Step

log = logging.getLogger(__name__)

FRAME_PREFIX_BYTES = 5
"""What gRPC puts before each message."""

_QUEUED_MESSAGES = 4
_LARGE_MESSAGE_BYTES = 2**16
"""Messages above this are checked in a thread."""
_NOTHING = object()

Context = grpc.aio.ServicerContext[Any, Any]


class Stream:
    """The frames of one call. A `remote.Peer`."""

    def __init__(self, context: Context, limits: Limits) -> None:
        """Read by the limits; `pump` must run as a task."""
        self._context = context
        self._limits = limits
        self._opened: Opened | None = None
        self._mine: ContributorSettings | None = None
        self._queue: asyncio.Queue[Any | None] = asyncio.Queue(_QUEUED_MESSAGES)
        self._clock: asyncio.Timeout | None = None
        self._hurry: float | None = None
        self._closed = False
        self._moment = (0, 0)
        self.received = 0
        """Bytes of messages that came, with gRPC's prefix."""
        self.sent = 0
        """Bytes of messages that went, with gRPC's prefix."""

    async def pump(self) -> None:
        """Move messages into the queue until the stream or the session ends; None marks the end."""
        try:
            while not self._closed:
                message = await self._context.read()
                if message is grpc.aio.EOF:
                    break
                self.received += message.ByteSize() + FRAME_PREFIX_BYTES
                await self._queue.put(message)
        except Exception as error:  # gRPC's own, or whatever the parser of messages raises
            log.debug("stream.broken", extra={"kind": type(error).__name__})
        if not self._closed:
            await self._queue.put(None)

    def close(self) -> None:
        """Take nothing more; a pump that waits for room goes on and ends."""
        self._closed = True
        while not self._queue.empty():
            self._queue.get_nowait()

    async def open(self, opened: Opened, mine: ContributorSettings) -> None:
        """Send the first frame; later ones are read by what was agreed, with all and with this
        client.
        """
        await self.send(opened)
        self._opened, self._mine = opened, mine

    async def send(self, frame: ServerFrame) -> None:
        """Write a frame."""
        if isinstance(frame, Step):
            self._moment = (frame.block, frame.step)
        message = server_frame_to_proto(frame, opened=self._opened)
        await self._context.write(message)
        self.sent += message.ByteSize() + FRAME_PREFIX_BYTES

    async def receive(self, *, until: float | None) -> ClientFrame | None:
        """The next frame, checked; None when none came until then."""
        message = await self._message(until)
        if message is None:
            return None
        if message.ByteSize() > _LARGE_MESSAGE_BYTES:
            return await asyncio.to_thread(self._frame, message)
        return self._frame(message)

    def hurry(self, until: float) -> None:
        """Bound this wait and all later ones."""
        self._hurry = until
        if self._clock is not None:
            self._clock.reschedule(min(until, self._clock.when() or until))

    async def settle(self, budget_s: float) -> None:
        """Wait a little for the client's last word, so that it is not cut off."""
        self._hurry = None  # it was about contributions, and they are over
        until = asyncio.get_running_loop().time() + budget_s
        while (message := await self._next(until)) is not _NOTHING and message is not None:
            if message.WhichOneof("frame") in {"finish", "cancel"}:
                return

    async def fail(self, error: CollaborationError) -> None:
        """Tell the client why the session ends; a client that is gone is no error."""
        message, remedy = public_text(error)
        try:
            await self.send(Failed(*self._moment, spec_of(error).reason, message, remedy))
        except (grpc.aio.BaseError, grpc.RpcError, asyncio.InvalidStateError):
            log.debug("stream.gone")

    def _frame(self, message: Any) -> ClientFrame:
        return client_frame_from_proto(
            message, limits=self._limits, opened=self._opened, contributor=self._mine
        )

    async def _message(self, until: float | None) -> Any | None:
        message = await self._next(until)
        if message is _NOTHING:
            return None
        if message is None:
            raise InvalidFrameError(
                "the stream broke, or ended without Finish or Cancel: it counts as lost",
                remedy="Send messages of this contract, and end with one of these frames",
            )
        return message

    async def _next(self, until: float | None) -> Any:
        if not self._queue.empty():
            return self._queue.get_nowait()
        bounds = [one for one in (until, self._hurry) if one is not None]
        until = min(bounds, default=None)
        if until is not None and until <= asyncio.get_running_loop().time():
            return _NOTHING
        try:
            async with asyncio.timeout_at(until) as self._clock:
                return await self._queue.get()
        except TimeoutError:
            return _NOTHING
        finally:
            self._clock = None
