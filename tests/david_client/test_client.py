"""The client: what it counts, its drafts, and a David that breaks."""

import threading
from typing import Any

import pytest

from common.collaboration.contributor import Contributor
from common.errors import (
    BadDataError,
    InternalError,
    LimitExceededError,
    UsageError,
)
from common.models.simplex_lm import SimplexPredictor
from tests.serving import (
    CONTEXT,
    DAVID,
    PROMPT,
    embedded,
    question,
    serving,
)


async def test_bytes_are_those_of_the_messages() -> None:
    async with serving() as served:
        none = await served.ask(question(weight=0.0))
        some = await served.ask(question())
    assert 0 < none.bytes_up < 300
    assert none.bytes_up < some.bytes_up
    assert some.bytes_down < 2000
    assert embedded(question()).bytes_up == 0


async def test_drafts_are_those_of_the_embedded_run() -> None:
    over: list[Any] = []
    here: list[Any] = []
    asked_ = question(max_tokens=32, temperature=0.0)
    async with serving() as served:
        await served.ask(asked_, on_draft=over.append)
    embedded(asked_, on_draft=here.append)
    assert len(over) == len(here) == 8
    for a, b in zip(over, here, strict=True):
        assert (a.block, a.step, a.t, a.finished) == (b.block, b.step, b.t, b.finished)
        assert (a.estimate is None) == (b.estimate is None) == (a.step == 0)
        assert a.estimate is None or a.estimate.tolist() == b.estimate.tolist()


async def test_david_computes_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[str] = set()
    own = SimplexPredictor.predict

    def watched(self: SimplexPredictor, views: Any) -> Any:
        if self is DAVID.predictor:
            threads.add(threading.current_thread().name)
        return own(self, views)

    monkeypatch.setattr(SimplexPredictor, "predict", watched)
    async with serving() as served:
        await served.ask(question())
    assert len(threads) == 1
    assert threads.pop().startswith("david")


async def test_a_david_that_breaks_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise InternalError("expected finite logits from the model")

    monkeypatch.setattr(Contributor, "contribute", broken)
    async with serving() as served:
        with pytest.raises(InternalError, match="finite"):
            await served.ask(question())


async def test_texts_that_cannot_be_asked() -> None:
    async with serving() as served:
        with pytest.raises(UsageError, match="context"):
            await served.ask(question(contrast=0.5))
        with pytest.raises((BadDataError, LimitExceededError), match="David"):
            await served.ask(question(context=CONTEXT * 50))
        with pytest.raises((BadDataError, LimitExceededError), match="256"):
            await served.ask(question(weight=0.0, prompt=PROMPT * 80))
