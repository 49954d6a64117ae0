"""Late rules over a real connection, and contributions out of turn."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from common.collaboration.contributor import Contributor
from common.collaboration.settings import LateRule
from common.denoising.process import Shown
from common.errors import (
    ContributionFailedError,
    StepOutOfRangeError,
)
from common.wire.frames import Completed, Failed, Outcome, Step
from david_client.asking import CONTRIBUTOR_ID
from tests.serving import (
    Served,
    bare,
    embedded,
    generated_with,
    open_frame,
    question,
    serving,
    terms,
)


class SlowDavid:
    """Makes contributions to some steps hang until they are let go."""

    def __init__(self, steps: set[int]) -> None:
        self.steps = steps
        self.go = threading.Event()
        self.reached = threading.Event()

    def wrap(self, contribute: Callable[..., Any]) -> Callable[..., Any]:
        async def slow(contributor: Contributor, shown: Shown) -> Any:
            if shown.state.step in self.steps and not self.go.is_set():
                self.reached.set()
                assert await asyncio.to_thread(self.go.wait, 30)
            return await contribute(contributor, shown)

        return slow


@pytest.fixture
def slow_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., SlowDavid]]:
    made: list[SlowDavid] = []

    def make(*steps: int) -> SlowDavid:
        slow = SlowDavid(set(steps))
        made.append(slow)
        monkeypatch.setattr(Contributor, "contribute", slow.wrap(Contributor.contribute))
        return slow

    yield make
    for slow in made:
        slow.go.set()


async def test_wait_waits_past_the_budget(slow_at: Any) -> None:
    slow = slow_at(1)
    asked = question(budget_ms=1)
    async with serving() as served:
        asking = asyncio.create_task(served.ask(asked))
        await asyncio.to_thread(slow.reached.wait, 20)
        await asyncio.sleep(0.2)
        assert not asking.done()
        slow.go.set()
        reply = await asking
    assert reply.ids == embedded(asked).ids
    assert (reply.david_steps, reply.missed, reply.late) == (4, 0, 0)


async def test_solo_goes_on_and_the_result_is_that_of_the_steps_that_he_made(slow_at: Any) -> None:
    slow = slow_at(1)
    # Drawn like this the random pair's first block has no end, so that there is a second.
    asked = question(
        budget_ms=700,
        late_rule=LateRule.SOLO,
        steps=5,
        max_tokens=32,
        temperature=0.55,
        min_p=0.05,
        top_p=1.0,
    )
    came: list[int] = []

    def watch(draft: Any) -> None:
        came.append(draft.step)
        if draft.step == 3:
            slow.go.set()

    outcomes: list[np.ndarray] = []
    async with serving() as served:
        log = logging.getLogger("goliath_server.service")
        log.setLevel(logging.INFO)
        reply = await served.ask(asked, on_draft=_keeping(outcomes, served, watch))
    assert came == [0, 1, 2, 3, 4] * 2
    assert reply.missed + reply.late > 0
    assert 0 < reply.david_steps < 10
    took = {i for i, one in enumerate(outcomes[-1]) if one == Outcome.TOOK_PART}
    assert len(took) == reply.david_steps
    assert {1, 2} & took == set()
    assert tuple(generated_with(asked, took).ids.tolist()) == reply.ids


def _keeping(outcomes: list[np.ndarray], served: Served, watch: Any) -> Any:
    """Look at the server's own record of the session at each step."""

    def on_draft(draft: Any) -> None:
        watch(draft)
        (drive,) = served.service._drives
        remote = drive._contributors[CONTRIBUTOR_ID]
        outcomes[:] = [remote._session._outcomes]

    return on_draft


async def test_fail_ends_the_session(slow_at: Any) -> None:
    slow_at(1)
    async with serving() as served:
        with pytest.raises(ContributionFailedError, match=r"step 1 of block 0 within 0.2 s"):
            await served.ask(question(budget_ms=200, late_rule=LateRule.FAIL))


async def test_copies_and_late_ones_are_dropped() -> None:
    agreed = terms(late_rule=LateRule.SOLO, budget_ms=300)
    async with serving() as served, bare(served) as client:
        await client.open(open_frame(*agreed))
        assert isinstance(await client.read(), Step)
        await client.contribute(0, 0)
        await client.contribute(0, 0, favourite=91)
        assert isinstance(await client.read(), Step)
        await client.contribute(0, 0, favourite=92)
        third = await client.read()
        assert isinstance(third, Step)
        await client.contribute(0, 1)
        await client.contribute(0, 2)
        done = await client.read()
    assert isinstance(done, Completed)
    assert done.participations[0].outcomes.tolist() == [1, 2, 1]
    assert done.bytes_received > 0


async def test_a_contribution_ahead_ends_the_session() -> None:
    async with serving() as served, bare(served) as client:
        await client.open()
        await client.read()
        await client.contribute(0, 2)
        failed = await client.read()
        assert isinstance(failed, Failed)
        assert failed.reason == "STEP_OUT_OF_RANGE"
        assert type(await client.verdict()) is StepOutOfRangeError
