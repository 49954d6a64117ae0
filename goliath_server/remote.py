"""A contributor at the other end of a stream: frames, budgets and late rules. No gRPC here."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from common.collaboration.contribution import Answer, Ask, Contribution
from common.collaboration.settings import LateRule
from common.denoising.plan import FinishReason
from common.denoising.process import Shown
from common.errors import ContributionFailedError, SessionCancelledError
from common.wire.frames import Cancel, ClientFrame, ContributionChunk, Finish, ServerFrame
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


class Remote:
    """Takes part in a session for its client. The state goes out before the large model computes:
    both sides compute at once. With a lag the client may still be at an earlier step.
    """

    def __init__(self, session: Session, peer: Peer) -> None:
        """Nothing is sent before `begin`."""
        self.weight = session.mine.weight
        self.ending: Callable[[], bool] = lambda: False
        """Whether the session ends before its end; its driver sets it."""
        self.end: Callable[[FinishReason], None] = lambda _: None
        """Called when the client asks for an end."""
        self._session = session
        self._peer = peer
        self._due: dict[int, float] = {}
        """By step of the block in flight: when the budget of its contribution ends."""

    async def begin(self, shown: Shown) -> None:
        """Send the step."""
        await self._peer.send(self._session.begin(shown))
        self._due[shown.state.step] = self._budget_end()

    async def contribution(self, step: int) -> Contribution | None:
        """Wait for what the step uses, or until the late rule says to go on.

        Raises:
            ContributionFailedError: The late rule is `fail`, and a contribution did not come.
            SessionCancelledError: The client gave up.
            InvalidFrameError: The client broke the contract, or its stream ended.
        """
        due = self._due[self._session.source]
        await self._wait(lambda: self._session.answered, due, "contribution")
        if self.ending() and not self._session.answered:
            return None  # the session ends before this step does
        return self._session.close()

    async def answer(self, ask: Ask) -> Answer | None:
        """Send an ask and wait for its answer, or until the late rule says to go on.

        Raises:
            As `contribution`.
        """
        self._session.ask(ask)
        await self._peer.send(ask)
        await self._wait(lambda: self._session.answer is not None, self._budget_end(), "answer")
        return self._session.answer

    def _budget_end(self) -> float:
        """When the budget of a frame that goes out now will be over, on the loop's clock."""
        return asyncio.get_running_loop().time() + self._session.mine.budget_ms / 1000

    async def _wait(self, done: Callable[[], bool], due: float, what: str) -> None:
        """Take frames until it is done, or the late rule says to go on; then those that are there,
        for a step that waits for nothing has to read of an end too.
        """
        rule = self._session.opened.settings.late_rule
        until = None if rule is LateRule.WAIT else due
        while not done() and not self._session.finished:
            frame = await self._peer.receive(until=until)
            if frame is not None:
                self._take(frame)
            elif rule is LateRule.FAIL and not self.ending():
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
                self._session.finished = True
                self.end(FinishReason.CLIENT_FINISHED)
            case Cancel():
                raise SessionCancelledError("the client gave the session up")
            case _:
                raise AssertionError("the door lets no second Open through")

    def _failed(self, what: str) -> ContributionFailedError:
        block, step = self._session.moment[0], self._session.source
        return ContributionFailedError(
            f"no {what} to step {step} of block {block} within "
            f"{self._session.mine.budget_ms / 1000:g} s",
            remedy="Allow a larger budget, or use the late rule solo or wait",
        )
