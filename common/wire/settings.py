"""What a session is bound by (process, settings, limits, vocabulary) between dataclasses and
protobuf. The ranges of settings are those that they are declared with.
"""

from dataclasses import asdict
from enum import StrEnum
from typing import Any, TypeVar

from common.collaboration.settings import (
    Codec,
    LateRule,
    Limits,
    Mode,
    ProcessFacts,
    SessionSettings,
    conflict,
)
from common.collaboration.timing import Every
from common.denoising.plan import FinishReason
from common.denoising.settings import settings_of
from common.errors import ProcessMismatchError, ProtocolMismatchError
from common.pb import collaboration_pb2 as pb
from common.processes.masked.settings import MaskedProcess, MaskedSettings, Order
from common.processes.simplex.settings import (
    NoiseKind,
    Projection,
    SelfConditioning,
    SimplexProcess,
    SimplexSettings,
)
from common.text.summary import HASH_BYTES, VocabularySummary, run_count
from common.text.templates import Speaker
from common.wire.checks import (
    MAX_NAMES,
    choice,
    in_range,
    integer,
    length,
    number,
    plain_name,
    refuse,
    sized,
    within_limit,
)
from common.wire.frames import MAX_INDEX, MAX_VOCABULARY, PROTOCOL_VERSION, Role

ENUMS: dict[Any, dict[Any, Any]] = {
    kind: {one: numbers.Value(f"{prefix}_{one.name}") for one in kind}
    for kind, numbers, prefix in (
        (Role, pb.Role, "ROLE"),
        (Speaker, pb.Speaker, "SPEAKER"),
        (LateRule, pb.LateRule, "LATE_RULE"),
        (Mode, pb.Mode, "MODE"),
        (Codec, pb.Codec, "CODEC"),
        (NoiseKind, pb.NoiseForm, "NOISE_FORM"),
        (SelfConditioning, pb.SelfConditioning, "SELF_CONDITIONING"),
        (Projection, pb.Projection, "PROJECTION"),
        (Order, pb.Order, "ORDER"),
        (FinishReason, pb.FinishReason, "FINISH_REASON"),
    )
}
"""The number of each member, by enumeration."""

_MAX_ADDED = 4096
_Declared = TypeVar("_Declared")


def check_version(version: int) -> int:
    """The version, if this software speaks it.

    Raises:
        ProtocolMismatchError: It does not.
    """
    if version != PROTOCOL_VERSION:
        raise ProtocolMismatchError(
            f"protocol version: expected {PROTOCOL_VERSION}, got {version}",
            remedy="Install the same release on both sides",
        )
    return version


def to_fields(settings: Any) -> dict[str, Any]:
    """The declared settings of a dataclass, as the fields of its message."""
    values = {one.name: getattr(settings, one.name) for one, _ in settings_of(type(settings))}
    return {
        name: ENUMS[type(value)][value] if isinstance(value, StrEnum) else value
        for name, value in values.items()
    }


def from_fields(kind: type[_Declared], message: Any, name: str, **others: Any) -> _Declared:
    """The dataclass of a message with its fields, each in the range that it is declared with.

    Args:
        kind: The dataclass.
        message: The message.
        name: Of the message, for errors.
        others: Fields that are made in another way.
    """
    found = {
        one.name: choice(f"{name}.{one.name}", getattr(message, one.name), ENUMS[type(one.default)])
        if type(one.default) in ENUMS
        else in_range(f"{name}.{one.name}", getattr(message, one.name), declared)
        for one, declared in settings_of(kind)
        if one.name not in others
    }
    return kind(**found, **others)


def process_to_fields(process: ProcessFacts) -> dict[str, Any]:
    """The member of a `process` oneof, by its name."""
    if isinstance(process, MaskedProcess):
        return {"masked": pb.MaskedProcess(grid=process.grid)}
    facts = asdict(process) | {"noise_form": ENUMS[NoiseKind][process.noise_form]}
    return {"simplex": pb.SimplexProcess(**facts)}


def process_from_proto(message: pb.Open | pb.Opened | pb.GetServerInfoResponse) -> ProcessFacts:
    """The process that a message names.

    Raises:
        ProcessMismatchError: It names none that is known here.
    """
    match message.WhichOneof("process"):
        case "masked":
            return MaskedProcess(grid=message.masked.grid)
        case "simplex":
            return _simplex_from_proto(message.simplex)
        case _:
            raise ProcessMismatchError(
                "process: expected simplex or masked diffusion, got none or one unknown here",
                remedy="Use a model of one of these, or a newer release",
            )


