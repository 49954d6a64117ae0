"""Asking a Goliath over gRPC.

The server is probed first, so that "nobody there", "not trusted" and "does not fit" are told apart
before a session begins. What it then says is checked against what was agreed.

Bytes are counted as the protobuf size of each message and the 5 bytes that gRPC puts before it;
HTTP/2 and TLS add some more.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio

from common.collaboration.compatibility import (
    check_process,
    check_vocabulary,
    config_of,
    default_settings,
    process_of,
)
from common.errors import SessionCancelledError, UnreachableError
from common.pb import collaboration_pb2 as pb
from common.pb import collaboration_pb2_grpc as rpc
from common.wire.channels import KEEPALIVE, Keepalive, error_from_rpc, open_channel
from common.wire.conversions import server_info_from_proto
from common.wire.frames import (
    PROTOCOL_VERSION,
    Completed,
    LateRule,
    Open,
    Outcome,
    Role,
    ServerInfo,
    SessionSettings,
)
from david_client.asking import CONTRIBUTOR_ID, David, OnDraft, Question, Reply
from david_client.joining import joined
from david_client.place import Meter, Place
from david_client.session import Session

__all__ = ["PROBE_S", "Place", "ask", "probe"]

PROBE_S = 10.0
"""Longest time for the first answer."""


async def probe(place: Place, *, timeout_s: float = PROBE_S) -> ServerInfo:
    """What the server offers.

    Raises:
        UnreachableError, TlsError, OutOfTimeError: there is no way to it.
        IncompatibleError: it speaks another version.
    """
    async with _connected(place) as stub:
        return await _info(stub, Meter(), timeout_s=timeout_s)


async def ask(
    question: Question, david: David, place: Place, *, timeout_s: float, on_draft: OnDraft
) -> Reply:
    """Ask a Goliath.

    Args:
        question: what is asked.
        david: the small model.
        place: the server.
        timeout_s: longest time for all of it.
        on_draft: called as each step begins.

    Raises:
        CollaborationError: any of its kinds; the server's own verdicts among them.
    """
    begin = time.perf_counter()
    meter = Meter()
    async with _connected(place, _keepalive(question, david)) as stub:
        info = await _info(stub, meter, timeout_s=min(PROBE_S, timeout_s))
        check_vocabulary(info.vocabulary_fingerprint, david.vocabulary.fingerprint)
        check_process(info.process, process_of(config_of(david.model)))
        settings = question.settings(info.defaults)
        frame = Open(
            role=Role.OWNER,
            contributor_id=CONTRIBUTOR_ID,
            prompt=question.prompt,
            settings=settings,
            process=info.process,
            vocabulary_fingerprint=david.vocabulary.fingerprint,
            suffix=question.suffix,
            required_features=_features(question, settings),
        )
        contributor = (
            question.contributor(david, settings, info.limits) if settings.weight > 0 else None
        )
        left = timeout_s - (time.perf_counter() - begin)
        call = stub.Collaborate(timeout=max(left, 0.001))
        session = Session(
            call, frame, contributor, david.vocabulary, meter=meter, on_draft=on_draft
        )
        completed = await session.run()
    took = _counts(completed)
    return Reply(
        text=david.vocabulary.decode(completed.ids),
        tokens=tuple(completed.ids.tolist()),
        finish_reason=completed.finish_reason,
        goliath=info.model_name,
        david=david.name,
        settings=settings,
        contrast=question.contrast,
        seconds=time.perf_counter() - begin,
        suffix=question.suffix,
        full_text=joined(david.vocabulary, completed.ids.tolist(), after=question.suffix),
        steps_run=len(session.log),
        david_steps=took[Outcome.TOOK_PART],
        missed=took[Outcome.MISSED],
        late=took[Outcome.LATE],
        bytes_up=meter.up,
        bytes_down=meter.down,
        decided=tuple(completed.decided.tolist()),
        certification=replace(session.tally, uncertified=completed.uncertified),
        entries={} if contributor is None else dict(contributor.entries),
    )


def _features(question: Question, settings: SessionSettings) -> tuple[str, ...]:
    """What the server must have for this question on these terms."""
    used = {"suffix": bool(question.suffix), "certify": settings.certify}
    return tuple(name for name, needed in used.items() if needed)


def _counts(completed: Completed) -> dict[Outcome, int]:
    mine = [one for one in completed.participations if one.contributor_id == CONTRIBUTOR_ID]
    return {kind: sum(one.count(kind) for one in mine) for kind in Outcome}


def _keepalive(question: Question, david: David) -> Keepalive:
    """With the late rules solo and fail a dead network ends the session within the budget and a
    second: that lies between two pings.
    """
    # What the server has for defaults is known only after the connection is made.
    terms = question.settings(default_settings(config_of(david.model)))
    if terms.late_rule is LateRule.WAIT:
        return KEEPALIVE
    # An answer that takes this long, at least .4 s, leaves David no time for a contribution.
    answer_s = max(0.4, 0.9 * terms.budget_ms / 1000)
    return Keepalive(0.5, min(answer_s, KEEPALIVE.answer_s))


@asynccontextmanager
async def _connected(place: Place, keepalive: Keepalive = KEEPALIVE) -> AsyncIterator[Any]:
    """The server's stub; failures of calls inside become errors of this project."""
    async with open_channel(
        place.address,
        tls=place.tls,
        insecure=place.insecure,
        server_name=place.server_name,
        keepalive=keepalive,
    ) as channel:
        try:
            yield rpc.CollaborationServiceStub(channel)
        except grpc.aio.AioRpcError as error:
            verdict = await error_from_rpc(error, address=place.address)
            if isinstance(verdict, SessionCancelledError):
                # Nobody here cancelled: the server dropped the call.
                verdict = UnreachableError(
                    f"the server at {place.address} dropped the session", remedy="Ask again"
                )
            raise verdict from error


async def _info(stub: Any, meter: Meter, *, timeout_s: float) -> ServerInfo:
    request = pb.GetServerInfoRequest(protocol_version=PROTOCOL_VERSION)
    answer = await stub.GetServerInfo(meter.sent(request), timeout=timeout_s)
    return server_info_from_proto(meter.came(answer))
