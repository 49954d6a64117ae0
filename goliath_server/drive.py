"""The driver of one session: the loop of `denoise`, the engine, the late rules. No gRPC here."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from common.collaboration.batcher import Engine
from common.collaboration.certification import as_fused
from common.collaboration.contribution import Answer
from common.collaboration.fusion import Voice
from common.denoising.loop import Collect, Fused, Predict, Requests, Result, denoise
from common.errors import ContributionFailedError, SessionCancelledError
from common.denoising.plan import FinishReason
from common.collaboration.settings import LateRule
from common.wire.frames import (
    Cancel,
    ClientFrame,
    Completed,
    ContributionChunk,
    Finish,
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
        loop = denoise(self._session.plan, as_fused)
        request: Predict | Collect | Result = next(loop)
        while isinstance(request, Predict):
            if self._ending is not None:
                return self._session.stopped(request, self._ending)
            await self._peer.send(self._session.begin(request))
            self._due[request.state.step] = self._budget_end()
            logits = await self._engine.predict(request)
            loop.send(logits)
            await self._collect(self._due[self._session.source])
            if self._ending is not None and not self._session.answered:
                return self._session.stopped(request, self._ending)
            fused = await self._settle(logits, self._session.close())
            # Reading whole rows of the vocabulary: not on the event loop.
            request = await asyncio.to_thread(_advance, loop, fused)
        assert isinstance(request, Result)
        return self._session.completed(request)

    async def _collect(self, due: float) -> None:
        """Take frames until the step has its contribution, or the late rule says to go on."""
        await self._wait(lambda: self._session.answered, due, "contribution")

    async def _settle(self, logits: Tensor, voices: list[Voice]) -> Fused:
        """Fuse the step, and where its result is not certain ask, if that was agreed."""
        session = self._session
        doubt = await asyncio.to_thread(session.doubts, logits, voices, asking=True)
        ask = session.ask(doubt)
        if ask is not None:
            await self._peer.send(ask)
            await self._wait(lambda: session.settled, self._budget_end(), "answer")
            if session.settled:
                voices = session.answered_voices(voices, ask)
                doubt = await asyncio.to_thread(session.doubts, logits, voices, asking=False)
        session.uncertified += int(doubt.uncertified.sum())
        return doubt.fused

    def _budget_end(self) -> float:
        """When the budget of a frame that goes out now will be over, on the loop's clock."""
        budget = self._session.opened.settings.budget_ms / 1000
        return asyncio.get_running_loop().time() + budget

    async def _wait(self, done: Callable[[], bool], due: float, what: str) -> None:
        """Take frames until it is done, or the late rule says to go on; then those that are there,
        for a step that waits for nothing has to hear of an end too.
        """
        rule = self._session.opened.settings.late_rule
        until = None if rule is LateRule.WAIT else due
        while not done() and self._ending is not FinishReason.CLIENT_FINISHED:
            frame = await self._peer.receive(until=until)
            if frame is not None:
                self._take(frame)
            elif rule is LateRule.FAIL and self._ending is None:
                raise self._failed(what)
            else:
                return
        clock = asyncio.get_running_loop().time
        while (frame := await self._peer.receive(until=clock())) is not None:
            self._take(frame)

    def _take(self, frame: ClientFrame) -> None:
        match frame:
            case ContributionChunk():
                self._session.accept(frame)
            case Answer():
                self._session.take(frame)
            case Finish():
                self._ending = FinishReason.CLIENT_FINISHED
            case Cancel():
                raise SessionCancelledError("the client gave the session up")
            case _:
                raise AssertionError("the door lets no second Open through")

    def _failed(self, what: str) -> ContributionFailedError:
        block, step = self._session.moment[0], self._session.source
        budget = self._session.opened.settings.budget_ms / 1000
        return ContributionFailedError(
            f"no {what} to step {step} of block {block} within {budget:g} s",
            remedy="Allow a larger budget, or use the late rule solo or wait",
        )


def _advance(loop: Requests, fused: Fused) -> Predict | Collect | Result:
    # StopIteration cannot pass through a future.
    try:
        return loop.send(fused)
    except StopIteration as done:
        result: Result = done.value
        return result
