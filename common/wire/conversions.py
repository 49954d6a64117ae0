"""Frames between dataclasses and protobuf: the door to the wire.

Only this module and its parts (`terms`, `session`, `contribution`) build or read protobuf
messages. All that a peer sends is hostile until it has passed through here: sizes before
allocation, finite numbers, ids in range and unique, known enum values and frames, steps that the
session can reach. What depends on the course of a session (is this the step in flight, is the
answer as long as its ask) is the session's to check.
"""

import re

import numpy as np

from common.collaboration.contribution import Answer, Ask
from common.denoising.plan import FinishReason
from common.errors import MAX_TEXT, InvalidFrameError
from common.pb import collaboration_pb2 as pb
from common.processes.simplex.settings import SelfConditioning
from common.processes.simplex.state import FusedSignal
from common.wire.checks import (
    bounded,
    choice,
    floats_from_bytes,
    ids_from_bytes,
    ids_to_bytes,
    integer,
    pack_bits,
    refuse,
    sized,
    unique_in_rows,
    unpack_bits,
)
from common.wire.contribution import (
    ContributionAssembler,
    answer_from_proto,
    answer_to_proto,
    ask_from_proto,
    ask_to_proto,
    chunk_from_proto,
    chunk_to_proto,
    moment,
    split_contribution,
)
from common.wire.frames import (
    MAX_FUSED_ENTRIES,
    MAX_INDEX,
    Cancel,
    ClientFrame,
    Completed,
    ContributionChunk,
    Failed,
    Finish,
    Limits,
    Open,
    Opened,
    ServerFrame,
    Step,
)
from common.wire.session import (
    open_from_proto,
    open_to_proto,
    opened_from_proto,
    opened_to_proto,
    participations_from_proto,
    participations_to_proto,
    server_info_from_proto,
    server_info_to_proto,
    state_from_proto,
    state_to_proto,
)
from common.wire.terms import check_version

__all__ = [
    "ContributionAssembler",
    "check_version",
    "client_frame_from_proto",
    "client_frame_to_proto",
    "server_frame_from_proto",
    "server_frame_to_proto",
    "server_info_from_proto",
    "server_info_to_proto",
    "split_contribution",
]

_FINISH_REASONS: dict[FinishReason, pb.FinishReason] = {
    FinishReason.END_TOKEN: pb.FINISH_REASON_END_TOKEN,
    FinishReason.MAX_TOKENS: pb.FINISH_REASON_MAX_TOKENS,
    FinishReason.CLIENT_FINISHED: pb.FINISH_REASON_CLIENT_FINISHED,
    FinishReason.DRAINING: pb.FINISH_REASON_DRAINING,
}

_REASON = re.compile(r"[A-Z0-9_]{1,64}", re.ASCII)

_LARGEST_SUM = 1.001
"""fp16 rounding may carry the sum of a row's probabilities this far."""


def client_frame_to_proto(
    frame: ClientFrame, *, vocabulary_size: int | None = None
) -> pb.CollaborateRequest:
    """The message of a client's frame.

    Args:
        frame: The frame. A contribution goes through `split_contribution` first.
        vocabulary_size: Number of token ids; only contributions need it.
    """
    match frame:
        case Open():
            return pb.CollaborateRequest(open=open_to_proto(frame))
        case ContributionChunk():
            if vocabulary_size is None:
                raise TypeError("a contribution cannot be written without the vocabulary's size")
            chunk = chunk_to_proto(frame, vocabulary_size=vocabulary_size)
            return pb.CollaborateRequest(contribution=chunk)
        case Answer():
            return pb.CollaborateRequest(answer=answer_to_proto(frame))
        case Cancel():
            return pb.CollaborateRequest(cancel=pb.Cancel(block=frame.block, step=frame.step))
        case Finish():
            return pb.CollaborateRequest(finish=pb.Finish(block=frame.block, step=frame.step))


