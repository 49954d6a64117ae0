"""The engine: predictions of many sessions on one model, off the event loop, batched when they wait
together.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from torch import Tensor

from common.denoising.loop import Predict

Predictor = Callable[[Sequence[Predict]], Tensor]


class Engine:
    """One worker thread and a queue. Use as an async context manager.

    Requests of one block length that wait together are answered by one pass of at most `max_batch`
    rows. Results are bit for bit those of a single run only with `max_batch` 1, the default: a
    batch changes the order of sums.
    """

    def __init__(self, predictor: Predictor, *, max_batch: int = 1):
        """Wrap a batched predictor, such as `functools.partial(predict, model)`."""
        self._predictor = predictor
        self._max_batch = max_batch
        self._waiting: list[tuple[Predict, asyncio.Future[Tensor]]] = []
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._worker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Engine":
        """Start the worker."""
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop: waiting requests are cancelled, the pass that is running ends first."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        for _request, future in self._waiting:
            future.cancel()
        await asyncio.to_thread(self._thread.shutdown)

    async def predict(self, request: Predict) -> Tensor:
        """Logits (1, positions, V) fp32 of one request."""
        future: asyncio.Future[Tensor] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        self._arrived.set()
        return await future

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._take()
            if not batch:
                self._arrived.clear()
                continue
            requests = [request for request, _ in batch]
            try:
                logits = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._predictor, requests
                )
            except asyncio.CancelledError:
                for _, future in batch:
                    future.cancel()
                raise
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for row, (_, future) in enumerate(batch):
                if not future.done():
                    future.set_result(logits[row : row + 1])

    def _take(self) -> list[tuple[Predict, "asyncio.Future[Tensor]"]]:
        self._waiting = [(r, f) for r, f in self._waiting if not f.done()]
        if not self._waiting:
            return []
        length = len(self._waiting[0][0].state.estimate)
        batch = [item for item in self._waiting if len(item[0].state.estimate) == length][
            : self._max_batch
        ]
        self._waiting = [item for item in self._waiting if item not in batch]
        return batch
