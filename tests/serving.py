"""A real server in the test's own process, a client of bare frames, and the pair that both use."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import grpc.aio
import numpy as np
import pytest

from common.collaboration.batcher import Batcher, Predict
from common.collaboration.compatibility import default_settings
from common.collaboration.contribution import Contribution
from common.collaboration.contributor import Contributor
from common.collaboration.driver import Drive, Local
from common.collaboration.opening import contributor_for, plan_for, process_for
from common.collaboration.settings import (
    Codec,
    ContributorSettings,
    Limits,
    Requested,
    SessionSettings,
)
from common.collaboration.timing import timing_of
from common.denoising.loop import Result
from common.denoising.plan import Plan
from common.denoising.process import Shown
from common.denoising.streams import Philox
from common.guidance.guide import Guide, guided
from common.models.registry import LanguageModel, simplex_model
from common.pb import collaboration_pb2 as pb
from common.pb import collaboration_pb2_grpc as rpc
from common.text.templates import asked as asked_for
from common.wire.channels import (
    KEEPALIVE,
    Keepalive,
    error_from_rpc,
    join_address,
    open_channel,
    open_server,
)
from common.wire.conversions import (
    client_frame_to_proto,
    server_frame_from_proto,
    split_contribution,
)
from common.wire.frames import Open, Opened, Role, ServerFrame
from common.wire.tls import TlsFiles
from david_client.asking import CONTRIBUTOR_ID, David, Question
from david_client.client import Place, ask
from david_client.embedded import ask_embedded
from david_client.reply import Draft, Reply
from goliath_server.health import Health
from goliath_server.service import Caps, CollaborationService
from goliath_server.session import Host
from tests.tiny import tiny_model, tiny_vocabulary

VOCABULARY = tiny_vocabulary()
GOLIATH = simplex_model("g", tiny_model(VOCABULARY, seed=1), VOCABULARY)
DAVID = simplex_model("d", tiny_model(VOCABULARY, seed=2), VOCABULARY)
_T = TypeVar("_T")
PROMPT = "how do i make soup"
CONTEXT = "the soup is of cold milk"


def quiet(_: Draft) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Asked:
    """A question, and the David that helps with it."""

    question: Question
    david: David

    @property
    def settings(self) -> SessionSettings:
        return self.question.settings(default_settings(GOLIATH))

    @property
    def mine(self) -> ContributorSettings:
        return self.david.requested.contributor(ContributorSettings())

    @property
    def plan(self) -> Plan:
        return plan_for(
            GOLIATH,
            self.settings,
            messages=self.question.messages,
            suffix=self.question.suffix,
        )

    def contributor(self, rows: Any) -> Contributor:
        """David's part in a session with this plan."""
        return contributor_for(
            DAVID,
            rows,
            self.plan.process,
            self.settings,
            self.mine,
            self.david.prefixes(DAVID, self.question, self.settings),
            suffix=self.question.suffix,
            contrast=self.david.contrast,
        )


def question(**requested: Any) -> Asked:
    names = ("context", "contrast", *(one.name for one in fields(ContributorSettings)))
    own = {name: requested.pop(name) for name in names if name in requested}
    return Asked(
        Question(
            asked_for(requested.pop("prompt", PROMPT)),
            requested.pop("seed", 5),
            requested.pop("suffix", ""),
            Requested({"steps": 4} | requested),
        ),
        David(DAVID, **own),
    )


async def ask_at(
    place: Place, asked: Asked, *, timeout_s: float = 60, on_draft: Any = quiet
) -> Reply:
    return await ask(asked.question, [asked.david], place, timeout_s=timeout_s, on_draft=on_draft)


def settings(**changes: Any) -> SessionSettings:
    return Requested({"steps": 3, "seed": 7} | changes).session(default_settings(GOLIATH))


def mine(**changes: Any) -> ContributorSettings:
    return Requested(changes).contributor(ContributorSettings())


def terms(**changes: Any) -> tuple[SessionSettings, ContributorSettings]:
    """Both, from settings by their names."""
    return settings(**changes), mine(**changes)


def open_frame(
    agreed: SessionSettings | None = None, own: ContributorSettings | None = None, **changes: Any
) -> Open:
    frame = Open(
        role=Role.OWNER,
        contributor_id=CONTRIBUTOR_ID,
        messages=asked_for(changes.pop("prompt", PROMPT)),
        settings=agreed or settings(),
        contributor=own or mine(),
        process=GOLIATH.predictor.process,
        vocabulary=VOCABULARY.summary,
    )
    return replace(frame, **changes)


@dataclass
class Served:
    service: CollaborationService
    server: grpc.aio.Server
    health: Health
    address: str
    tls: TlsFiles | None = None

    @property
    def place(self) -> Place:
        return Place(self.address, tls=self.tls, insecure=self.tls is None)

    async def ask(self, asked: Asked, **options: Any) -> Reply:
        return await ask_at(self.place, asked, **options)


@asynccontextmanager
async def serving(
    *,
    caps: Caps | None = None,
    limits: Limits | None = None,
    ready: bool = True,
    tls: TlsFiles | None = None,
    client_tls: TlsFiles | None = None,
    guide: Guide | None = None,
    host: str = "127.0.0.1",
    keepalive: Keepalive = KEEPALIVE,
    predict: Predict | None = None,
    model: LanguageModel | None = None,
) -> AsyncIterator[Served]:
    limits = limits or Limits()
    server, port = open_server(
        join_address(host, 0), insecure=tls is None, tls=tls, keepalive=keepalive
    )
    health = Health(server)
    service = CollaborationService(limits=limits, caps=caps or Caps(), software_version="test")
    rpc.add_CollaborationServiceServicer_to_server(service, server)
    await health.set(serving=ready)
    await server.start()
    try:
        model = model or GOLIATH
        own = guided(model.predictor.predict, guide)
        async with Batcher(predict or own, thread="model") as batcher:
            if ready:
                service.begin(Host(model, limits, guide and guide.choice), batcher)
            yield Served(service, server, health, join_address(host, port), client_tls)
    finally:
        await server.stop(None)


