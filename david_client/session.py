"""One session on one stream, seen from the client."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
import numpy as np

from common.collaboration.certification import Tally
from common.collaboration.contribution import Ask, Contribution
from common.collaboration.contributor import Contributor
from common.collaboration.timing import timing_of
from common.errors import UnreachableError, error_from_reason
from common.processes.simplex.schedule import times_at
from common.processes.simplex.state import SimplexState
from common.text.wordpiece import WordPieceVocabulary
from common.wire.conversions import (
    client_frame_to_proto,
    server_frame_from_proto,
    split_contribution,
)
from common.wire.frames import (
    Cancel,
    ClientFrame,
    Completed,
    Failed,
    Finish,
    Open,
    Opened,
    ServerFrame,
    Step,
)
from david_client.asking import Draft, OnDraft
from david_client.checks import check_ask, check_completed, check_opened, check_step
from david_client.place import Meter

_FAREWELL_S = 1.0
"""Longest time for the last words of a session."""


class Session:
    """One session on one stream; `log` holds all steps that came: what a resumption would need.

    David computes in a thread of his own, and answers the steps that are wanted, one by one. When
    he is slower than the server, which then follows the late rule `solo`, he skips those that have
    no use any more: in lock-step all but the newest.
    """

    def __init__(
        self,
        call: Any,
        frame: Open,
        contributor: Contributor | None,
        vocabulary: WordPieceVocabulary,
        *,
        meter: Meter,
        on_draft: OnDraft,
    ) -> None:
        """Nothing is sent before `run`."""
        self.log: list[Step] = []
        self.tally = Tally()
        self._call = call
        self._open = frame
        self._contributor = contributor
        self._vocabulary = vocabulary
        self._meter = meter
        self._on_draft = on_draft
        self._opened: Opened | None = None
        self._finished: tuple[int, ...] = ()
        self._untold = np.empty(0, np.int64)
        self._timing = timing_of(frame.settings)
        self._unanswered: list[Step] = []
        self._news = asyncio.Event()
        self._spoken: Step | None = None
        self._writing = asyncio.Lock()

    async def run(self) -> Completed:
        """Follow the session to its end; on cancellation the server is told."""
        reader = asyncio.create_task(self._follow())
        speaker = asyncio.create_task(self._speak())
        try:
            # Waiting on tasks, not in them: a cancelled read ends the call before Cancel is sent.
            await asyncio.wait({reader, speaker}, return_when=asyncio.FIRST_COMPLETED)
            if not reader.done():
                speaker.result()
                await asyncio.wait({reader})
            return reader.result()
        except asyncio.CancelledError:
            with suppress(Exception):
                async with asyncio.timeout(_FAREWELL_S):
                    await self._write(Cancel(*self._moment()))
                    # The server ends the call when it has read this; cut off, it could not know.
                    await asyncio.wait({reader})
            raise
        finally:
            reader.cancel()
            speaker.cancel()
            await asyncio.gather(reader, speaker, return_exceptions=True)
            self._call.cancel()

    async def _follow(self) -> Completed:
        with suppress(asyncio.InvalidStateError):
            await self._write(self._open)
        while True:
            frame = await self._read()
            match frame:
                case Opened():
                    check_opened(frame, self._open, self._vocabulary)
                    self._opened = frame
                case Step():
                    self._begin(frame)
                case Completed():
                    assert self._opened is not None
                    check_completed(frame, self.log[-1] if self.log else None, self._opened)
                    await self._farewell()
                    return frame
                case Failed():
                    raise error_from_reason(frame.reason, frame.message, remedy=frame.remedy)
                case Ask():
                    await self._answer(frame)

    def _begin(self, frame: Step) -> None:
        assert self._opened is not None
        check_step(frame, self.log[-1] if self.log else None, self._opened, self._vocabulary)
        self.log.append(frame)
        self._finished = (*self._finished, *frame.finished_ids.tolist())
        # A step that David skips may carry a block's ids: they are kept for the next one.
        self._untold = np.concatenate((self._untold, frame.finished_ids))
        self._unanswered = [one for one in (*self._unanswered, frame) if self._is_of_use(one)]
        self._news.set()
        self._on_draft(
            Draft(
                self._opened.settings,
                frame.block,
                frame.step,
                self._opened.times[frame.step],
                self._finished,
                estimate=frame.estimate[:, 0] if frame.step else None,
                hot=frame.estimate if frame.step else None,
                decided=frame.decided,
                goliath=self._opened.model_name,
                bytes_up=self._meter.up,
                bytes_down=self._meter.down,
            )
        )

    async def _answer(self, ask: Ask) -> None:
        """Answer from the rows of the step in flight; a second ask about it is refused."""
        assert self._opened is not None
        last = self.log[-1] if self.log else None
        check_ask(ask, last, self._spoken, self._opened)
        assert self._contributor is not None
        self._spoken = None
        self.tally.count(ask)
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._write(self._contributor.answer(ask))

    def _is_of_use(self, step: Step) -> bool:
        """Whether a step that is not closed uses the contribution to this one; when a step comes,
        those before it are closed.
        """
        now = self.log[-1]
        return step.block == now.block and self._timing.awaited(step.step, now.step)

    async def _speak(self) -> None:
        """Answer the wanted steps, in order; ends when the server takes no more."""
        if self._contributor is None:
            await asyncio.Event().wait()
        thread = ThreadPoolExecutor(1, thread_name_prefix="david")
        try:
            sent = True
            while sent:
                while not self._unanswered:
                    self._news.clear()
                    await self._news.wait()
                step = self._unanswered.pop(0)
                sent = await self._sent(await self._contribution(step, thread))
        finally:
            # A pass that runs ends by itself; nobody waits for it here.
            thread.shutdown(wait=False, cancel_futures=True)

    async def _contribution(self, step: Step, thread: ThreadPoolExecutor) -> Contribution:
        assert self._opened is not None
        assert self._contributor is not None
        finished, self._untold = self._untold, np.empty(0, np.int64)
        settings = self._opened.settings
        state = SimplexState(
            settings.seed,
            step.block,
            step.step,
            self._opened.times[step.step],
            step.estimate,
            times_at(
                self._opened.times,
                step.step,
                steepness=settings.ramp,
                positions=settings.block_length,
            ),
        )
        loop = asyncio.get_running_loop()
        contribute = self._contributor.contribute
        contribution = await loop.run_in_executor(thread, contribute, state, finished, step.fused)
        self._spoken = step
        return contribution

    async def _sent(self, contribution: Contribution) -> bool:
        assert self._opened is not None
        chunks = split_contribution(
            contribution,
            vocabulary_size=self._opened.vocabulary_size,
            max_message_bytes=self._opened.limits.max_message_bytes,
        )
        try:
            for chunk in chunks:
                await self._write(chunk)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The reader learns why the call ended.
            return False
        return True

    async def _write(self, frame: ClientFrame) -> None:
        size = None if self._opened is None else self._opened.vocabulary_size
        message = client_frame_to_proto(frame, vocabulary_size=size)
        # The contribution's last part may still be on its way when an ask about it is here.
        async with self._writing:
            await self._call.write(message)
        self._meter.sent(message)

    async def _read(self) -> ServerFrame:
        message = await self._call.read()
        if message is grpc.aio.EOF:
            raise UnreachableError("the server ended the session without an answer")
        self._meter.came(message)
        return server_frame_from_proto(message, opened=self._opened)

    async def _farewell(self) -> None:
        """Say that the answer arrived, and give the server a moment to end the stream itself."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._write(Finish(*self._moment()))
            await self._call.done_writing()
            ending = asyncio.ensure_future(self._call.code())
            await asyncio.wait({ending}, timeout=_FAREWELL_S)
            ending.cancel()

    def _moment(self) -> tuple[int, int]:
        return (self.log[-1].block, self.log[-1].step) if self.log else (0, 0)
