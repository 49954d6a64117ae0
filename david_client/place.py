"""Where a server is, and what crossed the wire to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from common.wire.tls import TlsFiles

FRAME_PREFIX_BYTES = 5
"""What gRPC puts before each message."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the server is, and how it is trusted."""

    address: str
    """HOST:PORT."""
    tls: TlsFiles | None = None
    insecure: bool = False
    server_name: str = ""
    """The host that the server's certificate must name; empty: that of the address."""


@dataclass(slots=True)
class Meter:
    """Bytes that crossed the wire."""

    up: int = 0
    down: int = 0

    def sent(self, message: Any) -> None:
        """Count a message on its way."""
        self.up += message.ByteSize() + FRAME_PREFIX_BYTES

    def came(self, message: Any) -> None:
        """Count a message that came."""
        self.down += message.ByteSize() + FRAME_PREFIX_BYTES
