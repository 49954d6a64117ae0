"""Asking a Goliath over gRPC.

The server is probed first, so that "nobody there", "not trusted" and "does not fit" are errors of
their own before a session begins. What it then says is checked against what was agreed.

Bytes are counted as the protobuf size of each message and the 5 bytes that gRPC puts before it;
HTTP/2 and TLS add some more.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
from torch import Tensor

from common.collaboration.batcher import Predict
from common.collaboration.compatibility import check_process, check_vocabulary, trained_for
from common.collaboration.contributor import Contributor
from common.collaboration.driver import Rows
from common.collaboration.opening import contributor_for
from common.collaboration.settings import ContributorSettings, LateRule, SessionSettings
from common.denoising.process import Process, View
from common.errors import SessionCancelledError, UnreachableError, UsageError
from common.pb import collaboration_pb2 as pb
from common.pb import collaboration_pb2_grpc as rpc
from common.wire.channels import KEEPALIVE, Keepalive, error_from_rpc, open_channel
from common.wire.conversions import server_info_from_proto
from common.wire.frames import DRAFT, PROTOCOL_VERSION, Completed, Open, Outcome, Role, ServerInfo
from david_client.asking import CONTRIBUTOR_ID, David, Question
from david_client.checks import check_limits
from david_client.place import Meter, Place
from david_client.reply import Counts, OnDraft, Reply
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
    question: Question,
    davids: Sequence[David],
    place: Place,
    *,
    timeout_s: float,
    on_draft: OnDraft,
) -> Reply:
    """Ask a Goliath.

    Args:
        question: what is asked.
        davids: the small model: exactly one.
        place: the server.
        timeout_s: longest time for all of it.
        on_draft: called as each step begins.

    Raises:
        CollaborationError: any of its kinds; the server's own verdicts among them.
    """
    began = time.perf_counter()
    if len(davids) != 1:
        raise UsageError(
            f"a session with a server: expected one David, got {len(davids)}",
            remedy="Load Goliath in this process for several; for none give one the weight 0",
        )
    (david,) = davids
    model = david.model_for(None)
    meter = Meter()
    async with _connected(place, _keepalive(question, david)) as stub:
        info = await _info(stub, meter, timeout_s=min(PROBE_S, timeout_s))
        check_vocabulary(info.vocabulary, model.vocabulary.summary)
        check_process(info.process, trained_for(model))
        settings = question.settings(info.defaults)
        mine = david.requested.contributor(info.contributor_defaults)
        check_limits(settings, mine, info.limits)
        # What does not fit is refused before a session begins.
        prefixes = david.prefixes(model, question, settings) if mine.weight > 0 else ()
        public = prefixes[1] if prefixes else model.template.ids(question.messages)
        frame = Open(
            role=Role.OWNER,
            contributor_id=CONTRIBUTOR_ID,
            messages=question.messages,
            settings=settings,
            contributor=mine,
            process=info.process,
            vocabulary=model.vocabulary.summary,
            suffix=question.suffix,
            required_features=_features(question, settings),
            optional_features=(DRAFT,),
        )
        left = timeout_s - (time.perf_counter() - began)
        with _in_thread(model.predictor.predict) as rows:

            def contributor(process: Process) -> Contributor:
                return contributor_for(
                    model,
                    rows,
                    process,
                    settings,
                    mine,
                    prefixes,
                    suffix=question.suffix,
                    contrast=david.contrast,
                    most_entries=info.limits.max_entries,
                )

            call = stub.Collaborate(timeout=max(left, 0.001))
            session = Session(
                call,
                frame,
                contributor if mine.weight > 0 else None,
                model,
                public,
                meter=meter,
                on_draft=on_draft,
            )
            completed = await session.run()
    took = _outcomes(completed)
    counts = Counts(
        david.name,
        mine,
        david.contrast,
        took_part=took[Outcome.TOOK_PART],
        late=took[Outcome.LATE],
        missed=took[Outcome.MISSED],
        entries={} if session.contributor is None else dict(session.contributor.entries),
    )
    return Reply.of(
        question,
        model.vocabulary,
        completed,
        began=began,
        goliath=info.model_name,
        settings=settings,
        counts=(counts,),
        steps_run=len(session.log),
        bytes_up=meter.up,
        bytes_down=meter.down,
        certification=replace(session.tally, uncertified=completed.uncertified),
    )


@contextmanager
def _in_thread(predict: Predict) -> Iterator[Rows]:
    """The small model's rows, computed off the event loop. One session needs no batches; a pass
    that still runs at the end ends by itself.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="david")

    async def rows(view: View) -> Tensor:
        loop = asyncio.get_running_loop()
        (found,) = await loop.run_in_executor(thread, predict, [view])
        return found

    try:
        yield rows
    finally:
        thread.shutdown(wait=False, cancel_futures=True)


def _features(question: Question, settings: SessionSettings) -> tuple[str, ...]:
    """What the server must have for this question with these settings."""
    used = {"suffix": bool(question.suffix), "certify": settings.certify}
    return tuple(name for name, needed in used.items() if needed)


def _outcomes(completed: Completed) -> dict[Outcome, int]:
    mine = [one for one in completed.participations if one.contributor_id == CONTRIBUTOR_ID]
    return {kind: sum(one.count(kind) for one in mine) for kind in Outcome}


def _keepalive(question: Question, david: David) -> Keepalive:
    """With the late rules solo and fail a dead network ends the session within the budget and a
    second: that lies between two pings.
    """
    if question.requested.values.get("late_rule", LateRule.WAIT) == LateRule.WAIT:
        return KEEPALIVE
    budget_s = david.requested.contributor(ContributorSettings()).budget_ms / 1000
    # An answer that takes this long, at least .4 s, leaves David no time for a contribution.
    return Keepalive(0.5, min(max(0.4, 0.9 * budget_s), KEEPALIVE.answer_s))


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
    meter.sent(request)
    answer = await stub.GetServerInfo(request, timeout=timeout_s)
    meter.came(answer)
    return server_info_from_proto(answer)
