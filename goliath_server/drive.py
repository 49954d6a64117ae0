"""The driver of one session: the loop of `denoise`, the engine, the late rules. No gRPC here."""

import asyncio
from typing import Protocol

from common.collaboration.engine import Engine
from common.collaboration.fusion import Voice, fuse
from common.diffusion.denoise import Collect, Predict, Requests, Result, denoise
from common.diffusion.terms import FinishReason
from common.errors import ContributionFailedError, InvalidFrameError, SessionCancelledError
from common.frames import (
    Cancel,
    ClientFrame,
    Completed,
    ContributionChunk,
    Finish,
    LateRule,
    ServerFrame,
)
from goliath_server.session import Session


class Peer(Protocol):
    """The client of the session, as frames."""

    async def send(self, frame: ServerFrame) -> None:
        """Write a frame."""

    async def receive(self, *, until: float | None) -> ClientFrame | None:
        """The next frame, checked; None when none came until then, on the loop's clock. What is
        there already is returned even when the time is over.

        Raises:
            InvalidFrameError: the frame breaks the contract, or the stream ended.
        """

    def hurry(self, until: float) -> None:
        """Bound this wait and all later ones."""


class Drive:
    """Runs one session to its end."""

    def __init__(self, session: Session, peer: Peer, engine: Engine) -> None:
        """Nothing happens before `run`."""
        self._session = session
        self._peer = peer
        self._engine = engine
        self._ending: FinishReason | None = None
        self._due: dict[int, float] = {}
        """By step of the block in flight: when the budget of its contribution ends."""

    def drain(self, until: float) -> None:
        """End after the step in flight, and wait for its contribution no longer than until then."""
        self._ending = self._ending or FinishReason.DRAINING
        self._peer.hurry(until)

    async def run(self) -> Completed:
        """Generate; the state goes out before the engine works: both sides compute at once. With a
        lag the client may still be at an earlier step.

        Raises:
            ContributionFailedError: The late rule is `fail`, and a contribution did not come.
            SessionCancelledError: The client gave up.
            InvalidFrameError: The client broke the contract, or its stream ended.
        """
        settings = self._session.opened.settings
        loop = denoise(self._session.plan, fuse)
        request: Predict | Collect | Result = next(loop)
        clock = asyncio.get_running_loop().time
        while isinstance(request, Predict):
            if self._ending is not None:
                return self._session.stopped(request, self._ending)
            await self._peer.send(self._session.begin(request))
            self._due[request.state.step] = clock() + settings.budget_ms / 1000
            loop.send(await self._engine.predict(request))
            await self._collect(self._due[self._session.source])
            if self._ending is not None and not self._session.answered:
                return self._session.stopped(request, self._ending)
            # Fusing reads whole rows of the vocabulary: not on the event loop.
            request = await asyncio.to_thread(_advance, loop, self._session.close())
        assert isinstance(request, Result)
        return self._session.completed(request)

    async def _collect(self, due: float) -> None:
        """Take frames until the step has its contribution, or the late rule says to go on; then
        those that are there, for a step that waits for nothing has to hear of an end too.
        """
        rule = self._session.opened.settings.late_rule
        until = None if rule is LateRule.WAIT else due
        while self._waits:
            frame = await self._peer.receive(until=until)
            if frame is not None:
                self._take(frame)
            elif rule is LateRule.FAIL and self._ending is None:
                raise self._failed()
            else:
                return
        clock = asyncio.get_running_loop().time
        while (frame := await self._peer.receive(until=clock())) is not None:
            self._take(frame)

    @property
    def _waits(self) -> bool:
        return not self._session.answered and self._ending is not FinishReason.CLIENT_FINISHED

    def _take(self, frame: ClientFrame) -> None:
        match frame:
            case ContributionChunk():
                self._session.accept(frame)
            case Finish():
                self._ending = FinishReason.CLIENT_FINISHED
            case Cancel():
                raise SessionCancelledError("the client gave the session up")
            case _:
                raise InvalidFrameError("frame: expected a contribution, got an answer to no ask")

    def _failed(self) -> ContributionFailedError:
        block, step = self._session.moment[0], self._session.source
        budget = self._session.opened.settings.budget_ms / 1000
        return ContributionFailedError(
            f"no contribution to step {step} of block {block} within {budget:g} s",
            remedy="Allow a larger budget, or use the late rule solo or wait",
        )


def _advance(loop: Requests, voices: list[Voice]) -> Predict | Collect | Result:
    # StopIteration cannot pass through a future.
    try:
        return loop.send(voices)
    except StopIteration as done:
        result: Result = done.value
        return result
