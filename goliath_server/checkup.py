"""What `goliath doctor` tries beside the settings."""

import asyncio
import time

from common.program.tls import tls_files
from common.wire.channels import open_server
from goliath_server.server import load_chosen, load_host, warm_up_view
from goliath_server.session import Host
from goliath_server.settings import GoliathSettings

__all__ = ["address", "describe_host", "guide", "load_host", "one_step"]


def address(settings: GoliathSettings) -> str:
    """Whether the server could listen, with its TLS files.

    Raises:
        UsageError: it could not.
    """

    async def listen() -> int:
        tls = tls_files(
            settings.tls_cert, settings.tls_key, settings.client_ca, authority_option="--client-ca"
        )
        server, port = open_server(settings.listen, tls=tls, insecure=settings.insecure)
        await server.stop(None)
        return port

    port = asyncio.run(listen())
    kind = "plain text on loopback" if settings.insecure else "mutual TLS"
    return f"{settings.listen} is free (port {port}), {kind}"


def describe_host(host: Host) -> str:
    """The model in a line."""
    model = host.model
    return (
        f"{model.name}, {model.predictor.parameters / 1e6:.1f} M parameters on "
        f"{model.predictor.device}, {model.vocabulary.size} pieces, "
        f"fingerprint {model.vocabulary.summary.fingerprint}"
    )


def guide(settings: GoliathSettings, host: Host) -> str:
    """The guide in a line.

    Raises:
        CollaborationError: it cannot guide the model.
    """
    chosen = load_chosen(settings, host.model)
    return "none" if chosen is None else f"{chosen.choice.model} towards {chosen.choice.label}"


def one_step(host: Host) -> str:
    """One pass of the model, with its shape and time."""
    begin = time.perf_counter()
    (rows,) = host.model.predictor.predict([warm_up_view(host.model)])
    return f"logits {tuple(rows.shape)} in {time.perf_counter() - begin:.2f} s"
