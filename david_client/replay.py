"""Reading a trace: a file from somewhere, hostile until checked, one line at a time."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json

from common.denoising.plan import Decider
from common.errors import BadDataError, BadFileError
from common.program.console import clean_line, note
from david_client.view.sketch import Sketch, Word

MAX_LINE_BYTES = 2**22
"""Longest line that is read."""
_MAX_TEXT = 2**20
_MAX_POSITIONS = 2**12
_MAX_COUNT = 2**16
_MAX_HOT = 16
_MAX_BYTES = 2**50
_MAX_SECONDS = 1e9
_MAX_ID = 2**20

Line = Annotated[str, Field(max_length=_MAX_TEXT), AfterValidator(clean_line)]
"""Text without control characters, of the same length as it came."""
Name = Annotated[str, Field(max_length=500), AfterValidator(clean_line)]
Index = Annotated[int, Field(ge=0, lt=_MAX_COUNT)]
Count = Annotated[int, Field(ge=1, le=2**20)]
Bytes = Annotated[int, Field(ge=0, le=_MAX_BYTES)]
Seconds = Annotated[float, Field(ge=0, le=_MAX_SECONDS)]
Share = Annotated[float, Field(ge=0, le=1)]
Place = Annotated[int, Field(ge=0, le=_MAX_TEXT)]
Deciding = Annotated[int, Field(ge=0, le=max(Decider))]
Id = Annotated[int, Field(ge=-1, le=_MAX_ID)]
Row = Annotated[list[Id], Field(max_length=_MAX_HOT)]
Marked = tuple[Place, Place, Deciding, Annotated[int, Field(ge=0, le=1)]]
"""Begin and end of a word, who decided it, whether it changed."""
Deciders = Annotated[list[Deciding], Field(max_length=_MAX_POSITIONS)]
WordList = Annotated[list[Marked], Field(max_length=_MAX_COUNT)]


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


class _Terms(_Record):
    block_length: Annotated[int, Field(ge=1, le=_MAX_POSITIONS)]
    steps: Annotated[int, Field(ge=1, le=_MAX_COUNT)]
    max_tokens: Count


class Header(_Record):
    """What was asked, and the settings; these are None where it failed before they were known."""

    type: Literal["header"]
    version: Literal[1]
    title: Name = ""
    prompt: Line
    suffix: Line = ""
    seed: Annotated[int, Field(ge=0, lt=2**64)]
    contrast: Annotated[float, Field(ge=0, le=1000)] = 0.0
    weight: Share | None = None
    goliath: Name | None = None
    david: Name = ""
    vocabulary: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    settings: _Terms | None = None


class _Seen(_Record):
    """A text with marked words."""

    text: Line
    words: WordList
    block: Index = 0
    seconds: Seconds
    bytes_up: Bytes
    bytes_down: Bytes

    @model_validator(mode="after")
    def _words_follow_each_other(self) -> "_Seen":
        last = 0
        for begin, end, _, _ in self.words:
            if not last <= begin <= end <= len(self.text):
                raise ValueError("words: expected rising places inside the text")
            last = end
        return self


class StepLine(_Seen):
    """A step."""

    type: Literal["step"]
    step: Index
    t: Annotated[float, Field(gt=0, le=1)]
    noise: Annotated[int, Field(ge=0, le=_MAX_POSITIONS)] = 0
    ended: bool = False
    estimate: Annotated[list[Row], Field(max_length=_MAX_POSITIONS)] = []
    decided: Deciders = []
    changed: Annotated[list[Index], Field(max_length=_MAX_POSITIONS)] = []


class ReplyLine(_Seen):
    """The answer."""

    type: Literal["reply"]
    steps_run: Annotated[int, Field(ge=0)]
    david_steps: Annotated[int, Field(ge=0)]
    finish_reason: Name = ""
    decided: Deciders = []


class FailureLine(_Record):
    """Why there is no answer."""

    type: Literal["failure"]
    reason: Name
    message: Line
    remedy: Line = ""
    seconds: Seconds = 0.0


Record = Header | StepLine | ReplyLine | FailureLine
_RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="type")])


@dataclass(frozen=True, slots=True)
class Scene:
    """A line of a trace, and what it shows."""

    record: Record
    number: int
    """Of a step: its number in the trace, counted over all blocks and answers, 1 first; else 0."""
    sketch: Sketch | None
    """None for headers and failures."""


def read_trace(path: Path) -> Iterator[Scene]:
    """The lines of a trace, checked as they are read: memory does not grow with the file. A last
    line that is half written is left out, with a note on stderr.

    Raises:
        BadFileError: it cannot be read, or it is empty.
        BadDataError: a line is not what it should be, by its number.
    """
    try:
        with path.open("rb") as file:
            yield from _scenes(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), path)
    except OSError as error:
        raise BadFileError(
            f"trace: cannot read {path}: {error.strerror}",
            remedy="Give a file that `david ask --trace FILE` wrote",
        ) from error


def _scenes(lines: Iterator[bytes], path: Path) -> Iterator[Scene]:
    header: Header | None = None
    steps = 0
    for count, line in enumerate(lines, 1):
        record = _record(line, count)
        if record is None:
            note(f"line {count} is half written: the run that wrote it was ended, or goes on")
            break
        if isinstance(record, Header):
            header = record
            yield Scene(record, 0, None)
            continue
        if header is None or (isinstance(record, _Seen) and header.settings is None):
            raise _bad(count, f"expected a header with settings before a {record.type}")
        if isinstance(record, FailureLine):
            yield Scene(record, 0, None)
            continue
        steps += isinstance(record, StepLine)
        number = steps if isinstance(record, StepLine) else 0
        yield Scene(record, number, _sketch(record, header, count))
    if header is None:
        raise BadFileError(
            f"trace: {path} is empty: its run ended before an answer began",
            remedy="Give a file that `david ask --trace FILE` wrote",
        )


def _record(line: bytes, number: int) -> Record | None:
    """What a line says; None for one that ends in its middle."""
    if len(line) > MAX_LINE_BYTES:
        raise _bad(number, f"expected at most {MAX_LINE_BYTES} bytes, got more")
    try:
        return _RECORD.validate_json(line)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        if found["type"] == "json_invalid" and _half_written(line):
            return None
        raise _bad(number, _wrong(found)) from error


def _half_written(line: bytes) -> bool:
    with suppress(ValueError):
        return not line.endswith(b"\n") and isinstance(from_json(line, allow_partial=True), dict)
    return False


def _wrong(found: Any) -> str:
    place = ".".join(map(str, found["loc"][1:]))
    if found["type"] == "value_error":  # of a check of ours, in its own words
        return str(found["ctx"]["error"])
    if not place:
        return "expected a JSON object of the type header, step, reply or failure"
    return f"{place} {'is missing' if found['type'] == 'missing' else 'has a value that cannot be'}"


def _sketch(record: StepLine | ReplyLine, header: Header, line: int) -> Sketch:
    assert header.settings is not None
    settings = header.settings
    blocks = -(-settings.max_tokens // settings.block_length)
    moment: dict[str, Any] = {"step": settings.steps, "t": 0.0}
    if isinstance(record, StepLine):
        moment = {"step": record.step, "t": record.t, "noise": record.noise, "ended": record.ended}
        if record.step >= settings.steps:
            raise _bad(line, f"expected a step below {settings.steps}, got {record.step}")
    if record.block >= blocks:
        raise _bad(line, f"expected a block below {blocks}, got {record.block}")
    return Sketch(
        block=record.block,
        blocks=blocks,
        steps=settings.steps,
        weight=header.weight or 0.0,
        text=record.text,
        words=tuple(
            Word(begin, end, Decider(decider) if decider else None, bool(changed))
            for begin, end, decider, changed in record.words
        ),
        seconds=record.seconds,
        bytes_up=record.bytes_up,
        bytes_down=record.bytes_down,
        title=header.title,
        suffix=header.suffix,
        **moment,
    )


def _bad(line: int, what: str) -> BadDataError:
    return BadDataError(
        f"trace, line {line}: {what}", remedy="Give a file that `david ask --trace FILE` wrote"
    )
