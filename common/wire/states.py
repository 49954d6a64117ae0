"""Steps, and the states in them, between dataclasses and protobuf.

Reading a state makes the one that its process computes with, which brings torch along; all other
frames do without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from common.errors import StepOutOfRangeError
from common.pb import collaboration_pb2 as pb
from common.processes.masked.settings import MaskedProcess
from common.processes.simplex.settings import (
    MAX_HOT,
    Projection,
    SelfConditioning,
    SimplexSettings,
)
from common.wire.checks import (
    bounded,
    ids_from_bytes,
    ids_to_bytes,
    integer,
    length,
    numbers_from_bytes,
    pack_bits,
    refuse,
    unique_in_rows,
    unpack_bits,
)
from common.wire.frames import DRAFT, MAX_FUSED_ENTRIES, Opened, Step

if TYPE_CHECKING:
    from common.denoising.process import Process, State
    from common.processes.masked.state import MaskedState
    from common.processes.simplex.process import Simplex
    from common.processes.simplex.state import FusedSignal, SimplexState

_LARGEST_SUM = 1.001
"""fp16 rounding may carry the sum of a row's probabilities this far."""


def moment(block: int, step: int, opened: Opened) -> tuple[int, int]:
    """(block, step), if the session can reach them.

    Raises:
        StepOutOfRangeError: It cannot.
    """
    blocks, steps = opened.blocks, opened.settings.steps
    if block >= blocks or step >= steps:
        raise StepOutOfRangeError(
            f"block and step: expected below {blocks} and {steps}, got {block} and {step}"
        )
    return block, step


def decided_to_bytes(decided: np.ndarray) -> bytes:
    """Who decided each token, two bits each."""
    return pack_bits(decided - np.uint8(1), 2)


def decided_from_bytes(data: bytes, count: int) -> np.ndarray:
    """(count,) uint8 values of `Decider`."""
    return unpack_bits("decided", data, bits=2, count=count).astype(np.uint8) + np.uint8(1)


def step_to_proto(frame: Step, opened: Opened) -> pb.Step:
    """The message of a step."""
    size = opened.vocabulary_size
    message = pb.Step(
        block=frame.block,
        step=frame.step,
        finished_ids=ids_to_bytes("finished_ids", frame.finished_ids, vocabulary_size=size),
        decided=decided_to_bytes(frame.decided),
    )
    if isinstance(opened.process, MaskedProcess):
        message.masked.CopyFrom(_masked_to_proto(frame.state, opened))
    else:
        message.simplex.CopyFrom(_simplex_to_proto(frame.state, size))
    return message


def step_from_proto(message: pb.Step, opened: Opened, process: Process) -> Step:
    """A step, with the state that the agreed process makes of it.

    Raises:
        InvalidFrameError: It breaks the contract.
    """
    block, step = moment(message.block, message.step, opened)
    if message.WhichOneof("state") != process.name:
        raise refuse("step.state", f"a {process.name} state", "none, or one unknown here")
    positions = opened.settings.block_length
    started = (block, step) != (0, 0)
    state: State = (
        _masked_from_proto(message, opened)
        if process.name == "masked"
        else _simplex_from_proto(message, opened, cast("Simplex", process))
    )
    return Step(
        block=block,
        step=step,
        state=state,
        finished_ids=ids_from_bytes(
            "step.finished_ids",
            message.finished_ids,
            count=positions if block and not step else 0,
            vocabulary_size=opened.vocabulary_size,
        ),
        decided=decided_from_bytes(message.decided, positions if started else 0),
    )


def _simplex_to_proto(state: SimplexState, size: int) -> pb.SimplexState:
    estimate, signal = state.estimate, state.signal
    return pb.SimplexState(
        h=estimate.shape[1],
        ids=ids_to_bytes("state.ids", estimate, vocabulary_size=size),
        fused=None
        if signal is None
        else pb.FusedSignal(
            entries=signal.ids.shape[1],
            ids=ids_to_bytes("fused.ids", signal.ids, vocabulary_size=size),
            probabilities=signal.probabilities.astype("<f2", copy=False).tobytes(),
        ),
    )