def _simplex_from_proto(message: pb.SimplexProcess) -> SimplexProcess:
    form = choice("process.noise_form", message.noise_form, ENUMS[NoiseKind])
    extremes = form is NoiseKind.EXTREMES
    top = 2**16 - 1 if extremes else 0
    draws, rows = message.extremes_draws, message.extremes_rows
    return SimplexProcess(
        k=number("process.k", message.k, low=0.0, high=1000.0, open_low=True),
        schedule=plain_name("process.schedule", message.schedule),
        noise_form=form,
        extremes_draws=integer("process.extremes_draws", draws, low=int(extremes), high=top),
        extremes_rows=integer("process.extremes_rows", rows, low=0, high=top),
    )


def settings_to_proto(settings: SessionSettings) -> pb.Settings:
    """The message of a session's settings."""
    member = "masked" if isinstance(settings.process, MaskedSettings) else "simplex"
    every = None if settings.every is None else to_fields(settings.every)
    fields = to_fields(settings) | {"every": every, member: to_fields(settings.process)}
    return pb.Settings(**fields)


def settings_from_proto(message: pb.Settings, process: ProcessFacts) -> SessionSettings:
    """Settings that the contract allows with a process; a server compares them with its limits
    besides.
    """
    member = message.WhichOneof("process")
    expected = "masked" if isinstance(process, MaskedProcess) else "simplex"
    if member != expected:
        raise refuse(
            "settings", f"those of {expected} diffusion", f"those of {member}" if member else "none"
        )
    own = (
        from_fields(MaskedSettings, message.masked, "settings.masked")
        if member == "masked"
        else _simplex_settings(message.simplex)
    )
    fresh = message.HasField("every")
    every = from_fields(Every, message.every, "settings.every") if fresh else None
    settings = from_fields(SessionSettings, message, "settings", every=every, process=own)
    if wrong := conflict(lag=settings.lag, every=settings.every, certify=settings.certify):
        raise refuse(f"settings.{wrong[0]}", wrong[1], "both")
    integer("settings.max_tokens / block_length", settings.blocks, low=1, high=MAX_INDEX - 1)
    return settings


def _simplex_settings(message: pb.SimplexSettings) -> SimplexSettings:
    own = from_fields(SimplexSettings, message, "settings.simplex")
    if own.halt_margin and not own.halt_patience:
        raise refuse("settings.simplex.halt_margin", "0 without patience", own.halt_margin)
    return own


def check_limits(settings: SessionSettings, limits: Limits) -> None:
    """Refuse settings beyond the limits of this server."""
    for name, limit in (
        ("block_length", limits.max_block_length),
        ("steps", limits.max_steps),
        ("max_tokens", limits.max_tokens),
    ):
        within_limit(f"settings.{name}", getattr(settings, name), limit)


def vocabulary_to_proto(summary: VocabularySummary) -> pb.VocabularySummary:
    """The message of a vocabulary's summary."""
    return pb.VocabularySummary(
        size=summary.size,
        runs=summary.runs,
        form=summary.form,
        added=[pb.AddedToken(id=i, name=name) for i, name in summary.added],
        end_ids=summary.end_ids,
    )


def vocabulary_from_proto(message: pb.VocabularySummary) -> VocabularySummary:
    """A vocabulary's summary; whether it fits, `VocabularySummary.difference` tells."""
    size = integer("vocabulary.size", message.size, low=1, high=MAX_VOCABULARY)
    integer("vocabulary.added", len(message.added), low=0, high=_MAX_ADDED)
    integer("vocabulary.end_ids", len(message.end_ids), low=1, high=MAX_NAMES)
    top = MAX_VOCABULARY - 1
    return VocabularySummary(
        size=size,
        runs=length("vocabulary.runs", message.runs, run_count(size) * HASH_BYTES),
        form=length("vocabulary.form", message.form, HASH_BYTES),
        added=tuple(
            (
                integer("vocabulary.added.id", one.id, low=0, high=top),
                sized("vocabulary.added.name", one.name, low=1, high=256),
            )
            for one in message.added
        ),
        end_ids=tuple(integer("vocabulary.end_ids", i, low=0, high=top) for i in message.end_ids),
    )
