"""Every frame survives the journey."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.collaboration.contribution import Codec
from common.collaboration.settings import SessionSettings
from common.errors import (
    InvalidFrameError,
    ProtocolMismatchError,
)
from common.pb import collaboration_pb2 as pb
from common.processes.simplex.settings import SelfConditioning, SimplexProcess
from common.processes.simplex.state import FusedSignal
from common.wire.conversions import (
    ContributionAssembler,
    client_frame_to_proto,
    server_frame_from_proto,
    server_frame_to_proto,
    server_info_from_proto,
    server_info_to_proto,
)
from common.wire.frames import (
    Answer,
    Cancel,
    Checkpoint,
    Failed,
    Finish,
    Opened,
    Outcome,
    Participation,
    Role,
    ServerInfo,
    Step,
)
from tests.wire.frame_cases import (
    ASK,
    COMPLETED,
    LIMITS,
    MULTI_HOT,
    OPEN,
    OPENED,
    POSITIONS,
    PROCESS,
    SETTINGS,
    VOCABULARY,
    _names,
    agreed,
    contribution_of,
    down,
    fused_step,
    list_parts,
    nines,
    openeds,
    processes,
    same,
    some_settings,
    up,
)


@given(some_settings(), processes(), st.text(max_size=50), _names)
def test_open(wishes: SessionSettings, process: SimplexProcess, prompt: str, used: Any) -> None:
    frame = replace(OPEN, settings=wishes, process=process, prompt=prompt, required_features=used)
    frame = replace(frame, role=Role.CONTRIBUTOR, session_id="old")
    assert same(up(frame, None), frame)


@given(openeds())
def test_opened(frame: Opened) -> None:
    assert same(down(frame, None), frame)


@given(openeds(), st.integers(0, 3))
def test_checkpoint(opened: Opened, done: int) -> None:
    opened = replace(opened, settings=replace(opened.settings, max_tokens=192))
    done = min(done, opened.settings.steps)
    frame = Checkpoint(
        opened=opened,
        block=2,
        finished_ids=np.ones(128, np.int64),
        estimates=tuple(np.zeros((64, int(step > 0)), np.int64) for step in range(done)),
        participations=(Participation("david", np.array([1, 2, 3], np.uint8)),)
        if opened.settings.steps > 1
        else (),
        unchanged_steps=done,
    )
    limits = replace(LIMITS, max_block_length=256)
    whole = replace(OPEN, checkpoint=frame)
    assert same(up(whole, None, limits), whole)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(Codec), st.sampled_from([900, 1500, 10**6]))
def test_contribution_in_parts(seed: int, codec: Codec, room: int) -> None:
    contribution = contribution_of(codec, seed)
    opened, assembler = agreed(codec=codec), ContributionAssembler(POSITIONS)
    joined = None
    for part in list_parts(contribution, room):
        assert joined is None
        message = client_frame_to_proto(part, vocabulary_size=VOCABULARY)
        assert message.ByteSize() <= room
        joined = assembler.add(up(part, opened))
    assert same(joined, contribution)


@pytest.mark.parametrize("h", [1, 2, 16])
def test_step(h: int) -> None:
    estimate = np.stack([np.arange(h) + 7 * row for row in range(POSITIONS)])
    if h > 1:
        estimate[2, 1:] = -1
    decided = np.array([1, 2, 3, 4, 1], np.uint8)
    frame = Step(block=1, step=3, estimate=estimate, decided=decided)
    assert same(down(frame, MULTI_HOT), frame)
    if h > 1:
        with pytest.raises(InvalidFrameError, match=r"state\.h: expected 1 to 1"):
            down(frame)


def test_first_steps() -> None:
    nothing = np.empty((POSITIONS, 0), np.int64)
    first = Step(block=0, step=0, estimate=nothing)
    assert same(down(first), first)
    decided = np.ones(POSITIONS, np.uint8)
    later = Step(1, 0, nothing, finished_ids=np.arange(POSITIONS), decided=decided)
    assert same(down(later), later)


def test_fused_step() -> None:
    opened = agreed(self_conditioning=SelfConditioning.FUSED)
    assert same(down(fused_step(), opened), fused_step())
    with pytest.raises(InvalidFrameError, match="fused"):
        down(fused_step(), OPENED)
    with pytest.raises(InvalidFrameError, match="fused"):
        down(replace(fused_step(), fused=None), opened)
    signal = fused_step().fused
    assert signal is not None
    for wrong in (
        replace(signal, probabilities=signal.probabilities + np.float16(0.1)),
        replace(signal, probabilities=-signal.probabilities),
        replace(signal, probabilities=signal.probabilities * np.float16("nan")),
        replace(signal, probabilities=signal.probabilities * np.float16("inf")),
        replace(signal, probabilities=signal.probabilities[:, :3]),
        replace(signal, ids=np.zeros_like(signal.ids)),
        FusedSignal(signal.ids[:, :0], signal.probabilities[:, :0]),
    ):
        with pytest.raises(InvalidFrameError, match="fused"):
            down(replace(fused_step(), fused=wrong), opened)
    message = server_frame_to_proto(fused_step(), vocabulary_size=VOCABULARY)
    for name, value in (
        ("entries", 257),
        ("entries", 2**32 - 1),
        ("ids", nines(*[0, 1, 2, VOCABULARY] * POSITIONS)),
        ("ids", nines(*[0, 1, 2, 511] * POSITIONS)),
    ):
        hostile = pb.CollaborateResponse()
        hostile.CopyFrom(message)
        setattr(hostile.step.fused, name, value)
        with pytest.raises(InvalidFrameError, match="fused"):
            server_frame_from_proto(hostile, opened=opened)


def test_other_frames() -> None:
    answer = Answer(0, 2, np.array([-1, 0, -30000], np.float16))
    for frame in (answer, Cancel(2, 5), Finish(0, 0)):
        assert same(up(frame), frame)
    failed = Failed(1, 2, "OUT_OF_TIME", "late", "wait\n")
    for server_frame in (ASK, COMPLETED, failed):
        assert same(down(server_frame), server_frame)
    assert same(down(failed, None), failed)
    assert COMPLETED.participations[0].count(Outcome.TOOK_PART) == 2


def test_server_info() -> None:
    info = ServerInfo("0.1.0", "mini", bytes(32), 15000, PROCESS, LIMITS, SETTINGS, ("ask",))
    assert same(server_info_from_proto(server_info_to_proto(info)), info)
    with pytest.raises(ProtocolMismatchError, match="same release"):
        server_info_from_proto(server_info_to_proto(replace(info, protocol_version=2)))
