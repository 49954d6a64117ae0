"""Hostile frames end only their own session, and limits and caps hold."""

import asyncio
from typing import Any

import grpc.aio
import numpy as np
import pytest

from common.collaboration.contribution import Answer
from common.collaboration.settings import Limits
from common.errors import (
    InvalidFrameError,
    LimitExceededError,
    OutOfTimeError,
    ProtocolMismatchError,
    ServerFullError,
    SessionCancelledError,
    VocabularyMismatchError,
)
from common.pb import collaboration_pb2 as pb
from common.wire.channels import open_channel
from common.wire.conversions import client_frame_to_proto
from common.wire.frames import Cancel, Failed, Finish, Step
from goliath_server.health import SERVICE
from goliath_server.service import Caps
from tests.goliath_server.waiting import until
from tests.serving import (
    bare,
    embedded,
    open_frame,
    question,
    serving,
    terms,
)


def _garbage() -> dict[str, tuple[list[pb.CollaborateRequest], type[Exception]]]:
    good = client_frame_to_proto(open_frame())
    empty, old, foreign, unspoken, older, restless = (pb.CollaborateRequest() for _ in range(6))
    for message in (old, foreign, unspoken, older, restless):
        message.CopyFrom(good)
    old.open.protocol_version = 99
    foreign.open.vocabulary.form = bytes(8)
    unspoken.open.settings.late_rule = 77  # type: ignore[assignment]
    older.open.settings.simplex.ClearField("projection")
    restless.open.settings.simplex.halt_patience = 2**16
    nan = pb.CollaborateRequest(
        contribution=pb.Contribution(
            codec=pb.CODEC_TOPK,
            chunk_count=1,
            rows=16,
            counts=b"\1\0" * 16,
            ids=b"\x5a" * 16,
            values=b"\0\x7e" * 16,
            floors=b"\0\0" * 16,
            log_mass=bytes(64),
        )
    )
    answer = client_frame_to_proto(Answer(0, 0, np.zeros(1, np.float16)))
    return {
        "no frame": ([empty], InvalidFrameError),
        "not open first": ([client_frame_to_proto(Finish(0, 0))], InvalidFrameError),
        "open twice": ([good, good], InvalidFrameError),
        "other version": ([old], ProtocolMismatchError),
        "other vocabulary": ([foreign], VocabularyMismatchError),
        "unknown enum": ([unspoken], InvalidFrameError),
        "no projection": ([older], InvalidFrameError),
        "patience out of range": ([restless], InvalidFrameError),
        "not a number": ([good, nan], InvalidFrameError),
        "answer to no ask": ([good, answer], InvalidFrameError),
    }


@pytest.mark.parametrize("kind", _garbage())
async def test_hostile_frames_end_only_their_own_session(kind: str) -> None:
    messages, error = _garbage()[kind]
    asked = question(steps=3)
    async with serving() as served:
        good = asyncio.create_task(served.ask(asked))
        async with bare(served) as client:
            for message in messages:
                await client.send_raw(message)
            assert type(await client.verdict()) is error
        assert (await good).ids == embedded(asked).ids


async def test_bytes_that_are_no_message_end_only_their_own_session() -> None:
    async with serving() as served:
        async with open_channel(served.address, insecure=True) as channel:
            call = channel.stream_stream(f"/{SERVICE}/Collaborate")(timeout=10)
            await call.write(b"\xff" * 100)
            assert b"INVALID_FRAME" in await call.read()
        assert (await served.ask(question())).ids


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"steps": 11}, "steps: at most 10"),
        ({"block_length": 17}, "block_length: at most 16"),
        ({"max_tokens": 65}, "max_tokens: at most 64"),
        ({"weight": 0.9}, "weight: at most 0.8"),
        ({"budget_ms": 5001}, "budget_ms: at most 5000"),
    ],
)
async def test_limits_hold(asked: Any, says: str) -> None:
    limits = Limits(
        max_prompt_bytes=30,
        max_block_length=16,
        max_steps=10,
        max_tokens=64,
        max_weight=0.8,
        max_budget_ms=5000,
    )
    async with serving(limits=limits) as served, bare(served) as client:
        await client.send(open_frame(*terms(**({"budget_ms": 1} | asked))))
        verdict = await client.verdict()
    assert type(verdict) is LimitExceededError
    assert says in verdict.message


async def test_a_long_prompt_is_refused() -> None:
    async with serving(limits=Limits(max_prompt_bytes=30)) as served, bare(served) as client:
        await client.send(open_frame(prompt="soup " * 7))
        assert type(await client.verdict()) is LimitExceededError


async def test_a_huge_message_is_refused() -> None:
    async with serving() as served:
        # A channel of gRPC's own, which does not limit what it sends.
        async with grpc.aio.insecure_channel(served.address) as channel:
            call = channel.stream_stream(f"/{SERVICE}/Collaborate")(timeout=10)
            await call.write(bytes(2**24 + 1))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await served.ask(question())).ids


async def test_a_full_server_says_so_and_has_room_again() -> None:
    async with serving(caps=Caps(sessions=1)) as served:
        async with bare(served) as first:
            await first.open()
            async with bare(served) as second:
                assert type(await second.verdict()) is ServerFullError
            await first.send(Cancel(0, 0))
            assert type(await first.verdict()) is SessionCancelledError
        assert (await served.ask(question())).ids


async def test_one_peer_does_not_take_all() -> None:
    async with serving(caps=Caps(streams_per_peer=1)) as served, bare(served) as first:
        await first.open()
        async with bare(served) as second:
            verdict = await second.verdict()
    assert type(verdict) is LimitExceededError
    assert "one peer" in verdict.message


async def test_the_first_frame_must_come_soon() -> None:
    async with serving(caps=Caps(open_s=0.2)) as served, bare(served) as client:
        assert type(await client.verdict()) is OutOfTimeError


async def test_no_session_lives_for_ever() -> None:
    async with serving(caps=Caps(session_s=0.5)) as served, bare(served) as client:
        await client.open()
        assert isinstance(await client.read(), Step)
        failed = await client.read()
        assert isinstance(failed, Failed)
        assert type(await client.verdict()) is OutOfTimeError


async def test_half_close_is_a_lost_connection() -> None:
    async with serving() as served, bare(served) as client:
        await client.open()
        await client.read()
        await client.call.done_writing()
        verdict = await client.verdict()
        assert type(verdict) is InvalidFrameError
        assert "lost" in verdict.message


async def test_a_client_that_vanishes_frees_its_place() -> None:
    async with serving(caps=Caps(sessions=1)) as served:
        async with bare(served) as client:
            await client.open()
            await client.read()
        assert await until(lambda: not served.service._per_peer)
        assert (await served.ask(question())).ids
