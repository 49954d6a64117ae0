"""Lag and reuse: the same in process and over the wire, nothing computed in vain, and both sides at
work at the same time.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from common.collaboration.batcher import Batcher
from common.collaboration.contributor import Contributor
from common.collaboration.fusion import Weighted, fuse
from common.collaboration.timing import Every, timing_of
from common.denoising.loop import Predict, Result, denoise
from common.denoising.plan import FinishReason
from common.denoising.process import Shown, View
from common.denoising.streams import Philox
from common.errors import UsageError
from common.evaluation import pair as evaluation
from common.evaluation.generation import generate, question_seed
from common.models.simplex_lm import SimplexPredictor
from common.processes.simplex.settings import SelfConditioning
from common.wire.frames import Completed, Finish
from tests.david_client.puppet import Puppet, puppet
from tests.serving import (
    CONTEXT,
    DAVID,
    GOLIATH,
    PROMPT,
    VOCABULARY,
    ask_at,
    beside,
    calm_pair,
    embedded,
    mine,
    question,
    same_over_the_wire,
    serving,
    settings,
)

LATENCIES: dict[str, dict[str, Any]] = {
    "lag 1": {"lag": 1},
    "lag 2": {"lag": 2},
    "lag 3": {"lag": 3},
    "every third": {"every": Every(0, 3, 0)},
    "first and last": {"every": Every(2, 100, 2)},
    "all kinds": {"every": Every(2, 3, 2)},
}


# The same answer on both sides of the wire


@pytest.mark.parametrize("kind", SelfConditioning)
@pytest.mark.parametrize("latency", LATENCIES)
async def test_networked_equals_embedded(latency: str, kind: SelfConditioning) -> None:
    terms = LATENCIES[latency]
    usual = {"steps": 7, "max_tokens": 32, "context": CONTEXT, "self_conditioning": kind}
    await same_over_the_wire(question(**usual, **terms))


def test_each_latency_is_another_answer() -> None:
    usual = {"steps": 7, "max_tokens": 32, "context": CONTEXT}
    lock_step = embedded(question(**usual)).ids
    late = [embedded(question(**usual, **terms)).ids for terms in LATENCIES.values()]
    assert len({lock_step, *late}) == 1 + len(LATENCIES)
    for terms in ({"lag": 7}, {"every": Every(0, 1, 0)}):
        assert embedded(question(**usual, **terms)).ids == lock_step


@pytest.mark.parametrize("latency", ["lag 2", "all kinds"])
async def test_networked_equals_embedded_with_contrast(latency: str) -> None:
    usual = {"steps": 7, "max_tokens": 32, "context": CONTEXT, "contrast": 0.7}
    await same_over_the_wire(question(**usual, **LATENCIES[latency]))


@pytest.mark.parametrize("terms", [{"lag": 2}, {"every": Every(2, 6, 0)}], ids=["lag", "every"])
async def test_networked_equals_embedded_when_blocks_halt(
    terms: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calm_pair(monkeypatch)
    asked = question(steps=20, max_tokens=32, halt_patience=2, **terms)
    reply = await same_over_the_wire(asked)
    assert len(reply.ids) > 16
    assert reply.steps_run < 38
    last: dict[int, int] = {}
    async with serving() as served:
        await served.ask(asked, on_draft=lambda draft: last.update({draft.block: draft.step}))
    assert min(last.values()) < 19
    assert all(step == 19 or timing_of(reply.settings).may_end(step) for step in last.values())


@pytest.mark.parametrize("lag", [1, 2, 3])
def test_a_lag_is_what_its_words_say(lag: int) -> None:
    """A loop that computes every contribution, used or not, and looks back by the lag."""
    asked = question(steps=7, max_tokens=32, context=CONTEXT)

    async def expected() -> Result:
        loop = denoise(asked.plan, Philox(asked.settings.seed))
        request: Any = next(loop)
        made: list[Weighted] = []
        async with Batcher(DAVID.predictor.predict) as small:
            david = asked.contributor(small.predict)
            while isinstance(request, Predict):
                step = request.shown.state.step
                made = made if step else []
                given = await david.contribute(request.shown)
                made.append(Weighted("david", asked.mine.weight, given))
                (rows,) = GOLIATH.predictor.predict([request.view])
                loop.send(rows)
                fused = fuse(rows, [made[step - lag if step >= lag else step]])
                try:
                    request = loop.send(fused)
                except StopIteration as done:
                    request = done.value
        return request

    late = question(steps=7, max_tokens=32, context=CONTEXT, lag=lag)
    assert embedded(late).ids == tuple(beside(expected()).ids.tolist())


@pytest.mark.parametrize("weight", [0.5, 1.0])
@pytest.mark.parametrize("latency", ["lag 2", "all kinds"])
def test_answers_that_are_evaluated_are_those_of_the_product(latency: str, weight: float) -> None:
    changes = {"steps": 7, "max_tokens": 32, "weight": weight} | LATENCIES[latency]
    terms, own = settings(**changes), mine(**changes)
    asked = evaluation.Question(PROMPT, CONTEXT, "")
    pair = evaluation.Pair(GOLIATH.predictor.network, DAVID.predictor.network, VOCABULARY)
    (result,) = generate(pair, [asked], settings=terms, mine=own, seed=3, contrast=0.7)
    seed = question_seed(3, asked)
    product = question(**changes, seed=seed, context=CONTEXT, contrast=0.7)
    assert tuple(result.ids.tolist()) == embedded(product).ids


def test_a_lag_and_reuse_together_are_refused() -> None:
    with pytest.raises(UsageError, match="got both"):
        embedded(question(lag=1, every=Every(1, 2, 1)))


# What is computed


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Block and step of the states that David computes on."""
    seen: list[tuple[int, int]] = []
    own = Contributor.contribute

    async def watched(self: Contributor, shown: Shown) -> Any:
        seen.append((shown.state.block, shown.state.step))
        return await own(self, shown)

    monkeypatch.setattr(Contributor, "contribute", watched)
    return seen


