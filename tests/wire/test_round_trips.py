"""Every frame survives the journey."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.collaboration.settings import Codec, SessionSettings
from common.errors import (
    InvalidFrameError,
    ProtocolMismatchError,
)
from common.pb import collaboration_pb2 as pb
from common.processes.masked.settings import MaskedProcess, MaskedSettings
from common.processes.masked.state import MaskedState
from common.processes.simplex.settings import SelfConditioning, SimplexProcess
from common.processes.simplex.state import FusedSignal
from common.wire.conversions import (
    ContributionAssembler,
    client_frame_to_proto,
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
    DAVID,
    LIMITS,
    MASKED,
    MULTI_HOT,
    OPEN,
    OPENED,
    POSITIONS,
    PROCESS,
    SETTINGS,
    SUMMARY,
    VOCABULARY,
    _names,
    agreed,
    contribution_of,
    contributors,
    conversations,
    down,
    fused_step,
    list_parts,
    masked_settings,
    masked_step,
    nines,
    openeds,
    processes,
    read_down,
    same,
    simplex_step,
    some_settings,
    up,
)


@given(some_settings(), contributors, processes(), conversations, _names)
def test_open(
    asked: SessionSettings, mine: Any, process: SimplexProcess, messages: Any, used: Any
) -> None:
    frame = replace(OPEN, settings=asked, contributor=mine, process=process, messages=messages)
    frame = replace(frame, role=Role.CONTRIBUTOR, session_id="old", required_features=used)
    assert same(up(frame, None), frame)


@given(masked_settings, st.booleans())
def test_masked_terms(own: MaskedSettings, grid: bool) -> None:
    settings, process = replace(SETTINGS, process=own), MaskedProcess(grid)
    frame = replace(OPEN, settings=settings, process=process)
    assert same(up(frame, None), frame)
    opened = replace(MASKED, settings=settings, process=process)
    assert same(down(opened, None), opened)


@given(openeds())
def test_opened(frame: Opened) -> None:
    assert same(down(frame, None), frame)


@given(openeds(), st.integers(0, 3))
def test_checkpoint(opened: Opened, done: int) -> None:
    own = replace(opened.settings.process, self_conditioning=SelfConditioning.OWN)
    opened = replace(opened, settings=replace(opened.settings, max_tokens=192, process=own))
    done = min(done, opened.settings.steps)
    before = {"decided": np.ones(64, np.uint8), "opened": opened}
    frame = Checkpoint(
        opened=opened,
        block=2,
        finished_ids=np.ones(128, np.int64),
        steps=tuple(
            simplex_step(
                2,
                step,
                np.zeros((64, int(step > 0)), np.int64),
                finished_ids=np.ones(0 if step else 64, np.int64),
                **before,
            )
            for step in range(done)
        ),
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
    agreed_on, assembler = replace(DAVID, codec=codec), ContributionAssembler(POSITIONS)
    joined = None
    for part in list_parts(contribution, room):
        assert joined is None
        message = client_frame_to_proto(part, vocabulary_size=VOCABULARY)
        assert message.ByteSize() <= room
        joined = assembler.add(up(part, contributor=agreed_on))
    assert same(joined, contribution)


@pytest.mark.parametrize("h", [1, 2, 16])
def test_step(h: int) -> None:
    estimate = np.stack([np.arange(h) + 7 * row for row in range(POSITIONS)])
    if h > 1:
        estimate[2, 1:] = -1
    decided = np.array([1, 2, 3, 4, 1], np.uint8)
    frame = simplex_step(1, 3, estimate, opened=MULTI_HOT, decided=decided)
    assert same(down(frame, MULTI_HOT), frame)
    if h > 1:
        with pytest.raises(InvalidFrameError, match=r"state\.h: expected 1 to 1"):
            down(frame)


def test_first_steps() -> None:
    nothing = np.empty((POSITIONS, 0), np.int64)
    first = simplex_step(0, 0, nothing)
    assert same(down(first), first)
    decided = np.ones(POSITIONS, np.uint8)
    later = simplex_step(1, 0, nothing, finished_ids=np.arange(POSITIONS), decided=decided)
    assert same(down(later), later)


def test_a_ramp_gives_each_position_its_time() -> None:
    ramped = agreed(ramp=2.0)
    estimate, decided = np.zeros((POSITIONS, 1), np.int64), np.ones(POSITIONS, np.uint8)
    frame = simplex_step(0, 3, estimate, opened=ramped, decided=decided)
    came = down(frame, ramped)
    assert same(came, frame)
    assert len(set(came.state.times)) > 1
    assert came.state.seed == SETTINGS.seed


def test_masked_steps() -> None:
    assert same(down(masked_step(), MASKED), masked_step())
    first = MaskedState(0, 0, np.full(POSITIONS, -1), *no_guesses())
    assert same(down(Step(0, 0, first), MASKED), Step(0, 0, first))
    state = replace(masked_step().state, guess=no_guesses()[0], probability=no_guesses()[1])
    quiet = replace(MASKED, features=())
    assert same(down(masked_step(), quiet).state, state)
    assert quiet.blocks == MASKED.blocks == 4  # the prompt's last two ids begin the first block
    assert replace(quiet, process=MaskedProcess(grid=False)).blocks == 3
    last = replace(masked_step(), block=3, state=replace(masked_step().state, block=3))
    assert same(down(last, MASKED), last)


def no_guesses() -> tuple[np.ndarray, np.ndarray]:
    return np.full(POSITIONS, -1), np.zeros(POSITIONS, np.uint8)


def test_fused_step() -> None:
    opened = agreed(self_conditioning=SelfConditioning.FUSED)
    assert same(down(fused_step(), opened), fused_step())
    with pytest.raises(InvalidFrameError, match="fused"):
        down(fused_step(), OPENED)
    with pytest.raises(InvalidFrameError, match="fused"):
        down(with_signal(None), opened)
    signal = fused_step().state.signal
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
            down(with_signal(wrong), opened)
    message = server_frame_to_proto(fused_step(), opened=OPENED)
    for name, value in (
        ("entries", 257),
        ("entries", 2**32 - 1),
        ("ids", nines(*[0, 1, 2, VOCABULARY] * POSITIONS)),
        ("ids", nines(*[0, 1, 2, 511] * POSITIONS)),
    ):
        hostile = pb.CollaborateResponse()
        hostile.CopyFrom(message)
        setattr(hostile.step.simplex.fused, name, value)
        with pytest.raises(InvalidFrameError, match="fused"):
            read_down(hostile, opened)


def with_signal(signal: FusedSignal | None) -> Step:
    return replace(fused_step(), state=replace(fused_step().state, signal=signal))


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
    info = ServerInfo("0.1.0", "mini", SUMMARY, 15000, PROCESS, LIMITS, SETTINGS, DAVID, ("ask",))
    assert same(server_info_from_proto(server_info_to_proto(info)), info)
    with pytest.raises(ProtocolMismatchError, match="same release"):
        server_info_from_proto(server_info_to_proto(replace(info, protocol_version=2)))
