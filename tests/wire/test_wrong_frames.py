"""Steps, asks, answers and ends that break the contract are refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.collaboration.settings import Codec, Limits
from common.errors import (
    InvalidFrameError,
)
from common.pb import collaboration_pb2 as pb
from common.wire.conversions import (
    client_frame_from_proto,
    client_frame_to_proto,
    server_frame_from_proto,
    server_frame_to_proto,
)
from common.wire.frames import (
    Answer,
    Ask,
    Cancel,
    Completed,
    Failed,
    Participation,
)
from tests.wire.frame_cases import (
    ASK,
    COMPLETED,
    LIMITS,
    MASKED,
    MULTI_HOT,
    OPEN,
    OPENED,
    POSITIONS,
    contribution_of,
    down,
    list_parts,
    masked_step,
    nines,
    read_down,
    read_up,
    set_field,
    simplex_step,
    topk_message,
    up,
)


@pytest.mark.parametrize(
    ("block", "step", "name", "value", "match"),
    [
        (0, 0, "simplex.h", 1, "state.h"),
        (0, 1, "simplex.h", 0, "state.h"),
        (0, 1, "simplex.h", 17, "state.h"),
        (0, 1, "simplex.h", 2, "state.h"),
        (0, 1, "simplex.ids", nines(1, 2, 3, 4, 300), "below"),
        (0, 1, "simplex.ids", nines(1, 2, 3, 4, 511), "below"),
        (0, 1, "decided", b"", "decided"),
        (0, 1, "decided", bytes([0, 0, 0]), "decided"),
        (0, 1, "decided", bytes([0, 4]), "bits after"),
        (0, 1, "finished_ids", nines(1, 2, 3, 4, 5), "finished_ids"),
        (0, 0, "decided", bytes(2), "decided"),
        (1, 0, "finished_ids", b"", "finished_ids"),
    ],
)
def test_wrong_steps(block: int, step: int, name: str, value: Any, match: str) -> None:
    message = pb.CollaborateResponse(step=pb.Step(block=block, step=step)).step
    message.simplex.h = int(step > 0)
    message.simplex.ids = nines(1, 2, 3, 4, 5) if step else b""
    message.decided = bytes([228, 3]) if block or step else b""
    message.finished_ids = nines(1, 2, 3, 4, 5) if block and not step else b""
    assert read_down(pb.CollaborateResponse(step=message))
    set_field(name, value)(message)
    with pytest.raises(InvalidFrameError, match=match):
        read_down(pb.CollaborateResponse(step=message))


@pytest.mark.parametrize("row", [[-1, 4], [4, 4]])
def test_wrong_multi_hot_rows(row: list[int]) -> None:
    estimate = np.array([[1, 2]] * (POSITIONS - 1) + [row])
    with pytest.raises(InvalidFrameError, match=r"state\.ids"):
        down(simplex_step(0, 1, estimate, decided=np.ones(POSITIONS, np.uint8)), MULTI_HOT)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(ASK, positions=np.array([3, 0])),
        replace(ASK, positions=np.array([3, 3])),
        replace(ASK, positions=np.array([0, POSITIONS])),
        replace(ASK, counts=np.array([2, 0])),
        replace(ASK, counts=np.array([5, 1])),
        replace(ASK, counts=np.array([1, 1])),
        replace(ASK, ids=np.array([4, 4, 4])),
        Ask(0, 0, np.arange(4), np.full(4, 4), np.tile(np.arange(4), 4)),
        Ask(0, 0, np.arange(0), np.arange(0), np.arange(0)),
    ],
)
def test_wrong_asks(wrong: Ask) -> None:
    with pytest.raises(InvalidFrameError, match="ask"):
        down(wrong)


def test_asks_are_refused_where_there_are_none() -> None:
    for none in (Limits(max_ask_ids=0), Limits(max_ask_ids_per_position=0)):
        with pytest.raises(InvalidFrameError, match="ask"):
            down(ASK, replace(OPENED, limits=none))


@pytest.mark.parametrize(
    "values", [[], [0.5], [float("nan")], [float("-inf")], [-40000.0], [-1.0] * 13]
)
def test_wrong_answers(values: list[float]) -> None:
    with pytest.raises(InvalidFrameError, match="answer"):
        up(Answer(0, 0, np.array(values, np.float16)))


@pytest.mark.parametrize(
    "wrong",
    [
        replace(COMPLETED, ids=np.arange(16)),
        replace(COMPLETED, decided=np.ones(3, np.uint8)),
        replace(COMPLETED, participations=(Participation("x y", np.ones(1)),)),
        replace(COMPLETED, participations=(Participation("x", np.zeros(1)),)),
        replace(COMPLETED, participations=(Participation("x", np.ones(19)),)),
        replace(COMPLETED, participations=(Participation("x", np.ones(1)),) * 2),
    ],
)
def test_wrong_completions(wrong: Completed) -> None:
    with pytest.raises(InvalidFrameError):
        down(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        Failed(0, 0, "lower", ""),
        Failed(0, 0, "", ""),
        Failed(2**16, 0, "X", ""),
        Failed(0, 0, "X", "x" * 2001),
        Failed(0, 0, "X", "", "x" * 2001),
    ],
)
def test_wrong_failures(wrong: Failed) -> None:
    with pytest.raises(InvalidFrameError):
        down(wrong)


def test_frames_out_of_turn_and_unknown_frames() -> None:
    nothing = np.empty((POSITIONS, 0), np.int64)
    with pytest.raises(InvalidFrameError, match="open first"):
        client_frame_from_proto(client_frame_to_proto(Cancel(0, 0)), limits=LIMITS, opened=None)
    with pytest.raises(InvalidFrameError, match="open first"):
        client_frame_from_proto(client_frame_to_proto(OPEN), limits=LIMITS, opened=OPENED)
    step = server_frame_to_proto(simplex_step(0, 0, nothing), opened=OPENED)
    with pytest.raises(InvalidFrameError, match="opened first"):
        server_frame_from_proto(step, opened=None)
    with pytest.raises(InvalidFrameError, match="opened first"):
        server_frame_from_proto(server_frame_to_proto(OPENED), opened=OPENED)
    with pytest.raises(InvalidFrameError, match="unknown here"):
        client_frame_from_proto(pb.CollaborateRequest(), limits=LIMITS, opened=OPENED)
    # Field 15 is no frame of this version: protobuf keeps it as unknown and no member is set.
    future = pb.CollaborateResponse.FromString(b"\x7a\x00")
    with pytest.raises(InvalidFrameError, match="unknown here"):
        server_frame_from_proto(future, opened=OPENED)
    with pytest.raises(InvalidFrameError, match="simplex state"):
        read_down(pb.CollaborateResponse(step=pb.Step()))
    with pytest.raises(InvalidFrameError, match="simplex state"):
        read_down(server_frame_to_proto(masked_step(), opened=MASKED))
    with pytest.raises(InvalidFrameError, match="unknown here"):
        read_up(topk_message(), contributor=None)


def test_writing_needs_the_vocabulary() -> None:
    with pytest.raises(TypeError):
        server_frame_to_proto(ASK)
    part = list_parts(contribution_of(Codec.TOPK), 10**6)[0]
    with pytest.raises(TypeError):
        client_frame_to_proto(part)
    with pytest.raises(InvalidFrameError):
        server_frame_to_proto(ASK, opened=replace(OPENED, vocabulary_size=100))
    with pytest.raises(TypeError):
        server_frame_from_proto(pb.CollaborateResponse(step=pb.Step()), opened=OPENED)
