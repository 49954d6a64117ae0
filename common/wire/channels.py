"""Channels and servers of gRPC: every option and every choice about TLS, with its reason.

Plain text is for loopback only, and only when asked for. Elsewhere both sides show certificates:
a server that does not ask for one would serve strangers.

How a stream ends stands in frames (`Finish`, `Cancel`, `Completed`, `Failed`), never in the
stream: in a handler, a client's cancel and its half-close look the same.
"""

import ipaddress
import logging
import urllib.parse
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from common.collaboration.settings import Limits
from common.errors import (
    CollaborationError,
    InternalError,
    LimitExceededError,
    NotOurServerError,
    OutOfTimeError,
    SessionCancelledError,
    TlsError,
    UnreachableError,
    UsageError,
    error_from_reason,
    public_text,
    spec_of,
)
from common.wire.tls import TlsFiles, read_tls

log = logging.getLogger(__name__)

ERROR_DOMAIN = "goliath"
"""Domain of our `ErrorInfo`: a status without it is not a verdict of ours."""

MAX_MESSAGE_BYTES = Limits().max_message_bytes
"""Largest message either way. gRPC receives 4 MiB by default, too little for a part of dense rows;
no limit would let a peer fill the memory."""

_SHARED_OPTIONS: list[tuple[str, int]] = [
    # The same both ways and on both ends, so that what one may send the other may receive.
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Between steps a client may be silent as long as a budget: pings do not run out meanwhile.
    ("grpc.http2.max_pings_without_data", 0),
    # Pings only while a call runs; equal on both ends, or the server calls it an attack.
    ("grpc.keepalive_permit_without_calls", 0),
    # Room for two steps of dense rows on their way. gRPC would start with 64 KiB, less than a step
    # over a long way needs, and measure the way with pings all the time: bytes in every step.
    ("grpc.http2.lookahead_bytes", 4 * 2**20),
    ("grpc.http2.bdp_probe", 0),
    # fp16 logits do not compress (gzip keeps 92 %), and sparse ones are small: no time spent on it.
    ("grpc.default_compression_algorithm", 0),
]

_CHANNEL_OPTIONS: list[tuple[str, int]] = [
    *_SHARED_OPTIONS,
    # A private peer is reached directly; a proxy from the environment must not see its logits.
    ("grpc.enable_http_proxy", 0),
    # After the stream has begun recovery is ours: we resume from the log of steps.
    ("grpc.enable_retries", 0),
    # Each channel connects anew: a shared connection would report its last failure without trying,
    # to a user who has just started the server.
    ("grpc.use_local_subchannel_pool", 1),
]

_SERVER_OPTIONS: list[tuple[str, int]] = [
    *_SHARED_OPTIONS,
    # Below the clients' `ping_s`, or the server drops them for too many pings (default: 5 minutes).
    ("grpc.http2.min_ping_interval_without_data_ms", 200),
    # Two servers on one port would share its connections at random: a port in use is an error.
    ("grpc.so_reuseport", 0),
]

_REFUSED_BEFORE_HTTP2 = "failed to connect to all addresses"


@dataclass(frozen=True, slots=True)
class Keepalive:
    """When a connection with a call on it is dead: `ping_s` and `answer_s` after its last byte.

    gRPC's own threads answer pings, however long a model computes.
    """

    ping_s: float = 8.0
    """Seconds without a byte from the other side after which it is pinged, at least .2 and well
    below the 4 minutes after which clouds drop a silent connection. From one ping to the next gRPC
    waits a second or more."""
    answer_s: float = 12.0
    """Seconds that its answer, and the acknowledgement of bytes that are sent, may take."""

    def options(self) -> list[tuple[str, int]]:
        """As gRPC's options."""
        answer_ms = round(self.answer_s * 1000)
        return [
            ("grpc.keepalive_time_ms", round(self.ping_s * 1000)),
            # From this gRPC sets the TCP_USER_TIMEOUT of the socket too, ...
            ("grpc.keepalive_timeout_ms", answer_ms),
            # ... but it waits this long for the answer, a minute by default.
            ("grpc.http2.ping_timeout_ms", answer_ms),
        ]


KEEPALIVE = Keepalive()


