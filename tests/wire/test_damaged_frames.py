"""Bytes that were damaged on their way are read or refused."""

import tracemalloc
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from common.collaboration.settings import Codec, Limits
from common.errors import (
    CollaborationError,
    InvalidFrameError,
)
from common.pb import collaboration_pb2 as pb
from common.processes.simplex.settings import Projection, SelfConditioning
from common.wire.conversions import (
    client_frame_to_proto,
    server_frame_from_proto,
    server_frame_to_proto,
)
from common.wire.frames import (
    Checkpoint,
    Opened,
)
from tests.wire.frame_cases import (
    ASK,
    COMPLETED,
    DAVID,
    MASKED,
    OPEN,
    OPENED,
    POSITIONS,
    VOCABULARY,
    agreed,
    agreed_process,
    contribution_of,
    fused_step,
    list_parts,
    masked_step,
    read_down,
    read_up,
    shorts,
    simplex_step,
    topk_message,
)


def client_messages() -> list[tuple[bytes, Opened | None]]:
    part = list_parts(contribution_of(Codec.DENSE), 10**6)[0]
    dense = client_frame_to_proto(part, vocabulary_size=VOCABULARY)
    first = simplex_step(0, 0, np.empty((POSITIONS, 0), np.int64))
    checkpoint = Checkpoint(OPENED, 0, np.arange(0), (first,))
    resumed = client_frame_to_proto(replace(OPEN, checkpoint=checkpoint))
    return [
        (resumed.SerializeToString(), None),
        (topk_message().SerializeToString(), OPENED),
        (dense.SerializeToString(), OPENED),
    ]


CLIENT_MESSAGES = client_messages()
SERVER_MESSAGES: list[tuple[bytes, Opened | None]] = [
    (server_frame_to_proto(OPENED).SerializeToString(), None),
    (
        server_frame_to_proto(fused_step(), opened=OPENED).SerializeToString(),
        agreed(self_conditioning=SelfConditioning.FUSED),
    ),
    (server_frame_to_proto(masked_step(), opened=MASKED).SerializeToString(), MASKED),
    (server_frame_to_proto(ASK, opened=OPENED).SerializeToString(), OPENED),
    (server_frame_to_proto(COMPLETED, opened=OPENED).SerializeToString(), OPENED),
]


def damaged(data: st.DataObject, whole: bytes) -> bytes:
    """The bytes with some flipped, cut or repeated."""
    result = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        result[data.draw(st.integers(0, len(result) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(result)))
    return bytes(result[:end] if data.draw(st.booleans()) else result + result[end:])


@settings(deadline=None, max_examples=300)
@given(st.data(), st.sampled_from(CLIENT_MESSAGES))
def test_damaged_client_frames_are_read_or_refused(data: st.DataObject, case: Any) -> None:
    with suppress(DecodeError, CollaborationError):
        message = pb.CollaborateRequest.FromString(damaged(data, case[0]))
        codec = st.sampled_from([DAVID, replace(DAVID, codec=Codec.DENSE)])
        read_up(message, case[1], contributor=data.draw(codec))


@settings(deadline=None, max_examples=300)
@given(st.data(), st.sampled_from(SERVER_MESSAGES))
def test_damaged_server_frames_are_read_or_refused(data: st.DataObject, case: Any) -> None:
    with suppress(DecodeError, CollaborationError):
        read_down(pb.CollaborateResponse.FromString(damaged(data, case[0])), case[1])


def test_huge_counts_are_refused_before_allocation() -> None:
    large = agreed(block_length=4096, max_tokens=4096, projection=Projection.MULTI_HOT)
    opened = replace(large, vocabulary_size=2**20, limits=Limits(max_entries=65535))
    topk = pb.Contribution(codec=pb.CODEC_TOPK, chunk_count=1, rows=4096)
    topk.counts = shorts(*[65535] * 4096)
    dense = pb.Contribution(codec=pb.CODEC_DENSE, chunk_count=1, rows=4096)
    step = pb.Step(step=1, simplex=pb.SimplexState(h=16))
    masked = pb.Step(step=1, masked=pb.MaskedState())
    masks = replace(MASKED, settings=replace(MASKED.settings, block_length=4096))
    terms = (opened, replace(masks, vocabulary_size=2**20))
    processes = [agreed_process(one) for one in terms]
    tracemalloc.start()
    for message, codec in ((topk, Codec.TOPK), (dense, Codec.DENSE)):
        with pytest.raises(InvalidFrameError, match="bytes"):
            read_up(
                pb.CollaborateRequest(contribution=message),
                opened,
                contributor=replace(DAVID, codec=codec),
            )
    for one, agreed_on, process in zip((step, masked), terms, processes, strict=True):
        with pytest.raises(InvalidFrameError, match="bytes"):
            server_frame_from_proto(
                pb.CollaborateResponse(step=one), opened=agreed_on, process=process
            )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
