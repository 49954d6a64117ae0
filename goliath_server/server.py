"""Building the server and running it until a signal."""

import asyncio
import contextlib
import importlib.metadata
import logging
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

from common.collaboration.batcher import Batcher
from common.collaboration.batcher import Predict as Prediction
from common.collaboration.compatibility import default_settings
from common.collaboration.opening import plan_for
from common.denoising.loop import Predict, denoise
from common.denoising.process import View
from common.denoising.streams import Philox
from common.errors import SessionCancelledError
from common.guidance.guide import Guide, guided
from common.guidance.loading import load_guide
from common.models.registry import LanguageModel, open_model
from common.pb import collaboration_pb2_grpc as rpc
from common.program.device import settle_device
from common.program.tls import tls_files
from common.text.templates import asked
from common.wire.channels import join_address, open_server, split_address
from goliath_server.health import Health
from goliath_server.service import Caps, CollaborationService
from goliath_server.session import Host
from goliath_server.settings import GoliathSettings

log = logging.getLogger(__name__)

_OTHER_STREAMS = 4
"""Streams of a connection beside its sessions: probes and health."""
_LEAVE_S = 1.0
"""Longest time in which handlers end that are cut off."""


def load_host(settings: GoliathSettings) -> Host:
    """The model, with what it brings to sessions."""
    device = settle_device(settings.device, threads=settings.threads)
    model = open_model(settings.model, device=device, dtype=settings.dtype)
    return Host(model, settings.limits(), settings.guidance)


def load_served(settings: GoliathSettings) -> tuple[Prediction, Host]:
    """What answers sessions, guided where the operator chose so, and what it brings to them."""
    host = load_host(settings)
    return guided(host.model.predictor.predict, load_chosen(settings, host.model)), host


def load_chosen(settings: GoliathSettings, model: LanguageModel) -> Guide | None:
    """The guide that the operator chose; None for none.

    Raises:
        UsageError, BadModelError, VocabularyMismatchError: it cannot guide this model.
    """
    choice = settings.guidance
    if choice is None:
        return None
    longest = min(settings.max_block_length, model.predictor.max_positions)
    guide = load_guide(choice, model, longest_block=longest)
    log.info("guide.chosen", extra=asdict(choice))
    return guide


def warm_up_view(model: LanguageModel) -> View:
    """A first step: what is slow or broken at the first pass shows before anyone waits for it."""
    settings = replace(default_settings(model), steps=1)
    plan = plan_for(model, settings, messages=asked("warm up"))
    request = next(denoise(plan, Philox(0)))
    assert isinstance(request, Predict)
    return request.view


def service_for(settings: GoliathSettings) -> CollaborationService:
    """The service within its limits, still without a model."""
    return CollaborationService(
        limits=settings.limits(),
        caps=Caps(
            sessions=settings.max_sessions,
            streams_per_peer=settings.max_streams_per_peer,
            session_s=settings.max_session_seconds,
        ),
        software_version=importlib.metadata.version("goliath-david"),
    )


async def serve(settings: GoliathSettings, *, announce: Callable[[str, Host], None]) -> None:
    """Serve until SIGTERM or SIGINT; then new sessions are refused, and running ones may finish
    within the grace. A second signal ends all at once.

    Args:
        settings: what the operator chose.
        announce: called with the address, and what is served there, when sessions can begin.

    Raises:
        UsageError: the address, its port or the TLS files cannot be used.
        BadModelError: the model cannot be loaded.
        SessionCancelledError: SIGINT ended the server, after draining.
    """
    tls = tls_files(
        settings.tls_cert, settings.tls_key, settings.client_ca, authority_option="--client-ca"
    )
    _ = settings.guidance  # its errors come before the port is taken
    with _signals() as signals:
        server, port = open_server(
            settings.listen,
            tls=tls,
            insecure=settings.insecure,
            max_streams=settings.max_streams_per_peer + _OTHER_STREAMS,
        )
        shown = join_address(split_address(settings.listen)[0], port)
        health, service = Health(server), service_for(settings)
        rpc.add_CollaborationServiceServicer_to_server(service, server)
        try:
            await health.set(serving=False)
            await server.start()
            await _run(settings, service, health, signals, lambda hosted: announce(shown, hosted))
        finally:
            await server.stop(None)
            # Handlers that are cancelled by this end before the loop does, or gRPC logs a trace.
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if others:
                await asyncio.wait(others, timeout=_LEAVE_S)
        if signals.first is signal.SIGINT:
            raise SessionCancelledError("interrupted")


async def _run(
    settings: GoliathSettings,
    service: CollaborationService,
    health: Health,
    signals: "_Signals",
    announce: Callable[[Host], None],
) -> None:
    loading = asyncio.create_task(asyncio.to_thread(load_served, settings))
    if await signals.before(loading):
        return
    predict, host = loading.result()
    async with Batcher(predict, max_batch=settings.max_batch, thread="model") as batcher:
        await batcher.predict(warm_up_view(host.model))
        service.begin(host, batcher)
        await health.set(serving=True)
        announce(host)
        await signals.came.wait()
        log.info("server.draining", extra={"grace": settings.grace})
        await health.set(serving=False)
        draining = asyncio.create_task(service.drain(settings.grace))
        signals.came.clear()
        if await signals.before(draining):
            draining.cancel()


class _Signals:
    """The signals that came."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self.first: signal.Signals | None = None

    def take(self, number: signal.Signals) -> None:
        self.first = self.first or number
        self.came.set()

    async def before(self, task: "asyncio.Task[object]") -> bool:
        """Whether a signal came before the task was done."""
        signalled = asyncio.create_task(self.came.wait())
        await asyncio.wait({task, signalled}, return_when=asyncio.FIRST_COMPLETED)
        signalled.cancel()
        return not task.done()


@contextlib.contextmanager
def _signals() -> Iterator[_Signals]:
    """Catch SIGINT and SIGTERM on the loop, as long as this lasts."""
    signals, loop = _Signals(), asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, signals.take, number)
    try:
        yield signals
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