def split_address(address: str) -> tuple[str, int]:
    """Host and port of HOST:PORT; an IPv6 host is in brackets.

    Raises:
        UsageError: The text is not of this form, or the port is not 0 to 65535.
    """
    host, separator, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    plain = host.removeprefix("[").removesuffix("]") if bracketed else host
    well_formed = bool(separator and plain and port.isascii() and port.isdigit())
    if not well_formed or int(port) > 65535 or (":" in plain and not bracketed):
        raise UsageError(
            f"address: expected HOST:PORT, got {address!r}",
            remedy="Write for example 127.0.0.1:50051, localhost:50051 or [::1]:50051",
        )
    return plain, int(port)


def join_address(host: str, port: int) -> str:
    """HOST:PORT as people write it, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def peer_address(name: str) -> str:
    """HOST:PORT of gRPC's name for a peer, such as ipv6:%5B::1%5D:52114."""
    return urllib.parse.unquote(name.partition(":")[2])


def is_loopback(host: str) -> bool:
    """Whether the host is this machine by its name alone; nothing is looked up."""
    if host.lower() == "localhost":
        return True
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def open_channel(
    address: str,
    *,
    tls: TlsFiles | None = None,
    insecure: bool = False,
    server_name: str = "",
    keepalive: Keepalive = KEEPALIVE,
) -> grpc.aio.Channel:
    """A channel to a server; nothing is sent yet.

    Args:
        address: HOST:PORT.
        tls: The files for mutual TLS.
        insecure: Plain text, on loopback only, instead of TLS.
        server_name: The host that the server's certificate must name, where a tunnel or a proxy is
            at the address; empty: the host of the address.
        keepalive: When the server counts as unreachable.

    Raises:
        UsageError: The choice of security does not fit the address, or a file cannot be used.
    """
    check_security(address, tls=tls, insecure=insecure)
    options: list[tuple[str, int | str]] = [*_CHANNEL_OPTIONS, *keepalive.options()]
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    certificate, key, authority = read_tls(tls)
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    return grpc.aio.secure_channel(address, credentials, options=options)


def open_server(
    address: str,
    *,
    tls: TlsFiles | None = None,
    insecure: bool = False,
    max_streams: int = 16,
    keepalive: Keepalive = KEEPALIVE,
    interceptors: Sequence[Any] = (),
) -> tuple[grpc.aio.Server, int]:
    """A server that is not started yet, and the port that it holds (chosen for it if 0 was asked).

    Args:
        address: HOST:PORT to listen on.
        tls: The files for mutual TLS: `authority` is the one that signs clients.
        insecure: Plain text, on loopback only, instead of TLS.
        max_streams: Most calls at a time of one connection; the next ones wait at the client.
        keepalive: When a client counts as lost.
        interceptors: Passed to gRPC.

    Raises:
        UsageError: The choice of security does not fit the address, a file cannot be used, or the
            port is taken.
    """
    check_security(address, tls=tls, insecure=insecure)
    streams = ("grpc.max_concurrent_streams", max_streams)
    options = [*_SERVER_OPTIONS, *keepalive.options(), streams]
    server = grpc.aio.server(options=options, interceptors=list(interceptors))
    try:
        if tls is None:
            return server, server.add_insecure_port(address)
        certificate, key, authority = read_tls(tls)
        credentials = grpc.ssl_server_credentials(
            [(key, certificate)], authority, require_client_auth=True
        )
        return server, server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise UsageError(
            f"cannot listen on {address}: the port is in use, or the address is not this machine's",
            remedy="Stop the other program, or choose another port (0 takes any free one)",
        ) from error


def check_security(address: str, *, tls: TlsFiles | None, insecure: bool) -> None:
    """Refuse what is not safe for an address: plain text off loopback, or unasked.

    Raises:
        UsageError: It is so, or both kinds of security were given.
    """
    host, _ = split_address(address)
    if tls is not None and insecure:
        raise UsageError("TLS files and --insecure were both given", remedy="Leave one of them out")
    if insecure and not is_loopback(host):
        raise UsageError(
            f"--insecure: expected a loopback address, got {host}",
            remedy="Give TLS files, or use 127.0.0.1",
        )
    if tls is None and not insecure:
        raise UsageError(
            f"{address}: no TLS files were given",
            remedy="Give a certificate, its key and the other side's authority; "
            "on loopback --insecure does without",
        )


