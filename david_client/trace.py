"""Traces: every step of answers, as JSON lines, written as they happen.

A trace holds, for each answer, a header, its steps, and the reply or the failure. It holds no
private context: only what David made of it, in the drafts. `david show` replays it without a model.
"""

import json
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict
from importlib.metadata import version
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from common.errors import (
    BadFileError,
    CollaborationError,
    InternalError,
    SessionCancelledError,
    public_text,
    spec_of,
)
from common.program.files import private

if TYPE_CHECKING:
    from david_client.asking import David, Question
    from david_client.reply import Draft, Reply
    from david_client.view.sketch import Sketch

VERSION = 1
"""Version of the format; a reader refuses others."""


def open_trace(path: Path | None) -> AbstractContextManager["Trace | None"]:
    """Begin a trace, before anything else is loaded: a bad path shall be reported early.

    A new file is its owner's alone. One that holds something is never written to. None makes no
    trace.

    Raises:
        BadFileError: the file holds something already, or cannot be written.
    """
    if path is None:
        return nullcontext()
    try:
        # Appending and then looking cannot destroy what another program writes meanwhile.
        file = FileIO(path, "ab", opener=private)
    except OSError as error:
        raise BadFileError(
            f"trace: cannot write {path}: {error.strerror}",
            remedy="Give --trace a new file in a folder that exists",
        ) from error
    if os.fstat(file.fileno()).st_size:
        file.close()
        raise BadFileError(
            f"trace: expected a new or empty file, {path} holds something",
            remedy="Give another name, or remove the file",
        )
    return Trace(file)


class Trace:
    """A trace that is written; use as a context manager."""

    def __init__(self, file: BinaryIO) -> None:
        """Write into an open file without a buffer: what could not be written is not kept."""
        self._file = file
        self._header: dict[str, Any] | None = None
        """The header of an answer, until its settings are known."""
        self._open = False

    def __enter__(self) -> "Trace":
        """Nothing is written before an answer begins."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._file.close()

    def begin(self, question: "Question", david: "David", *, title: str) -> None:
        """Keep what is asked, without the context; it is written when the settings are known."""
        summary = david.model_for(None).vocabulary.summary
        self._header = {
            "type": "header",
            "version": VERSION,
            "software": version("goliath-david"),
            "title": title,
            "prompt": question.prompt,
            "suffix": question.suffix,
            "seed": question.seed,
            "contrast": david.contrast,
            "weight": david.requested.values.get("weight"),
            "goliath": None,
            "david": david.name,
            "vocabulary": summary.fingerprint,
            "settings": None,
        }
        self._open = True

    def step(self, sketch: "Sketch", draft: "Draft", changed: Sequence[int]) -> None:
        """Write a step.

        Raises:
            BadFileError: the file cannot be written any more.
        """
        settings = draft.settings
        self._head(settings=asdict(settings), goliath=draft.goliath, weight=draft.weight)
        self._write(
            {
                "type": "step",
                "block": draft.block,
                "step": draft.step,
                "t": draft.t,
                "seconds": round(sketch.seconds, 6),
                "bytes_up": draft.bytes_up,
                "bytes_down": draft.bytes_down,
                "text": sketch.text,
                "words": _words(sketch),
                "noise": sketch.noise,
                "ended": sketch.ended,
                "estimate": [] if draft.hot is None else draft.hot.tolist(),
                "decided": draft.decided.tolist(),
                "changed": list(changed),
            }
        )

    def finish(self, sketch: "Sketch", reply: "Reply") -> None:
        """Write the reply.

        Raises:
            BadFileError: the file cannot be written any more.
        """
        settings = reply.settings
        self._head(settings=asdict(settings), goliath=reply.goliath, weight=reply.weight)
        record = reply.record() | {"text": sketch.text, "seconds": round(sketch.seconds, 6)}
        marked = {"words": _words(sketch), "decided": list(reply.decided)}
        self._write({"type": "reply", "block": sketch.block} | record | marked)
        self._open = False

    def fail(self, error: BaseException, *, seconds: float) -> None:
        """Write why there is no reply, as far as a peer may know it; nothing between answers.

        A file that cannot be written is left as it is: the error itself is reported by the caller.
        """
        if not self._open:
            return
        self._open = False
        verdict = _verdict(error)
        message, remedy = public_text(verdict)
        with suppress(BadFileError):
            self._head()
            self._write(
                {
                    "type": "failure",
                    "reason": spec_of(verdict).reason,
                    "message": message,
                    "remedy": remedy,
                    "seconds": round(seconds, 6),
                }
            )

    def _head(self, **settings: Any) -> None:
        if self._header is not None:
            self._write(self._header | settings)
            self._header = None

    def _write(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, ensure_ascii=True, allow_nan=False) + "\n"
        data = line.encode("ascii")
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise BadFileError(
                f"trace: cannot go on writing: {error.strerror}",
                remedy="Make room, or ask without --trace",
            ) from error


def _words(sketch: "Sketch") -> list[list[int]]:
    """Of each word: begin, end, who decided it (0 for nobody knows), and whether it changed."""
    return [
        [word.begin, word.end, 0 if word.decider is None else word.decider, int(word.changed)]
        for word in sketch.words
    ]


def _verdict(error: BaseException) -> CollaborationError:
    if isinstance(error, CollaborationError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return SessionCancelledError("interrupted")
    return InternalError(type(error).__name__)
