"""The batcher: views of many sessions on one model, batched when they wait together."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from torch import Tensor

from common.denoising.process import View

Predict = Callable[[Sequence[View]], Sequence[Tensor]]
"""`Predictor.predict`, or something put round it."""


class Batcher:
    """One worker and a queue. Use as an async context manager.

    Views of one block length that wait together are answered by one pass of at most `max_batch`
    rows. Results are bit for bit those of a single run only with `max_batch` 1, the default: a
    batch changes the order of sums.
    """

    def __init__(self, predict: Predict, *, max_batch: int = 1, thread: str | None = None):
        """Wrap a batched prediction; passes run in a thread of that name, or on the event loop,
        which nothing else may then need.
        """
        self._predict = predict
        self._max_batch = max_batch
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=thread) if thread else None
        self._waiting: list[tuple[View, asyncio.Future[Tensor]]] = []
        self._arrived = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Batcher":
        """Start the worker."""
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop: waiting views are cancelled, a pass that is running ends first."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        for _view, future in self._waiting:
            future.cancel()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.shutdown)

    async def predict(self, view: View) -> Tensor:
        """Rows (1, open, V) fp32 of one view."""
        future: asyncio.Future[Tensor] = asyncio.get_running_loop().create_future()
        self._waiting.append((view, future))
        self._arrived.set()
        return await future

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._take()
            if not batch:
                self._arrived.clear()
                continue
            try:
                rows = await self._pass([view for view, _ in batch])
            except asyncio.CancelledError:
                for _, future in batch:
                    future.cancel()
                raise
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for row, (_, future) in zip(rows, batch, strict=True):
                if not future.done():
                    future.set_result(row)

    async def _pass(self, views: Sequence[View]) -> Sequence[Tensor]:
        if self._thread is None:
            return self._predict(views)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._predict, views)

    def _take(self) -> list[tuple[View, "asyncio.Future[Tensor]"]]:
        self._waiting = [(view, future) for view, future in self._waiting if not future.done()]
        if not self._waiting:
            return []
        length = self._waiting[0][0].state.positions
        fitting = [item for item in self._waiting if item[0].state.positions == length]
        batch = fitting[: self._max_batch]
        self._waiting = [item for item in self._waiting if item not in batch]
        return batch