def embedded(asked: Asked, guide: Guide | None = None, on_draft: Any = quiet) -> Reply:
    """The embedded answer, also from within a running event loop."""
    return beside(
        ask_embedded(asked.question, [asked.david], GOLIATH, on_draft=on_draft, guide=guide)
    )


def beside(work: Coroutine[Any, Any, _T]) -> _T:
    """Run on an event loop in another thread: there may be one in this."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def same_over_the_wire(asked: Asked) -> Reply:
    """The networked answer, which is the embedded one in all that can be compared."""
    async with serving() as served:
        over, here = await served.ask(asked), embedded(asked)
    assert over.ids == here.ids
    assert over.finish_reason == here.finish_reason
    assert (over.steps_run, over.david_steps) == (here.steps_run, here.david_steps)
    assert over.david_steps == over.steps_run
    assert over.decided == here.decided
    assert over.settings == here.settings
    return over


def calm_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that hardly look at the noise: what they write soon stands still."""
    for seed, name in ((1, "GOLIATH"), (2, "DAVID")):
        model = tiny_model(VOCABULARY, seed=seed)
        for part in (model.state_map, model.condition_map):
            part.weight.data *= 0.02
        calm = simplex_model(name[0].lower(), model, VOCABULARY)
        monkeypatch.setattr(f"tests.serving.{name}", calm)


class Sometimes(Local):
    """A David that takes part in some steps alone, counted over all blocks."""

    def __init__(self, *given: Any, took_part: set[int], steps: int) -> None:
        super().__init__(*given)
        self._took_part, self._steps, self._now = took_part, steps, True

    async def begin(self, shown: Shown) -> None:
        self._now = shown.state.block * self._steps + shown.state.step in self._took_part
        if self._now:
            await super().begin(shown)

    async def contribution(self, step: int) -> Contribution | None:
        return await super().contribution(step) if self._now else None


async def _generated_with(asked: Asked, took_part: set[int]) -> Result:
    terms = asked.settings
    async with Batcher(DAVID.predictor.predict) as small, Batcher(GOLIATH.predictor.predict) as big:
        local = Sometimes(
            asked.contributor(small.predict),
            asked.mine.weight,
            timing_of(terms),
            took_part=took_part,
            steps=terms.steps,
        )
        drive = Drive(asked.plan, big.predict, {CONTRIBUTOR_ID: local}, stream=Philox(terms.seed))
        return await drive.run()


def generated_with(asked: Asked, took_part: set[int]) -> Result:
    """The local run in which David took part in just these steps, counted over all blocks."""
    return beside(_generated_with(asked, took_part))


def contribution(
    opened: Opened, block: int, step: int, *, favourite: int = 90, floor: float = -100
) -> Contribution:
    """Every position wants one token; with the floor 0 it could be any."""
    rows = opened.settings.block_length
    return Contribution(
        block=block,
        step=step,
        codec=Codec.TOPK,
        counts=np.ones(rows, np.int32),
        ids=np.full(rows, favourite, np.int32),
        values=np.zeros(rows, np.float16),
        floors=np.full(rows, floor, np.float16),
        log_mass=np.zeros(rows, np.float32),
    )


class BareClient:
    """Sends what it is told to, right or wrong."""

    def __init__(self, call: Any, address: str) -> None:
        self.call = call
        self.opened: Opened | None = None
        self.process: Any = None
        self._address = address

    async def send(self, *frames: Any) -> None:
        size = None if self.opened is None else self.opened.vocabulary_size
        for frame in frames:
            await self.call.write(client_frame_to_proto(frame, vocabulary_size=size))

    async def contribute(self, block: int, step: int, **options: Any) -> None:
        assert self.opened is not None
        await self.send(
            *split_contribution(
                contribution(self.opened, block, step, **options),
                vocabulary_size=self.opened.vocabulary_size,
                max_message_bytes=self.opened.limits.max_message_bytes,
            )
        )

    async def send_raw(self, message: pb.CollaborateRequest) -> None:
        await self.call.write(message)

    async def read(self) -> ServerFrame:
        message = await self.call.read()
        assert message is not grpc.aio.EOF
        frame = server_frame_from_proto(message, opened=self.opened, process=self.process)
        if isinstance(frame, Opened):
            self.opened = frame
            self.process = process_for(frame.process, frame.settings, frame.times, frame.end_ids)
        return frame

    async def open(self, frame: Open | None = None) -> Opened:
        await self.send(frame or open_frame())
        got = await self.read()
        assert isinstance(got, Opened), got
        return got

    async def verdict(self) -> Any:
        """The error that the call ends with, whatever comes before it; None for a good end."""
        try:
            while await self.call.read() is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError as error:
            return await error_from_rpc(error, address=self._address)
        return None


@asynccontextmanager
async def bare(
    served: Served, *, address: str = "", keepalive: Keepalive = KEEPALIVE
) -> AsyncIterator[BareClient]:
    """A client of the server, or of what stands before it at an address."""
    place = replace(served.place, **({"address": address} if address else {}))
    async with open_channel(
        place.address, tls=place.tls, insecure=place.insecure, keepalive=keepalive
    ) as channel:
        call = rpc.CollaborationServiceStub(channel).Collaborate(timeout=30)
        yield BareClient(call, place.address)
        call.cancel()
