"""Frames between dataclasses and protobuf: the door to the wire.

Only this module and its parts (`settings`, `session`, `states`, `contribution`) build or read
protobuf messages. All that a peer sends is hostile until it has passed through here: sizes before
allocation, finite numbers, ids in range and unique, known enum values and frames, steps that the
session can reach. What depends on the course of a session (is this the step in flight, is the
answer as long as its ask) is the session's to check.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from common.collaboration.contribution import Answer, Ask, Contribution
from common.collaboration.settings import ContributorSettings, Limits
from common.denoising.plan import FinishReason
from common.errors import MAX_TEXT, InvalidFrameError
from common.pb import collaboration_pb2 as pb
from common.wire.checks import choice, ids_from_bytes, ids_to_bytes, integer, refuse, sized
from common.wire.contribution import (
    ContributionAssembler,
    answer_from_proto,
    answer_to_proto,
    ask_from_proto,
    ask_to_proto,
    chunk_from_proto,
    chunk_to_proto,
    split_contribution,
)
from common.wire.frames import (
    MAX_INDEX,
    Cancel,
    ClientFrame,
    Completed,
    ContributionChunk,
    Failed,
    Finish,
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
)
from common.wire.settings import ENUMS, check_version
from common.wire.states import (
    decided_from_bytes,
    decided_to_bytes,
    moment,
    step_from_proto,
    step_to_proto,
)

if TYPE_CHECKING:
    from common.denoising.process import Process

__all__ = [
    "ContributionAssembler",
    "check_version",
    "client_frame_from_proto",
    "client_frame_to_proto",
    "client_messages",
    "server_frame_from_proto",
    "server_frame_to_proto",
    "server_info_from_proto",
    "server_info_to_proto",
    "split_contribution",
]

_REASON = re.compile(r"[A-Z0-9_]{1,64}", re.ASCII)


def client_frame_to_proto(
    frame: ClientFrame, *, vocabulary_size: int | None = None
) -> pb.CollaborateRequest:
    """The message of a client's frame.

    Args:
        frame: The frame, of a contribution a part.
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


def client_messages(
    frame: ClientFrame | Contribution, opened: Opened | None
) -> Iterator[pb.CollaborateRequest]:
    """The messages of a client's frame: for a contribution as many as its rows need, else one.

    Args:
        frame: A frame, or a whole contribution.
        opened: What was agreed; only contributions need it.

    Raises:
        LimitExceededError: A row of the contribution is too large for a message.
    """
    if not isinstance(frame, Contribution):
        yield client_frame_to_proto(frame)
        return
    assert opened is not None
    size, room = opened.vocabulary_size, opened.limits.max_message_bytes
    for part in split_contribution(frame, vocabulary_size=size, max_message_bytes=room):
        yield client_frame_to_proto(part, vocabulary_size=size)


def client_frame_from_proto(
    message: pb.CollaborateRequest,
    *,
    limits: Limits,
    opened: Opened | None,
    contributor: ContributorSettings | None = None,
) -> ClientFrame:
    """A client's frame, checked.

    Args:
        message: What came.
        limits: The limits of this server.
        opened: What was agreed; None before, when only Open may come.
        contributor: What was agreed with this client; None where it does not contribute.

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
        case "contribution" if contributor is not None:
            return chunk_from_proto(message.contribution, opened, contributor)
        case "answer":
            return answer_from_proto(message.answer, opened)
        case "cancel":
            return Cancel(*moment(message.cancel.block, message.cancel.step, opened))
        case "finish":
            return Finish(*moment(message.finish.block, message.finish.step, opened))
        case _:
            raise _unknown_frame()


def server_frame_to_proto(
    frame: ServerFrame, *, opened: Opened | None = None
) -> pb.CollaborateResponse:
    """The message of a server's frame.

    Args:
        frame: The frame.
        opened: What was agreed; Step, Ask and Completed need it.
    """
    match frame:
        case Opened():
            return pb.CollaborateResponse(opened=opened_to_proto(frame))
        case Failed():
            return pb.CollaborateResponse(failed=pb.Failed(**asdict(frame)))
    if opened is None:
        raise TypeError("this frame cannot be written before the session is open")
    match frame:
        case Step():
            return pb.CollaborateResponse(step=step_to_proto(frame, opened))
        case Ask():
            ask = ask_to_proto(frame, vocabulary_size=opened.vocabulary_size)
            return pb.CollaborateResponse(ask=ask)
        case Completed():
            completed = _completed_to_proto(frame, opened.vocabulary_size)
            return pb.CollaborateResponse(completed=completed)


def server_frame_from_proto(
    message: pb.CollaborateResponse, *, opened: Opened | None, process: Process | None = None
) -> ServerFrame:
    """A server's frame, checked.

    Args:
        message: What came.
        opened: What was agreed; None before, when only Opened or Failed may come.
        process: The process that was agreed, which makes the states; steps need it.

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
            if process is None:
                raise TypeError("a step cannot be read without the agreed process")
            return step_from_proto(message.step, opened, process)
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


def _completed_to_proto(frame: Completed, vocabulary_size: int) -> pb.Completed:
    return pb.Completed(
        block=frame.block,
        step=frame.step,
        ids=ids_to_bytes("completed.ids", frame.ids, vocabulary_size=vocabulary_size),
        finish_reason=ENUMS[FinishReason][frame.finish_reason],
        participations=participations_to_proto(frame.participations),
        decided=decided_to_bytes(frame.decided),
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
        finish_reason=choice("finish_reason", message.finish_reason, ENUMS[FinishReason]),
        participations=participations_from_proto(message, opened),
        # Empty when the session ended before its first step did.
        decided=decided_from_bytes(
            message.decided, settings.block_length if message.decided else 0
        ),
        uncertified=message.uncertified,
        bytes_received=message.bytes_received,
        bytes_sent=message.bytes_sent,
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
