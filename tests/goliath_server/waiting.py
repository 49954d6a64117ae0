"""Waiting for what a server does in its own time."""

import asyncio
from collections.abc import Callable


async def until(holds: Callable[[], bool]) -> bool:
    for _ in range(1000):
        if holds():
            return True
        await asyncio.sleep(0.01)
    return False
