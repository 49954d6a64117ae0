"""Ctrl-C and SIGTERM inside a command, before they end the program without a word."""

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from common.errors import SessionCancelledError

_Result = TypeVar("_Result")
_NUMBERS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn an interrupt into an error of this project, which is reported like all others.

    Raises:
        SessionCancelledError: SIGINT or SIGTERM came.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise SessionCancelledError("interrupted") from error


def run_interruptible(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine; a signal cancels it, so that it can clean up.

    Raises:
        SessionCancelledError: SIGINT or SIGTERM came. After SIGTERM the program's own handler of it
            is called first: the program shall end, and not only this work.
    """
    came: list[int] = []
    guarded = _cancelled_by_signals(work, came)
    try:
        return asyncio.run(guarded)
    except SessionCancelledError:
        handler = signal.getsignal(signal.SIGTERM)
        if signal.SIGTERM in came and callable(handler):
            handler(signal.SIGTERM, None)
        raise


async def _cancelled_by_signals(work: Coroutine[Any, Any, _Result], came: list[int]) -> _Result:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    before = {number: signal.getsignal(number) for number in _NUMBERS}

    def cancel(number: int) -> None:
        came.append(number)
        task.cancel()

    try:
        # Unlike plain handlers these wake a loop that was just about to sleep.
        for number in _NUMBERS:
            loop.add_signal_handler(number, cancel, number)
    except NotImplementedError:
        # Windows has none of them; there asyncio.run takes Ctrl-C.
        return await task
    try:
        return await task
    except asyncio.CancelledError as error:
        raise SessionCancelledError("interrupted") from error
    finally:
        for number in _NUMBERS:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])
