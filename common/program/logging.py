"""The log of the programs: events on stderr, as text for people or as JSON for programs."""

import logging
import os
import sys

import structlog

from common.program.settings import LogFormat


def start_log(*, form: LogFormat = "text", verbose: bool = False) -> None:
    """Send the events of this project's modules to stderr; foreign ones only from warnings on.

    Args:
        form: "text", or "json" with one object a line.
        verbose: Events of level DEBUG too.
    """
    # gRPC's core writes lines of its own; it reads this when it is first imported.
    os.environ.setdefault("GRPC_VERBOSITY", "INFO" if verbose else "NONE")
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if form == "json"
        else [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=_plain)]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for package in ("common", "goliath_server", "david_client"):
        logging.getLogger(package).setLevel(logging.DEBUG if verbose else logging.INFO)


_plain = structlog.dev.plain_traceback
