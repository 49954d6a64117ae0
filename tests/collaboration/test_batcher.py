import asyncio
import functools
import threading

import numpy as np
import pytest
import torch

from common.collaboration.batcher import Engine
from common.denoising.loop import Predict
from common.models.simplex_lm import predict
from common.processes.simplex.state import SimplexState
from tests.loops import (
    BLOCK,
    NONE,
    SIZE,
    VOCABULARY,
)
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model(VOCABULARY, seed=1)


def ask(seed: int, *, prompt: int = 5, block: int = BLOCK, step: int = 1) -> Predict:
    rng = np.random.default_rng(seed)
    estimate = rng.integers(16, SIZE, (block, min(step, 1)))
    prefix = tuple(rng.integers(16, SIZE, prompt).tolist())
    return Predict(SimplexState(seed, 0, step, 0.5, estimate), prefix, (), None, NONE, NONE)


async def test_one_at_a_time_is_bit_equal(model):
    requests = [ask(n, prompt=3 + n) for n in range(5)]
    async with Engine(functools.partial(predict, model)) as engine:
        answers = await asyncio.gather(*(engine.predict(r) for r in requests))
    for request, answer in zip(requests, answers, strict=True):
        assert torch.equal(answer, predict(model, [request]))


async def test_waiting_requests_share_a_pass(model):
    sizes = []

    def predictor(requests):
        sizes.append(len(requests))
        return predict(model, requests)

    requests = [ask(n, prompt=3 + n, step=n % 2) for n in range(7)]
    async with Engine(predictor, max_batch=4) as engine:
        answers = await asyncio.gather(*(engine.predict(r) for r in requests))
    assert sizes == [4, 3]
    for request, answer in zip(requests, answers, strict=True):
        torch.testing.assert_close(answer, predict(model, [request]), atol=1e-3, rtol=1e-4)


async def test_block_lengths_are_not_mixed():
    lengths = []

    def predictor(requests):
        lengths.append([len(r.state.estimate) for r in requests])
        return torch.zeros(len(requests), lengths[-1][0], SIZE)

    async with Engine(predictor, max_batch=8) as engine:
        await asyncio.gather(*(engine.predict(ask(n, block=4 + n % 2)) for n in range(6)))
    assert lengths == [[4, 4, 4], [5, 5, 5]]


async def test_the_model_runs_off_the_event_loop():
    threads = []

    def predictor(requests):
        threads.append(threading.current_thread())
        return torch.zeros(len(requests), BLOCK, SIZE)

    async with Engine(predictor) as engine:
        await asyncio.gather(engine.predict(ask(0)), engine.predict(ask(1)))
    assert threads[0] is threads[1]
    assert threads[0] is not threading.main_thread()


async def test_a_fault_reaches_its_caller_and_the_engine_goes_on():
    def predictor(requests):
        if requests[0].state.seed == 1:
            raise RuntimeError("out of memory")
        return torch.zeros(len(requests), BLOCK, SIZE)

    async with Engine(predictor) as engine:
        with pytest.raises(RuntimeError, match="out of memory"):
            await engine.predict(ask(1))
        assert (await engine.predict(ask(2))).shape == (1, BLOCK, SIZE)


async def test_a_cancelled_request_is_not_computed():
    running, go = threading.Event(), threading.Event()
    seeds = []

    def predictor(requests):
        seeds.extend(r.state.seed for r in requests)
        running.set()
        go.wait(20)
        return torch.zeros(len(requests), BLOCK, SIZE)

    async with Engine(predictor) as engine:
        first, second, third = (asyncio.create_task(engine.predict(ask(n))) for n in range(3))
        await asyncio.to_thread(running.wait, 20)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        go.set()
        await asyncio.gather(first, third)
    assert second.cancelled()
    assert seeds == [0, 2]


async def test_cancelling_the_running_request_leaves_the_engine_whole():
    running, go = threading.Event(), threading.Event()

    def predictor(requests):
        running.set()
        go.wait(20)
        return torch.zeros(len(requests), BLOCK, SIZE)

    async with Engine(predictor) as engine:
        first = asyncio.create_task(engine.predict(ask(0)))
        await asyncio.to_thread(running.wait, 20)
        first.cancel()
        go.set()
        assert (await engine.predict(ask(1))).shape == (1, BLOCK, SIZE)
    assert first.cancelled()


async def test_stopping_leaves_nobody_waiting():
    running, go = threading.Event(), threading.Event()

    def predictor(requests):
        running.set()
        go.wait(20)
        return torch.zeros(len(requests), BLOCK, SIZE)

    async with Engine(predictor) as engine:
        tasks = [asyncio.create_task(engine.predict(ask(n))) for n in range(3)]
        await asyncio.to_thread(running.wait, 20)
        asyncio.get_running_loop().call_later(0.05, go.set)
    done, pending = await asyncio.wait(tasks, timeout=10)
    for task in pending:
        task.cancel()
    assert not pending
    assert all(task.cancelled() for task in done)