@asynccontextmanager
async def translated_errors(context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
    """End the call with a status that says what the peer may know; the rest goes to the log.

    Errors of this project become their row of the table, anything else an INTERNAL without details.
    `AbortError` and `CancelledError` pass: gRPC needs them.
    """
    try:
        yield
    except Exception as error:
        verdict = _first_known(error)
        if isinstance(verdict, grpc.aio.AbortError):
            raise verdict from None
        if spec_of(verdict).public is not None:
            log.error("call.failed", exc_info=error)
        await context.abort_with_status(status_of(verdict))


def _first_known(error: Exception) -> CollaborationError | grpc.aio.AbortError:
    """The error itself if it is known; of a group, as task groups raise, the first one that is."""
    if isinstance(error, CollaborationError | grpc.aio.AbortError):
        return error
    for inner in error.exceptions if isinstance(error, ExceptionGroup) else ():
        found = _first_known(inner)
        if not isinstance(found, InternalError):
            return found
    return InternalError("unexpected failure")


def status_of(error: CollaborationError) -> grpc.Status:
    """The rich gRPC status of an error: code, public text, and an `ErrorInfo` with the reason."""
    spec = spec_of(error)
    message, remedy = public_text(error)
    info = error_details_pb2.ErrorInfo(reason=spec.reason, domain=ERROR_DOMAIN)
    if remedy:
        info.metadata["remedy"] = remedy
    detail = any_pb2.Any()
    detail.Pack(info)
    status: grpc.Status = rpc_status.to_status(
        status_pb2.Status(code=code_pb2.Code.Value(spec.status), message=message, details=[detail])
    )
    return status


async def error_from_rpc(error: grpc.aio.AioRpcError, *, address: str) -> CollaborationError:
    """What an RPC's failure means: the server's own verdict if it sent one, else gRPC's.

    Args:
        error: What the call raised.
        address: Where the server was looked for, for the message.
    """
    verdict = _verdict(error)
    if verdict is not None:
        return verdict
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE:
        return _unavailable(details, address)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return OutOfTimeError(
            f"{address} did not answer in time",
            remedy="Try again, allow more time, or check that a Goliath runs there",
        )
    if code is grpc.StatusCode.CANCELLED:
        return SessionCancelledError("the call was cancelled")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return LimitExceededError(f"a message passed the limit of {MAX_MESSAGE_BYTES} bytes")
    # A Goliath's refusals carry its verdict: these come from something that only speaks HTTP/2.
    if code is grpc.StatusCode.UNIMPLEMENTED or "http2 header" in details:
        return _not_ours(address)
    return InternalError(f"the call to {address} failed: {code.name}")


def _verdict(error: grpc.aio.AioRpcError) -> CollaborationError | None:
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        # The details contradict the status: not something that our server sends.
        return None
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.domain == ERROR_DOMAIN:
            remedy = info.metadata.get("remedy", "")
            return error_from_reason(info.reason, status.message, remedy=remedy)
    return None


def _unavailable(details: str, address: str) -> CollaborationError:
    """Tell apart what gRPC calls UNAVAILABLE; its text is all that it tells (tests hold it)."""
    text = details.lower()
    if "http1" in text or "parsing http/2" in text:
        return _not_ours(address)
    connected = "socket closed" in text or "connection reset" in text
    untrusted = "handshake" in text or "verification check" in text
    if untrusted or (_REFUSED_BEFORE_HTTP2 in text and connected):
        return TlsError(
            f"{address} answers, but no trusted connection came about",
            remedy="Check that both sides use TLS or both --insecure, and that each certificate "
            "comes from the authority that the other side trusts and names its host",
        )
    if _REFUSED_BEFORE_HTTP2 in text or "resolving" in text:
        return UnreachableError(
            f"nobody answers at {address}",
            remedy="Check the address, and that a Goliath runs there (goliath serve)",
        )
    if "ping timeout" in text or "timed out" in text:
        return UnreachableError(
            f"nothing comes from {address} any more, not even answers to pings",
            remedy="Check the network, and ask again; over a slow one with a larger --budget",
        )
    return UnreachableError(f"the connection to {address} broke", remedy="Try again")


def _not_ours(address: str) -> NotOurServerError:
    return NotOurServerError(
        f"something answers at {address}, but it is not a Goliath",
        remedy="Check the host and the port",
    )