def client_frame_from_proto(
    message: pb.CollaborateRequest, *, limits: Limits, opened: Opened | None
) -> ClientFrame:
    """A client's frame, checked.

    Args:
        message: What came.
        limits: The limits of this server.
        opened: What was agreed; None before, when only Open may come.

    Raises:
        InvalidFrameError: The frame breaks the contract, or comes out of turn.
        LimitExceededError: It asks for more than the limits.
        ProtocolMismatchError, ProcessMismatchError: The client is of another kind.
    """
    kind = message.WhichOneof("frame")
    if (kind == "open") != (opened is None):
        raise refuse("frame", "open first, and once", kind)
    if opened is None:
        return open_from_proto(message.open, limits)
    match kind:
        case "contribution":
            return chunk_from_proto(message.contribution, opened)
        case "answer":
            return answer_from_proto(message.answer, opened)
        case "cancel":
            return Cancel(*moment(message.cancel.block, message.cancel.step, opened))
        case "finish":
            return Finish(*moment(message.finish.block, message.finish.step, opened))
        case _:
            raise _unknown_frame()


def server_frame_to_proto(
    frame: ServerFrame, *, vocabulary_size: int | None = None
) -> pb.CollaborateResponse:
    """The message of a server's frame.

    Args:
        frame: The frame.
        vocabulary_size: Number of token ids; Step, Ask and Completed need it.
    """
    match frame:
        case Opened():
            return pb.CollaborateResponse(opened=opened_to_proto(frame))
        case Failed():
            return pb.CollaborateResponse(failed=_failed_to_proto(frame))
    if vocabulary_size is None:
        raise TypeError("this frame cannot be written without the vocabulary's size")
    match frame:
        case Step():
            return pb.CollaborateResponse(step=_step_to_proto(frame, vocabulary_size))
        case Ask():
            ask = ask_to_proto(frame, vocabulary_size=vocabulary_size)
            return pb.CollaborateResponse(ask=ask)
        case Completed():
            completed = _completed_to_proto(frame, vocabulary_size)
            return pb.CollaborateResponse(completed=completed)


def server_frame_from_proto(
    message: pb.CollaborateResponse, *, opened: Opened | None
) -> ServerFrame:
    """A server's frame, checked.

    Args:
        message: What came.
        opened: What was agreed; None before, when only Opened or Failed may come.

    Raises:
        InvalidFrameError: The frame breaks the contract, or comes out of turn.
        ProtocolMismatchError, ProcessMismatchError: The server is of another kind.
    """
    kind = message.WhichOneof("frame")
    if kind == "failed":
        return _failed_from_proto(message.failed)
    if (kind == "opened") != (opened is None):
        raise refuse("frame", "opened first, and once", kind)
    if opened is None:
        return opened_from_proto(message.opened)
    match kind:
        case "step":
            return _step_from_proto(message.step, opened)
        case "ask":
            return ask_from_proto(message.ask, opened)
        case "completed":
            return _completed_from_proto(message.completed, opened)
        case _:
            raise _unknown_frame()


def _unknown_frame() -> InvalidFrameError:
    return InvalidFrameError(
        "frame: expected one of this version of the contract, got none or one unknown here",
        remedy="Install the same release on both sides",
    )


def _decided_to_bytes(decided: np.ndarray) -> bytes:
    return pack_bits(decided - np.uint8(1), 2)


def _decided_from_bytes(data: bytes, count: int) -> np.ndarray:
    return unpack_bits("decided", data, bits=2, count=count).astype(np.uint8) + np.uint8(1)


def _step_to_proto(frame: Step, vocabulary_size: int) -> pb.Step:
    finished = ids_to_bytes("finished_ids", frame.finished_ids, vocabulary_size=vocabulary_size)
    fused = frame.fused
    return pb.Step(
        block=frame.block,
        step=frame.step,
        simplex=state_to_proto(frame.estimate, vocabulary_size=vocabulary_size),
        finished_ids=finished,
        decided=_decided_to_bytes(frame.decided),
        fused=None if fused is None else _fused_to_proto(fused, vocabulary_size),
    )


