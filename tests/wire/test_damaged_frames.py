"""Bytes that were damaged on their way are read or refused."""

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from common.collaboration.contribution import Codec
from common.errors import (
    CollaborationError,
    InvalidFrameError,
)
from common.pb import collaboration_pb2 as pb
from common.processes.simplex.settings import Projection, SelfConditioning
from common.wire.conversions import (
    client_frame_from_proto,
    client_frame_to_proto,
    server_frame_from_proto,
    server_frame_to_proto,
)
from common.wire.frames import (
    Checkpoint,
    Limits,
    Opened,
)
from tests.wire.frame_cases import (
    ASK,
    COMPLETED,
    LIMITS,
    OPEN,
    OPENED,
    POSITIONS,
    VOCABULARY,
    agreed,
    contribution_of,
    fused_step,
    list_parts,
    shorts,
    topk_message,
)


def client_messages() -> list[tuple[bytes, Opened | None]]:
    part = list_parts(contribution_of(Codec.DENSE), 10**6)[0]
    dense = client_frame_to_proto(part, vocabulary_size=VOCABULARY)
    checkpoint = Checkpoint(OPENED, 0, np.arange(0), (np.empty((POSITIONS, 0), np.int64),))
    resumed = client_frame_to_proto(replace(OPEN, checkpoint=checkpoint))
    return [
        (resumed.SerializeToString(), None),
        (topk_message().SerializeToString(), OPENED),
        (dense.SerializeToString(), agreed(codec=Codec.DENSE)),
    ]


CLIENT_MESSAGES = client_messages()
SERVER_MESSAGES: list[tuple[bytes, Opened | None]] = [
    (server_frame_to_proto(OPENED).SerializeToString(), None),
    (
        server_frame_to_proto(fused_step(), vocabulary_size=VOCABULARY).SerializeToString(),
        agreed(self_conditioning=SelfConditioning.FUSED),
    ),
    (server_frame_to_proto(ASK, vocabulary_size=VOCABULARY).SerializeToString(), OPENED),
    (server_frame_to_proto(COMPLETED, vocabulary_size=VOCABULARY).SerializeToString(), OPENED),
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
    try:
        message = pb.CollaborateRequest.FromString(damaged(data, case[0]))
        client_frame_from_proto(message, limits=LIMITS, opened=case[1])
    except (DecodeError, CollaborationError):
        pass


@settings(deadline=None, max_examples=300)
@given(st.data(), st.sampled_from(SERVER_MESSAGES))
def test_damaged_server_frames_are_read_or_refused(data: st.DataObject, case: Any) -> None:
    try:
        message = pb.CollaborateResponse.FromString(damaged(data, case[0]))
        server_frame_from_proto(message, opened=case[1])
    except (DecodeError, CollaborationError):
        pass


def test_huge_counts_are_refused_before_allocation() -> None:
    large = agreed(block_length=4096, max_tokens=4096, projection=Projection.MULTI_HOT)
    opened = replace(large, vocabulary_size=2**20, limits=Limits(max_entries=65535))
    topk = pb.Contribution(codec=pb.CODEC_TOPK, chunk_count=1, rows=4096)
    topk.counts = shorts(*[65535] * 4096)
    dense = pb.Contribution(codec=pb.CODEC_DENSE, chunk_count=1, rows=4096)
    step = pb.Step(step=1, simplex=pb.SimplexState(h=16))
    messages = [
        (pb.CollaborateRequest(contribution=topk), opened),
        (
            pb.CollaborateRequest(contribution=dense),
            replace(opened, settings=replace(opened.settings, codec=Codec.DENSE)),
        ),
    ]
    tracemalloc.start()
    for message, terms in messages:
        with pytest.raises(InvalidFrameError, match="bytes"):
            client_frame_from_proto(message, limits=LIMITS, opened=terms)
    with pytest.raises(InvalidFrameError, match="bytes"):
        server_frame_from_proto(pb.CollaborateResponse(step=step), opened=opened)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
