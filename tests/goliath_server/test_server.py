"""The server as operators meet it: health, reflection, mutual TLS."""

from pathlib import Path

import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from common.errors import (
    ServerFullError,
)
from common.wire.channels import open_channel
from goliath_server.health import SERVICE
from tests.certificates import issued
from tests.serving import (
    bare,
    embedded,
    question,
    serving,
)


async def test_a_server_that_loads_its_model_says_so() -> None:
    async with serving(ready=False) as served:
        with pytest.raises(ServerFullError, match="loading"):
            await served.ask(question())
        async with bare(served) as client:
            assert type(await client.verdict()) is ServerFullError


async def test_health_and_reflection() -> None:
    async with (
        serving(ready=False) as served,
        open_channel(served.address, insecure=True) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        seen = []
        for serves in (False, True):
            await served.health.set(serving=serves)
            for name in ("", SERVICE):
                asked = health_pb2.HealthCheckRequest(service=name)
                seen.append((await stub.Check(asked)).status)
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = (await call.read()).list_services_response.service
        call.cancel()
    down, up = health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING
    assert seen == [down, down, up, up]
    assert SERVICE in {one.name for one in listed}


async def test_mutual_tls_names_the_peer(tmp_path: Path) -> None:
    authority = trustme.CA()
    server = issued(tmp_path, "server", authority, "127.0.0.1")
    client = issued(tmp_path, "client", authority, "david.example")
    peers: list[str] = []
    async with serving(tls=server, client_tls=client) as served:
        reply = await served.ask(
            question(), on_draft=lambda _: peers.extend(served.service._per_peer)
        )
    assert reply.ids == embedded(question()).ids
    assert set(peers) == {"david.example"}
