"""What both sides agree on, and the public Python API (`docs/developers.md`).

Importing this imports nothing else: a name is looked up when it is used.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:  # for tools; to import `typing` would cost more than all of this
    from common.errors import CollaborationError
    from common.text.templates import Message
    from common.wire.tls import TlsFiles
    from david_client.api import (
        David,
        Draft,
        Goliath,
        Reply,
        acollaborate,
        astream,
        collaborate,
        stream,
    )

__all__ = [
    "CollaborationError",
    "David",
    "Draft",
    "Goliath",
    "Message",
    "Reply",
    "TlsFiles",
    "acollaborate",
    "astream",
    "collaborate",
    "stream",
]

_PLACES = {
    "CollaborationError": "common.errors",
    "Message": "common.text.templates",
    "TlsFiles": "common.wire.tls",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES.get(name, "david_client.api")), name)
