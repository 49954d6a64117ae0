"""Channels and servers against real sockets: security, statuses, and telling failures apart."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from common.errors import (
    ERRORS,
    CollaborationError,
    InternalError,
    LimitExceededError,
    NotOurServerError,
    OutOfTimeError,
    TlsError,
    UnreachableError,
    UsageError,
    public_text,
)
from common.pb import collaboration_pb2 as pb
from common.pb import collaboration_pb2_grpc as rpc
from common.wire.channels import (
    MAX_MESSAGE_BYTES,
    error_from_rpc,
    is_loopback,
    open_channel,
    open_server,
    split_address,
    translated_errors,
)
from common.wire.tls import TlsFiles
from tests.certificates import issued

LOCAL = "127.0.0.1:0"


class Service(rpc.CollaborationServiceServicer):
    """Answers GetServerInfo as its test says, and echoes frames as failures."""

    def __init__(self, act: Callable[[], Awaitable[None]]) -> None:
        self.act = act

    async def GetServerInfo(  # the name is generated
        self, request: pb.GetServerInfoRequest, context: Any
    ) -> pb.GetServerInfoResponse:
        async with translated_errors(context):
            await self.act()
        return pb.GetServerInfoResponse(protocol_version=7)

    # The stub knows generators only; gRPC also takes a coroutine that writes.
    async def Collaborate(  # type: ignore[override]
        self, requests: Any, context: Any
    ) -> None:
        async with translated_errors(context):
            async for _ in requests:
                await context.write(pb.CollaborateResponse(failed=pb.Failed(reason="ECHO")))


async def nothing() -> None:
    """Do nothing."""


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[int]]]:
    servers = []

    async def start(act: Callable[[], Awaitable[None]] = nothing, **options: Any) -> int:
        server, port = open_server(LOCAL, **(options or {"insecure": True}))
        rpc.add_CollaborationServiceServicer_to_server(Service(act), server)
        await server.start()
        servers.append(server)
        return port

    yield start
    for server in servers:
        await server.stop(None)


async def ask(
    address: str, *, budget_s: float = 10, **options: Any
) -> pb.GetServerInfoResponse | CollaborationError:
    async with open_channel(address, **(options or {"insecure": True})) as channel:
        stub = rpc.CollaborationServiceStub(channel)
        try:
            return await stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=budget_s)
        except grpc.aio.AioRpcError as error:
            return await error_from_rpc(error, address=address)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TlsFiles]:
    folder = tmp_path_factory.mktemp("certificates")
    ours, foreign = trustme.CA(), trustme.CA()
    return {
        "server": issued(folder, "server", ours, "localhost", "127.0.0.1"),
        "elsewhere": issued(folder, "elsewhere", ours, "goliath.example"),
        "client": issued(folder, "client", ours, "david.example"),
        "stranger": issued(folder, "stranger", foreign, "david.example", trusts=ours),
        "wary": issued(folder, "wary", ours, "david.example", trusts=foreign),
    }


async def test_a_call_arrives(serve: Any) -> None:
    answer = await ask(f"127.0.0.1:{await serve()}")
    assert isinstance(answer, pb.GetServerInfoResponse)
    assert answer.protocol_version == 7


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
async def test_each_error_crosses_the_wire(serve: Any, kind: type[CollaborationError]) -> None:
    sent = kind("expected 1, got 2", remedy="send 1")

    async def act() -> None:
        raise sent

    got = await ask(f"127.0.0.1:{await serve(act)}")
    assert type(got) is kind
    assert (got.message, got.remedy) == public_text(sent)


async def test_foreign_exceptions_leak_nothing(
    serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def act() -> None:
        raise ValueError("secret path")

    got = await ask(f"127.0.0.1:{await serve(act)}")
    assert type(got) is InternalError
    assert "secret" not in str(got)
    assert "secret path" in caplog.text


async def test_our_error_inside_a_task_group_is_still_ours(serve: Any) -> None:
    async def fail() -> None:
        raise LimitExceededError("too many")

    async def act() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())

    assert type(await ask(f"127.0.0.1:{await serve(act)}")) is LimitExceededError


async def test_abort_passes(serve: Any) -> None:
    class Aborting(Service):
        async def GetServerInfo(self, request: Any, context: Any) -> Any:
            async with translated_errors(context):
                await context.abort(grpc.StatusCode.DATA_LOSS, "said by the handler")

    server, port = open_server(LOCAL, insecure=True)
    rpc.add_CollaborationServiceServicer_to_server(Aborting(nothing), server)
    await server.start()
    async with open_channel(f"127.0.0.1:{port}", insecure=True) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rpc.CollaborationServiceStub(channel).GetServerInfo(pb.GetServerInfoRequest())
    await server.stop(None)
    assert caught.value.code() is grpc.StatusCode.DATA_LOSS


async def test_mutual_tls(serve: Any, certificates: dict[str, TlsFiles]) -> None:
    port = await serve(tls=certificates["server"])
    for host in ("127.0.0.1", "localhost"):
        good = await ask(f"{host}:{port}", tls=certificates["client"])
        assert isinstance(good, pb.GetServerInfoResponse)
    address = f"127.0.0.1:{port}"
    assert type(await ask(address, tls=certificates["stranger"])) is TlsError
    assert type(await ask(address, tls=certificates["wary"])) is TlsError
    assert type(await ask(address, insecure=True)) is TlsError


async def test_no_certificate_is_refused(serve: Any, certificates: dict[str, TlsFiles]) -> None:
    files = certificates["server"]
    address = f"127.0.0.1:{await serve(tls=files)}"
    credentials = grpc.ssl_channel_credentials(files.authority.read_bytes())
    async with grpc.aio.secure_channel(address, credentials) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rpc.CollaborationServiceStub(channel).GetServerInfo(pb.GetServerInfoRequest())
    assert type(await error_from_rpc(caught.value, address=address)) is TlsError


async def test_a_server_behind_a_tunnel_goes_by_its_own_name(
    serve: Any, certificates: dict[str, TlsFiles]
) -> None:
    address = f"127.0.0.1:{await serve(tls=certificates['elsewhere'])}"
    assert type(await ask(address, tls=certificates["client"])) is TlsError
    named = {"tls": certificates["client"], "server_name": "goliath.example"}
    assert isinstance(await ask(address, **named), pb.GetServerInfoResponse)
    other = named | {"server_name": "localhost"}
    assert type(await ask(address, **other)) is TlsError


async def test_tls_towards_a_plain_server(serve: Any, certificates: dict[str, TlsFiles]) -> None:
    got = await ask(f"127.0.0.1:{await serve()}", tls=certificates["client"])
    assert type(got) is TlsError


async def test_nobody_there() -> None:
    listener = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    got = await ask(f"127.0.0.1:{port}")
    assert type(got) is UnreachableError
    assert f"127.0.0.1:{port}" in str(got)


async def test_a_web_server_is_not_ours() -> None:
    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(http, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        assert type(await ask(f"127.0.0.1:{port}")) is NotOurServerError


async def test_another_grpc_server_is_not_ours() -> None:
    server, port = open_server(LOCAL, insecure=True)
    await server.start()
    assert type(await ask(f"127.0.0.1:{port}")) is NotOurServerError
    await server.stop(None)


async def test_a_slow_server_is_out_of_time(serve: Any) -> None:
    async def act() -> None:
        await asyncio.sleep(5)

    assert type(await ask(f"127.0.0.1:{await serve(act)}", budget_s=0.2)) is OutOfTimeError


async def test_a_connection_that_breaks_in_the_middle_is_unreachable(serve: Any) -> None:
    port = await serve()
    links: list[asyncio.StreamWriter] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            writer.write(data)

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", port)
        links.extend([writer, forth])
        async with asyncio.TaskGroup() as group:
            group.create_task(relay(reader, forth))
            group.create_task(relay(back, writer))

    listener = await asyncio.start_server(proxy, "127.0.0.1", 0)
    address = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with open_channel(address, insecure=True) as channel:
        call = rpc.CollaborationServiceStub(channel).Collaborate()
        await call.write(pb.CollaborateRequest(cancel=pb.Cancel()))
        await call.read()
        listener.close()
        for link in links:
            link.close()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert type(await error_from_rpc(caught.value, address=address)) is UnreachableError


async def test_messages_over_the_limit_are_refused(serve: Any) -> None:
    address = f"127.0.0.1:{await serve()}"
    async with grpc.aio.insecure_channel(address) as careless:
        call = rpc.CollaborationServiceStub(careless).Collaborate()
        large = pb.Contribution(values=bytes(MAX_MESSAGE_BYTES))
        await call.write(pb.CollaborateRequest(contribution=large))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert type(await error_from_rpc(caught.value, address=address)) is LimitExceededError


async def test_messages_over_the_default_limit_of_grpc_pass(serve: Any) -> None:
    async with open_channel(f"127.0.0.1:{await serve()}", insecure=True) as channel:
        call = rpc.CollaborationServiceStub(channel).Collaborate()
        large = pb.Contribution(values=bytes(5 * 2**20))
        await call.write(pb.CollaborateRequest(contribution=large))
        answer = await call.read()
    assert isinstance(answer, pb.CollaborateResponse)
    assert answer.failed.reason == "ECHO"


async def test_a_port_in_use_is_an_error(serve: Any) -> None:
    port = await serve()
    with pytest.raises(UsageError, match=f"127.0.0.1:{port}.*in use.*another port"):
        open_server(f"127.0.0.1:{port}", insecure=True)


@pytest.mark.parametrize("open_end", [open_server, open_channel])
async def test_security_must_fit_the_address(
    open_end: Callable[..., Any], certificates: dict[str, TlsFiles]
) -> None:
    with pytest.raises(UsageError, match="loopback"):
        open_end("192.0.2.1:50051", insecure=True)
    with pytest.raises(UsageError, match="no TLS files"):
        open_end("127.0.0.1:50051")
    with pytest.raises(UsageError, match="both"):
        open_end("127.0.0.1:50051", insecure=True, tls=certificates["client"])


@pytest.mark.parametrize("open_end", [open_server, open_channel])
async def test_files_that_cannot_be_used(
    open_end: Callable[..., Any], certificates: dict[str, TlsFiles], tmp_path: Path
) -> None:
    good, other = certificates["server"], certificates["client"]
    missing, rubbish = tmp_path / "missing", tmp_path / "rubbish"
    rubbish.write_text("not a certificate")
    for files, match in (
        (TlsFiles(missing, good.key, good.authority), "TLS certificate: cannot read .*missing"),
        (TlsFiles(good.certificate, missing, good.authority), "TLS key: cannot read"),
        (TlsFiles(good.certificate, good.key, missing), "TLS authority: cannot read"),
        (TlsFiles(good.certificate, tmp_path, good.authority), "TLS key: cannot read"),
        (TlsFiles(rubbish, good.key, good.authority), "not a certificate and its key"),
        (TlsFiles(good.certificate, other.key, good.authority), "not a certificate and its key"),
        (TlsFiles(good.certificate, good.key, rubbish), "holds no certificate"),
    ):
        with pytest.raises(UsageError, match=match):
            open_end("127.0.0.1:0", tls=files)


def test_addresses() -> None:
    assert split_address("localhost:50051") == ("localhost", 50051)
    assert split_address("[::1]:0") == ("::1", 0)
    for wrong in ("localhost", ":1", "h:", "h:x", "h:65536", "::1:5", "[]:5", "h:²", "h:-1"):
        with pytest.raises(UsageError, match="HOST:PORT"):
            split_address(wrong)


def test_loopback() -> None:
    for host in ("localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"):
        assert is_loopback(host), host
    for host in ("0.0.0.0", "::", "192.168.0.1", "example.org", "localhost.example.org", ""):
        assert not is_loopback(host), host
