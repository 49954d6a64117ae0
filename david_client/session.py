"""One session on one stream, seen from the client."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

from common.collaboration.contribution import Ask, Contribution, Tally
from common.collaboration.contributor import Contributor
from common.collaboration.opening import process_for
from common.collaboration.timing import timing_of
from common.denoising.process import Process, Shown
from common.errors import UnreachableError, error_from_reason
from common.models.registry import LanguageModel
from common.wire.conversions import client_messages, server_frame_from_proto
from common.wire.frames import (
    Cancel,
    ClientFrame,
    Completed,
    Failed,
    Finish,
    Open,
    Opened,
    Step,
)
from david_client.checks import check_ask, check_completed, check_opened, check_step
from david_client.place import Meter
from david_client.reply import Draft, OnDraft

_FAREWELL_S = 1.0
"""Longest time for the last words of a session."""


class Session:
    """One session on one stream; `log` holds all steps that came: what a resumption would need.

    David answers the steps that are wanted, one by one. When it is slower than the server, which
    then follows the late rule `solo`, it skips those that have no use any more: in lock-step all
    but the newest.
    """

    def __init__(
        self,
        call: Any,
        frame: Open,
        contributor: Callable[[Process], Contributor] | None,
        david: LanguageModel,
        prompt: tuple[int, ...],
        *,
        meter: Meter,
        on_draft: OnDraft,
    ) -> None:
        """Nothing is sent before `run`.

        Args:
            call: the stream.
            frame: what is asked for.
            contributor: makes David's part when the process is agreed; None for a weight of 0.
            david: the small model.
            prompt: ids of the public conversation in its template.
            meter: counts bytes.
            on_draft: called as each step begins.
        """
        self.log: list[Step] = []
        self.tally = Tally()
        self._call = call
        self._open = frame
        self.contributor: Contributor | None = None
        """David's part, from the agreement on."""
        self._make = contributor
        self._david = david
        self._prompt = prompt
        self._meter = meter
        self._on_draft = on_draft
        self._opened: Opened | None = None
        self._process: Process | None = None
        self._told: tuple[int, ...] = ()
        self._timing = timing_of(frame.settings)
        self._unanswered: list[Shown] = []
        self._news = asyncio.Event()
        self._spoken: Any = None
        """The state of the last step that was answered, unless it was asked about before."""
        self._writing = asyncio.Lock()

    async def run(self) -> Completed:
        """Follow the session to its end; on cancellation the server gets a last frame."""
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
            message = await self._call.read()
            if message is grpc.aio.EOF:
                raise UnreachableError("the server ended the session without an answer")
            self._meter.came(message)
            frame = server_frame_from_proto(message, opened=self._opened, process=self._process)
            match frame:
                case Opened():
                    check_opened(frame, self._open, self._david, self._prompt)
                    self._process = process_for(
                        frame.process, frame.settings, frame.times, frame.end_ids
                    )
                    if self._make is not None:
                        self.contributor = self._make(self._process)
                    self._opened = frame
                case Step():
                    self._begin(frame)
                case Completed():
                    assert self._process is not None
                    check_completed(frame, self.log[-1] if self.log else None, self._process)
                    await self._farewell()
                    return frame
                case Failed():
                    raise error_from_reason(frame.reason, frame.message, remedy=frame.remedy)
                case Ask():
                    await self._answer(frame)

    def _begin(self, frame: Step) -> None:
        assert self._opened is not None
        assert self._process is not None
        check_step(frame, self.log[-1] if self.log else None, self._process, self._david.vocabulary)
        self.log.append(frame)
        given = 0 if self._told else self._given(self._opened, self._process)
        self._told = (*self._told, *frame.finished_ids[given:].tolist())
        opened = self._process.open(frame.state)
        shown = Shown(frame.state, opened, self._told, frame.finished_ids, frame.decided)
        waiting = (*self._unanswered, shown)
        self._unanswered = [one for one in waiting if self._is_of_use(one)]
        self._news.set()
        self._on_draft(
            Draft.of(
                self._opened.settings,
                shown,
                goliath=self._opened.model_name,
                weight=self._open.contributor.weight,
                vocabulary=self._david.vocabulary,
                bytes_up=self._meter.up,
                bytes_down=self._meter.down,
            )
        )

    @staticmethod
    def _given(opened: Opened, process: Process) -> int:
        """How many of the prompt's last ids stand in the first block."""
        return len(opened.prompt_ids) % process.block_length if process.grid else 0

    async def _answer(self, ask: Ask) -> None:
        """Answer from the rows of the step in flight; a second ask about it is refused."""
        assert self._opened is not None
        last = self.log[-1] if self.log else None
        check_ask(ask, last, self._spoken, self._opened)
        assert self.contributor is not None
        self._spoken = None
        self.tally.count(ask)
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._write(self.contributor.answer(ask))

    def _is_of_use(self, shown: Shown) -> bool:
        """Whether a step that is not closed uses the contribution to this one; when a step comes,
        those before it are closed.
        """
        now = self.log[-1]
        state = shown.state
        return state.block == now.block and self._timing.awaited(state.step, now.step)

    async def _speak(self) -> None:
        """Answer the wanted steps, in order; ends when the server takes no more."""
        if self._make is None:
            await asyncio.Event().wait()
        while True:
            while not self._unanswered:
                self._news.clear()
                await self._news.wait()
            shown = self._unanswered.pop(0)
            assert self.contributor is not None
            contribution = await self.contributor.contribute(shown)
            self._spoken = shown.state
            try:
                await self._write(contribution)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return  # the reader learns why the call ended

    async def _write(self, frame: ClientFrame | Contribution) -> None:
        for message in client_messages(frame, self._opened):
            # The contribution's last part may still be on its way when an ask about it is here.
            async with self._writing:
                await self._call.write(message)
            self._meter.sent(message)

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
