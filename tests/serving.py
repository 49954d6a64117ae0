"""A real server in the test's own process, a client of bare frames, and the pair that both use."""

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc.aio
import numpy as np
import pytest

from common.collaboration.batcher import Engine, Predictor
from common.collaboration.compatibility import config_of, default_settings, process_of
from common.collaboration.contribution import Codec, Contribution
from common.collaboration.fusion import Voice, fuse
from common.collaboration.plan import plan_for
from common.denoising.loop import Predict, Result, denoise
from common.guidance.guide import Guide, guided
from common.models.predict import predict
from common.pb import collaboration_pb2 as pb
from common.pb import collaboration_pb2_grpc as rpc
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
from common.wire.frames import Limits, Open, Opened, Role, ServerFrame, SessionSettings
from common.wire.tls import TlsFiles
from david_client.asking import CONTRIBUTOR_ID, David, Draft, Question, Reply
from david_client.client import Place, ask
from david_client.embedded import ask_embedded
from goliath_server.health import Health
from goliath_server.server import host_of
from goliath_server.service import Caps, CollaborationService
from tests.tiny import tiny_model, tiny_vocabulary

VOCABULARY = tiny_vocabulary()
GOLIATH = tiny_model(VOCABULARY, seed=1)
DAVID = David("d", tiny_model(VOCABULARY, seed=2), VOCABULARY)
PROMPT = "how do i make soup"
CONTEXT = "the soup is of cold milk"


def quiet(_: Draft) -> None:
    """Show nothing."""


def question(**wishes: Any) -> Question:
    special = {name: wishes.pop(name) for name in ("context", "contrast") if name in wishes}
    seed = wishes.pop("seed", 5)
    return Question(PROMPT, seed, wishes={"steps": 4} | wishes, **special)


def settings(**changes: Any) -> SessionSettings:
    return replace(default_settings(config_of(GOLIATH)), **({"steps": 3, "seed": 7} | changes))


def open_frame(terms: SessionSettings | None = None, **changes: Any) -> Open:
    frame = Open(
        role=Role.OWNER,
        contributor_id=CONTRIBUTOR_ID,
        prompt=PROMPT,
        settings=terms or settings(),
        process=process_of(config_of(GOLIATH)),
        vocabulary_fingerprint=VOCABULARY.fingerprint,
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

    async def ask(self, asked: Question, *, timeout_s: float = 60, on_draft: Any = quiet) -> Reply:
        return await ask(asked, DAVID, self.place, timeout_s=timeout_s, on_draft=on_draft)


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
    predictor: Predictor | None = None,
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
        own = guided(functools.partial(predict, GOLIATH), guide)
        async with Engine(predictor or own) as engine:
            if ready:
                hosted = host_of("g", GOLIATH, VOCABULARY, limits)
                service.begin(replace(hosted, guide=guide and guide.choice), engine)
            yield Served(service, server, health, join_address(host, port), client_tls)
    finally:
        await server.stop(None)


def embedded(asked: Question, guide: Guide | None = None) -> Reply:
    return ask_embedded(
        asked, DAVID, goliath="g", model=GOLIATH, vocabulary=VOCABULARY, on_draft=quiet, guide=guide
    )


async def same_over_the_wire(asked: Question) -> Reply:
    """The networked answer, which is the embedded one in all that can be compared."""
    async with serving() as served:
        over, here = await served.ask(asked), embedded(asked)
    assert over.tokens == here.tokens
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
        david = David("d", model, VOCABULARY)
        monkeypatch.setattr(f"tests.serving.{name}", david if name == "DAVID" else model)


def generated_with(asked: Question, took_part: set[int]) -> Result:
    """The local run in which David took part in just these steps, counted over all blocks."""
    terms = asked.settings(default_settings(config_of(GOLIATH)))
    david = asked.contributor(DAVID, terms)
    loop = denoise(plan_for(config_of(GOLIATH), VOCABULARY, terms, prompt=asked.prompt), fuse)
    request: Any = next(loop)
    untold = np.empty(0, np.int64)
    try:
        while True:
            assert isinstance(request, Predict)
            number = request.state.block * terms.steps + request.state.step
            untold = np.concatenate((untold, request.finished))
            voices = []
            if number in took_part:
                given = david.contribute(request.state, untold)
                voices = [Voice(CONTRIBUTOR_ID, terms.weight, given)]
                untold = np.empty(0, np.int64)
            loop.send(predict(GOLIATH, [request]))
            request = loop.send(voices)
    except StopIteration as done:
        return done.value


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
        frame = server_frame_from_proto(message, opened=self.opened)
        if isinstance(frame, Opened):
            self.opened = frame
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
