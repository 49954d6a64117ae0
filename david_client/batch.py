"""Many questions, one after another: each a line of JSON, with settings of its own."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from common.denoising.settings import settings_of
from common.errors import BadDataError, CollaborationError, SessionCancelledError, UsageError
from common.program.values import changed
from david_client.chat.pipe import Pipe
from david_client.conversation import Collaboration, question_of
from david_client.reply import Draft, Reply
from david_client.resuming import digest
from david_client.settings import DavidSettings

TEXTS = ("prompt", "context", "suffix")
FIXED = frozenset(
    {
        *("goliath", "goliath_model", "model", "guide", "label", "strength"),
        *("insecure", "tls_cert", "tls_key", "server_ca", "server_name", "timeout"),
        *("memory", "history", "device", "dtype", "threads", "log_format"),
    }
)
"""Settings that no line can change: who takes part, and where. All others are a question's own."""


def parse_line(line: str, settings: DavidSettings) -> tuple[DavidSettings, dict[str, str]]:
    """The settings that hold for a line, and its texts, by the names in `TEXTS`.

    Args:
        line: a JSON object with a `prompt`, if wanted a `context` (text, private) and a `suffix`,
            and settings by their names in david.toml.
        settings: what holds where the line says nothing.

    Raises:
        BadDataError: it is no such object, or a setting is none or out of range.
    """
    record = _object(line)
    texts = {name: record.pop(name, "") for name in TEXTS}
    wrong = [name for name, text in texts.items() if not _is_text(text)]
    if wrong or not texts["prompt"].strip():
        name = wrong[0] if wrong else "prompt"
        raise BadDataError(
            f"expected a text as {name}, got {str(texts[name])[:80]!r}",
            remedy='A line looks like: {"prompt": "How do I make pea soup?", "steps": 16}',
        )
    return _changed(settings, record), texts


def _is_text(value: object) -> bool:
    # JSON can write halves of a character, which no encoding of text has.
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def _object(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadDataError(
            f"expected a JSON object, got {line.strip()[:80]!r}",
            remedy="Give one JSON object a line",
        ) from error
    if not isinstance(record, dict):
        raise BadDataError(
            f"expected a JSON object, got {line.strip()[:80]!r}",
            remedy="Give one JSON object a line",
        )
    return record


def _changed(settings: DavidSettings, changes: dict[str, Any]) -> DavidSettings:
    free = [one.name for one, _ in settings_of(DavidSettings) if one.name not in FIXED]
    foreign = sorted(set(changes) - set(free))
    if foreign:
        raise BadDataError(
            f"expected settings of a question, got {foreign[0]!r}",
            remedy=f"A line may have {', '.join((*TEXTS, *free))}",
        )
    try:
        return changed(settings, changes)
    except UsageError as error:
        raise BadDataError(
            error.message, remedy="Look at the option of that name in david ask --help"
        ) from error


@dataclass(slots=True)
class Moments:
    """When an answer was where, in seconds of this machine's monotonic clock: other processes here
    read the same one, and can tell what of their own fell between.
    """

    now: Callable[[], float]
    asked: float = field(init=False)
    """Before the first byte to a server."""
    first_state: float | None = None
    """When the first state was there: the connection and the settings are there, David begins."""
    last_state: float | None = None
    """When the last state was there."""

    def __post_init__(self) -> None:
        """Begin."""
        self.asked = self.now()

    def see(self, _: Draft) -> None:
        """A state is there."""
        self.last_state = self.now()
        if self.first_state is None:
            self.first_state = self.last_state

    def record(self) -> dict[str, float | None]:
        """The moments as a JSON object, with that of the answer, which is now."""
        return {
            "asked": self.asked,
            "first_state": self.first_state,
            "last_state": self.last_state,
            "answered": self.now(),
        }


def ask_all(
    pair: Collaboration,
    lines: Pipe,
    settings: DavidSettings,
    *,
    passed: int = 0,
    now: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[Reply, dict[str, Any]]]:
    """Ask line by line; each answer is there before the next line is read.

    Args:
        pair: who answers.
        lines: where the questions come from; blank lines are passed over.
        settings: what holds where a line says nothing.
        passed: lines that were read before, of which the numbers go on.
        now: a clock in seconds.

    Yields:
        The reply, and its JSON object: what `david ask --json` prints, number and digest of the
        line, the size of the vocabulary, and the moments.

    Raises:
        CollaborationError: the first line that fails ends it, and the message has its number.
    """
    number = passed
    while True:
        number += 1
        try:
            line = lines.read()
            if line is None:
                return
            if not line.strip():
                continue
            own, texts = parse_line(line, settings)
            moments = Moments(now)
            question = question_of(own, texts["prompt"], suffix=texts["suffix"])
            reply = pair.answer(question, pair.david(own, texts["context"]), moments.see)
        except SessionCancelledError:
            raise
        except CollaborationError as error:
            message = f"line {number}: {error.message}"
            raise type(error)(message, remedy=error.remedy) from error
        yield (
            reply,
            reply.record()
            | {
                "line": number,
                "input_sha256": digest(line),
                "vocabulary_size": pair.model.vocabulary.size,
                "moments": moments.record(),
            },
        )
