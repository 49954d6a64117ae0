"""The client against servers that misbehave: what it refuses."""

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.collaboration.batcher import Batcher
from common.collaboration.contribution import Tally
from common.collaboration.contributor import Contributor
from common.collaboration.settings import Codec, Limits
from common.denoising.plan import FinishReason
from common.denoising.process import Shown
from common.errors import (
    IncompatibleError,
    InvalidFrameError,
    ModelMismatchError,
    ProcessMismatchError,
    ProtocolMismatchError,
    VocabularyMismatchError,
)
from common.pb import collaboration_pb2 as pb
from common.wire.frames import Completed
from goliath_server.session import open_session
from tests.david_client.puppet import HOST, Puppet, answered, ask_about, asked, never
from tests.serving import (
    DAVID,
    VOCABULARY,
    question,
)


@pytest.mark.parametrize(
    ("info", "error"),
    [
        ({"vocabulary": replace(VOCABULARY.summary, form=bytes(8))}, VocabularyMismatchError),
        (
            {"process": replace(HOST.info(software_version="1").process, k=4.0)},
            ProcessMismatchError,
        ),
        ({"protocol_version": 2}, ProtocolMismatchError),
    ],
)
async def test_a_server_that_does_not_fit_is_left_alone(
    info: dict[str, Any], error: type[IncompatibleError]
) -> None:
    with pytest.raises(error) as caught:
        await asked(never, **info)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"prompt_ids": np.array([2, 60, 3])}, ModelMismatchError),
        ({"suffix_ids": np.array([60, 3])}, ModelMismatchError),
        ({"vocabulary_size": VOCABULARY.size + 1}, InvalidFrameError),
        ({"process": replace(HOST.info(software_version="1").process, k=4.0)}, InvalidFrameError),
    ],
)
async def test_other_terms_than_wished_are_refused(
    changes: dict[str, Any], error: type[IncompatibleError]
) -> None:
    async def script(peer: Puppet) -> None:
        await peer.open(**changes)
        await peer.context.read()

    with pytest.raises(error):
        await asked(script)


async def test_another_seed_than_wished_is_refused() -> None:
    async def script(peer: Puppet) -> None:
        session = open_session(await peer.read(), HOST, session_id="fake")
        terms = replace(session.opened.settings, seed=666)
        await peer.send(replace(session.opened, settings=terms))
        await peer.context.read()

    with pytest.raises(InvalidFrameError, match="settings"):
        await asked(script)


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ({"step": 2}, "expected step 1 of block 0"),
        ({"step": 0}, "expected step 1 of block 0"),
        ({"step": 1, "token": VOCABULARY.mask}, "none of the template's"),
    ],
)
async def test_steps_follow_each_other_with_ordinary_ids(second: Any, says: str) -> None:
    async def script(peer: Puppet) -> None:
        await peer.open()
        await peer.step()
        await peer.read()
        if not second["step"]:
            await peer.context.write(
                pb.CollaborateResponse(step=pb.Step(simplex=pb.SimplexState()))
            )
        else:
            await peer.step(**second)
        await peer.context.read()

    with pytest.raises(InvalidFrameError, match=says):
        await asked(script)


async def test_david_answers_from_the_rows_of_the_step_in_flight() -> None:
    heard: list[Any] = []

    async def script(peer: Puppet) -> None:
        await peer.open()
        for step in range(4):
            await peer.step(step=step)
            await peer.read()
            await peer.send(ask_about(step))
            heard.append(await peer.read())
        done = Completed(0, 3, np.array([60]), FinishReason.END_TOKEN, uncertified=7)
        await peer.send(done)
        await peer.read()

    reply = await answered(script)
    assert reply.certification == Tally(uncertified=7, asks=4, asked_ids=16, asked_positions=8)
    dense = question(codec=Codec.DENSE)
    process: Any = dense.plan.process
    async with Batcher(DAVID.predictor.predict) as small:
        david = dense.contributor(small.predict)
        states = [
            process.state(0, step, np.full((16, 1 if step else 0), 60, np.int64))
            for step in range(len(heard))
        ]
        made = [await david.contribute(Shown(state, process.open(state))) for state in states]
    for step, came in enumerate(heard):
        expected = made[step].values.reshape(16, -1)[[1, 1, 3, 3], [0, 1, 0, 1]]
        assert (came.block, came.step) == (0, step)
        assert came.values.tolist() == expected.tolist()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "not agreed": ({"certify": False}, "none was agreed"),
    "a step that is over": ({"about": 0}, "in flight"),
    "a step to come": ({"about": 2}, "in flight"),
    "before the contribution": ({"early": True}, "after its contribution"),
    "twice": ({"times": 2}, "after its contribution"),
    "too many at a position": ({"count": 121}, "counts"),
    "too many in all": ({"count": 100}, "ids: expected 1 to 150"),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_asks_that_were_not_agreed_to_are_refused(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    how, says = REFUSED[kind]
    if how.get("early"):
        own = Contributor.contribute

        async def late(*given: Any) -> Any:
            await asyncio.sleep(0.5)
            return await own(*given)

        monkeypatch.setattr(Contributor, "contribute", late)

    async def script(peer: Puppet) -> None:
        await peer.open(limits=Limits(max_ask_ids_per_position=120, max_ask_ids=150))
        for step in range(2):
            await peer.step(step=step)
            if how.get("early"):
                break
            await peer.read()
        for _ in range(how.get("times", 1)):
            about = 0 if how.get("early") else how.get("about", 1)
            await peer.send(ask_about(about, count=how.get("count", 2)))
        await peer.context.read()
        await peer.context.read()

    with pytest.raises(InvalidFrameError, match=says):
        await answered(script, **({"certify": how["certify"]} if "certify" in how else {}))


async def test_a_frame_of_another_version_is_refused() -> None:
    async def script(peer: Puppet) -> None:
        await peer.open()
        await peer.context.write(pb.CollaborateResponse())
        await peer.context.read()

    with pytest.raises(InvalidFrameError):
        await asked(script)