@pytest.mark.parametrize("latency", LATENCIES)
async def test_only_what_is_used_is_computed(
    latency: str, looked_at: list[tuple[int, int]]
) -> None:
    asked = question(steps=7, max_tokens=32, **LATENCIES[latency])
    embedded(asked)
    here = looked_at.copy()
    looked_at.clear()
    async with serving() as served:
        await served.ask(asked)
    used = {timing_of(asked.settings).source(step) for step in range(7)}
    assert here == looked_at == [(block, step) for block in range(2) for step in sorted(used)]
    assert len(used) == {"lag 1": 6, "lag 2": 5, "lag 3": 4}.get(latency, len(used))


async def test_steps_that_come_in_a_row_are_answered_in_order() -> None:
    frames: list[Any] = []

    async def script(peer: Puppet) -> None:
        await peer.open()
        for step in range(3):
            await peer.step(step=step)
        frames.extend([await peer.read() for _ in range(3)])
        for step in (3, 4, 5):
            await peer.step(step=step)
        frames.append(await peer.read())
        await peer.send(Completed(0, 5, np.array([60, 61]), FinishReason.END_TOKEN))
        frames.append(await peer.read())

    async with puppet(script) as place:
        await ask_at(place, question(steps=6, lag=2), timeout_s=20)
    assert [(one.block, one.step) for one in frames[:4]] == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert frames[4] == Finish(0, 5)


# Both at once


@pytest.mark.parametrize("lag", [1, 2])
async def test_both_sides_compute_at_the_same_time(
    lag: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """David does not end step n before the server is in step n + lag, nor the server that step
    before David is in n: in lock-step both would wait for ever.
    """
    steps = 6
    meetings = {n: threading.Barrier(2, timeout=20) for n in range(lag, steps - lag)}
    own = SimplexPredictor.predict

    def predict(self: SimplexPredictor, views: Sequence[View]) -> Sequence[Tensor]:
        (view,) = views
        meeting = view.state.step - (0 if self is DAVID.predictor else lag)
        if meeting in meetings:
            meetings[meeting].wait()
        return own(self, views)

    asked = question(steps=steps, max_tokens=32, lag=lag, temperature=1.5)
    expected = embedded(asked).ids
    monkeypatch.setattr(SimplexPredictor, "predict", predict)
    async with serving() as served:
        reply = await served.ask(asked)
    assert reply.ids == expected
    assert reply.david_steps == 2 * steps
