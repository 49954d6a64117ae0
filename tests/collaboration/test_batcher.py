import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from common.collaboration.batcher import Batcher
from common.denoising.process import View
from common.models.simplex_lm import SimplexPredictor
from common.processes.simplex.state import SimplexState
from tests.loops import BLOCK, SIZE, VOCABULARY
from tests.tiny import tiny_model, view_at


@pytest.fixture(scope="module")
def model():
    return SimplexPredictor(tiny_model(VOCABULARY, seed=1))


def ask(seed: int, *, prompt: int = 5, block: int = BLOCK, step: int = 1) -> View:
    rng = np.random.default_rng(seed)
    estimate = rng.integers(16, SIZE, (block, min(step, 1)))
    prefix = tuple(rng.integers(16, SIZE, prompt).tolist())
    return view_at(SimplexState(seed, 0, step, 0.5, estimate), prefix)


def zeros(views: Sequence[View]) -> list[torch.Tensor]:
    return [torch.zeros(1, view.state.positions, SIZE) for view in views]


async def test_one_at_a_time_is_bit_equal(model):
    requests = [ask(n, prompt=3 + n) for n in range(5)]
    async with Batcher(model.predict, thread="model") as batcher:
        answers = await asyncio.gather(*(batcher.predict(r) for r in requests))
    for request, answer in zip(requests, answers, strict=True):
        assert torch.equal(answer, model.predict([request])[0])


async def test_waiting_requests_share_a_pass(model):
    sizes = []

    def predictor(requests):
        sizes.append(len(requests))
        return model.predict(requests)

    requests = [ask(n, prompt=3 + n, step=n % 2) for n in range(7)]
    async with Batcher(predictor, max_batch=4, thread="model") as batcher:
        answers = await asyncio.gather(*(batcher.predict(r) for r in requests))
    assert sizes == [4, 3]
    for request, answer in zip(requests, answers, strict=True):
        torch.testing.assert_close(answer, model.predict([request])[0], atol=1e-3, rtol=1e-4)


async def test_block_lengths_are_not_mixed():
    lengths = []

    def predictor(requests):
        lengths.append([len(r.state.estimate) for r in requests])
        return zeros(requests)

    async with Batcher(predictor, max_batch=8, thread="model") as batcher:
        await asyncio.gather(*(batcher.predict(ask(n, block=4 + n % 2)) for n in range(6)))
    assert lengths == [[4, 4, 4], [5, 5, 5]]


async def test_the_model_runs_off_the_event_loop():
    threads = []

    def predictor(requests):
        threads.append(threading.current_thread())
        return zeros(requests)

    async with Batcher(predictor, thread="model") as batcher:
        await asyncio.gather(batcher.predict(ask(0)), batcher.predict(ask(1)))
    assert threads[0] is threads[1]
    assert threads[0] is not threading.main_thread()


async def test_a_fault_reaches_its_caller_and_the_batcher_goes_on():
    def predictor(requests):
        if requests[0].state.seed == 1:
            raise RuntimeError("out of memory")
        return zeros(requests)

    async with Batcher(predictor, thread="model") as batcher:
        with pytest.raises(RuntimeError, match="out of memory"):
            await batcher.predict(ask(1))
        assert (await batcher.predict(ask(2))).shape == (1, BLOCK, SIZE)


async def test_a_cancelled_request_is_not_computed():
    running, go = threading.Event(), threading.Event()
    seeds = []

    def predictor(requests):
        seeds.extend(r.state.seed for r in requests)
        running.set()
        go.wait(20)
        return zeros(requests)

    async with Batcher(predictor, thread="model") as batcher:
        first, second, third = (asyncio.create_task(batcher.predict(ask(n))) for n in range(3))
        await asyncio.to_thread(running.wait, 20)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        go.set()
        await asyncio.gather(first, third)
    assert second.cancelled()
    assert seeds == [0, 2]


async def test_cancelling_the_running_request_leaves_the_batcher_whole():
    running, go = threading.Event(), threading.Event()

    def predictor(requests):
        running.set()
        go.wait(20)
        return zeros(requests)

    async with Batcher(predictor, thread="model") as batcher:
        first = asyncio.create_task(batcher.predict(ask(0)))
        await asyncio.to_thread(running.wait, 20)
        first.cancel()
        go.set()
        assert (await batcher.predict(ask(1))).shape == (1, BLOCK, SIZE)
    assert first.cancelled()


async def test_stopping_leaves_nobody_waiting():
    running, go = threading.Event(), threading.Event()

    def predictor(requests):
        running.set()
        go.wait(20)
        return zeros(requests)

    async with Batcher(predictor, thread="model") as batcher:
        tasks = [asyncio.create_task(batcher.predict(ask(n))) for n in range(3)]
        await asyncio.to_thread(running.wait, 20)
        asyncio.get_running_loop().call_later(0.05, go.set)
    done, pending = await asyncio.wait(tasks, timeout=10)
    for task in pending:
        task.cancel()
    assert not pending
    assert all(task.cancelled() for task in done)