def _simplex_from_proto(message: pb.Step, opened: Opened, process: Simplex) -> SimplexState:
    """The state with its estimate, (block_length, h) int64: h = 0 at step 0, then 1, or up to 16
    with the projection multi-hot.
    """
    state, step = message.simplex, message.step
    positions, size = opened.settings.block_length, opened.vocabulary_size
    settings = cast(SimplexSettings, opened.settings.process)
    most = MAX_HOT if settings.projection is Projection.MULTI_HOT else 1
    low, high = (1, min(most, size)) if step else (0, 0)
    h = integer("state.h", state.h, low=low, high=high)
    ids = ids_from_bytes(
        "state.ids", state.ids, count=positions * h, vocabulary_size=size, padded=h > 1
    ).reshape(positions, h)
    if h > 1:
        present = ids >= 0
        if not present[:, 0].all() or (present[:, 1:] & ~present[:, :-1]).any():
            raise refuse("state.ids", "at least one id a row, then padding", "padding before an id")
        unique_in_rows("state.ids", ids[present], present.sum(axis=1))
    wanted = step > 0 and settings.self_conditioning is SelfConditioning.FUSED
    if state.HasField("fused") != wanted:
        raise refuse("state.fused", "a signal" if wanted else "none", "the opposite")
    signal = _signal_from_proto(state.fused, opened) if wanted else None
    return process.state(message.block, step, ids, signal)


def _signal_from_proto(message: pb.FusedSignal, opened: Opened) -> FusedSignal:
    from common.processes.simplex.state import FusedSignal

    positions, size = opened.settings.block_length, opened.vocabulary_size
    top = min(MAX_FUSED_ENTRIES, size)
    shape = (positions, integer("fused.entries", message.entries, low=1, high=top))
    count = shape[0] * shape[1]
    ids = ids_from_bytes("fused.ids", message.ids, count=count, vocabulary_size=size)
    unique_in_rows("fused.ids", ids, np.full(positions, shape[1]))
    probabilities = numbers_from_bytes(
        "fused.probabilities", message.probabilities, code="<f2", count=count, low=0.0, high=1.0
    ).reshape(shape)
    sums = probabilities.sum(axis=1, dtype=np.float64)
    bounded("fused.probabilities, summed", sums, low=0.0, high=_LARGEST_SUM)
    return FusedSignal(ids.reshape(shape), probabilities)


def _masked_to_proto(state: MaskedState, opened: Opened) -> pb.MaskedState:
    size, guessed = opened.vocabulary_size, _guessed(state.ids, state.step, opened)
    return pb.MaskedState(
        ids=ids_to_bytes("state.ids", state.ids, vocabulary_size=size),
        guesses=ids_to_bytes("state.guesses", state.guess[guessed], vocabulary_size=size),
        probabilities=state.probability[guessed].tobytes(),
    )


def _masked_from_proto(message: pb.Step, opened: Opened) -> MaskedState:
    from common.processes.masked.state import MaskedState

    state, size = message.masked, opened.vocabulary_size
    positions = opened.settings.block_length
    ids = ids_from_bytes("state.ids", state.ids, count=positions, vocabulary_size=size, padded=True)
    guessed = _guessed(ids, message.step, opened)
    count = int(guessed.sum())
    guess, probability = np.full(positions, -1), np.zeros(positions, np.uint8)
    guess[guessed] = ids_from_bytes(
        "state.guesses", state.guesses, count=count, vocabulary_size=size, padded=True
    )
    sent = length("state.probabilities", state.probabilities, count)
    probability[guessed] = np.frombuffer(sent, np.uint8)
    if probability[guess < 0].any():
        raise refuse("state.probabilities", "0 where there is no guess", "others")
    return MaskedState(message.block, message.step, ids, guess, probability)


def _guessed(ids: np.ndarray, step: int, opened: Opened) -> np.ndarray:
    """(positions,) bool, where a guess travels."""
    masked: np.ndarray = ids < 0
    return masked & (step > 0 and DRAFT in opened.features)
