"""Ctrl-C inside a command, before the command line's own handler makes it a silent exit."""

from collections.abc import Iterator
from contextlib import contextmanager

from common.errors import SessionCancelledError


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn an interrupt into an error of this project, which is told like all others.

    Raises:
        SessionCancelledError: SIGINT or SIGTERM came.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise SessionCancelledError("interrupted") from error
