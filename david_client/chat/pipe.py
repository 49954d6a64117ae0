"""Lines of a conversation from standard input, for scripts."""

from typing import BinaryIO

from common.errors import BadDataError
from common.text.lines import decoded
from david_client.texts import MAX_TEXT_BYTES


class Pipe:
    """A question or a command on each line; the end of the input ends the conversation."""

    interactive = False

    def __init__(self, source: BinaryIO) -> None:
        """Read from a stream of bytes."""
        self._source = source

    def read(self) -> str | None:
        """The next line; None at the end.

        Raises:
            BadDataError: it is not UTF-8, binary or too long; the next one can be read.
        """
        line = self._source.readline(MAX_TEXT_BYTES + 1)
        if len(line) > MAX_TEXT_BYTES:
            while line and not line.endswith(b"\n"):
                line = self._source.readline(MAX_TEXT_BYTES)
            raise BadDataError(
                f"a line: expected at most {MAX_TEXT_BYTES} bytes, got more",
                remedy="Give a shorter question",
            )
        return decoded(line, "a line") if line else None