def _step_from_proto(message: pb.Step, opened: Opened) -> Step:
    block, step = moment(message.block, message.step, opened)
    if message.WhichOneof("state") != "simplex":
        raise refuse("step.state", "a simplex state", "none, or one unknown here")
    positions = opened.settings.block_length
    started = (block, step) != (0, 0)
    wanted = step > 0 and opened.settings.self_conditioning is SelfConditioning.FUSED
    if message.HasField("fused") != wanted:
        raise refuse("step.fused", "a signal" if wanted else "none", "the opposite")
    return Step(
        block=block,
        step=step,
        estimate=state_from_proto(message.simplex, step=step, opened=opened),
        finished_ids=ids_from_bytes(
            "step.finished_ids",
            message.finished_ids,
            count=positions if block and not step else 0,
            vocabulary_size=opened.vocabulary_size,
        ),
        decided=_decided_from_bytes(message.decided, positions if started else 0),
        fused=_fused_from_proto(message.fused, opened) if wanted else None,
    )


def _fused_to_proto(signal: FusedSignal, vocabulary_size: int) -> pb.FusedSignal:
    return pb.FusedSignal(
        entries=signal.ids.shape[1],
        ids=ids_to_bytes("fused.ids", signal.ids, vocabulary_size=vocabulary_size),
        probabilities=signal.probabilities.astype("<f2", copy=False).tobytes(),
    )


def _fused_from_proto(message: pb.FusedSignal, opened: Opened) -> FusedSignal:
    positions, size = opened.settings.block_length, opened.vocabulary_size
    top = min(MAX_FUSED_ENTRIES, size)
    shape = (positions, integer("fused.entries", message.entries, low=1, high=top))
    count = shape[0] * shape[1]
    ids = ids_from_bytes("fused.ids", message.ids, count=count, vocabulary_size=size)
    unique_in_rows("fused.ids", ids, np.full(positions, shape[1]))
    values = floats_from_bytes(
        "fused.probabilities", message.probabilities, code="<f2", count=count
    )
    bounded("fused.probabilities", values, low=0.0, high=1.0)
    probabilities = values.reshape(shape)
    sums = probabilities.sum(axis=1, dtype=np.float64)
    bounded("fused.probabilities, summed", sums, low=0.0, high=_LARGEST_SUM)
    return FusedSignal(ids.reshape(shape), probabilities)


def _completed_to_proto(frame: Completed, vocabulary_size: int) -> pb.Completed:
    return pb.Completed(
        block=frame.block,
        step=frame.step,
        ids=ids_to_bytes("completed.ids", frame.ids, vocabulary_size=vocabulary_size),
        finish_reason=_FINISH_REASONS[frame.finish_reason],
        participations=participations_to_proto(frame.participations),
        decided=_decided_to_bytes(frame.decided),
        uncertified=frame.uncertified,
        bytes_received=frame.bytes_received,
        bytes_sent=frame.bytes_sent,
    )


def _completed_from_proto(message: pb.Completed, opened: Opened) -> Completed:
    block, step = moment(message.block, message.step, opened)
    settings = opened.settings
    ids = ids_from_bytes("completed.ids", message.ids, vocabulary_size=opened.vocabulary_size)
    integer("completed.ids", len(ids), low=0, high=settings.max_tokens)
    return Completed(
        block=block,
        step=step,
        ids=ids,
        finish_reason=choice("finish_reason", message.finish_reason, _FINISH_REASONS),
        participations=participations_from_proto(message, settings),
        # Empty when the session ended before its first step was projected.
        decided=_decided_from_bytes(
            message.decided, settings.block_length if message.decided else 0
        ),
        uncertified=message.uncertified,
        bytes_received=message.bytes_received,
        bytes_sent=message.bytes_sent,
    )


def _failed_to_proto(frame: Failed) -> pb.Failed:
    return pb.Failed(
        block=frame.block,
        step=frame.step,
        reason=frame.reason,
        message=frame.message,
        remedy=frame.remedy,
    )


def _failed_from_proto(message: pb.Failed) -> Failed:
    # Before Opened nothing is agreed yet: only the contract bounds block and step.
    if _REASON.fullmatch(message.reason) is None:
        raise refuse("failed.reason", "1 to 64 of A-Z 0-9 _", f"{message.reason[:64]!r}")
    return Failed(
        block=integer("failed.block", message.block, low=0, high=MAX_INDEX - 1),
        step=integer("failed.step", message.step, low=0, high=MAX_INDEX - 1),
        reason=message.reason,
        message=sized("failed.message", message.message, high=MAX_TEXT),
        remedy=sized("failed.remedy", message.remedy, high=MAX_TEXT),
    )
