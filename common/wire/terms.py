"""What a session is bound by (process, settings, limits) between dataclasses and protobuf."""

from common.collaboration.settings import LateRule, SessionSettings
from common.collaboration.timing import MAX_EVERY, MAX_LAG, Every
from common.denoising.halting import MAX_MARGIN, MAX_PATIENCE
from common.errors import ProcessMismatchError, ProtocolMismatchError
from common.pb import collaboration_pb2 as pb
from common.processes.simplex.settings import (
    LONGEST_NO_REPEAT,
    MAX_RAMP,
    NoiseKind,
    Projection,
    SelfConditioning,
    SimplexProcess,
)
from common.wire.checks import choice, integer, number, plain_name, refuse, within_limit
from common.wire.contribution import CODECS
from common.wire.frames import MAX_INDEX, PROTOCOL_VERSION, Limits

_LATE_RULES: dict[LateRule, pb.LateRule] = {
    LateRule.WAIT: pb.LATE_RULE_WAIT,
    LateRule.SOLO: pb.LATE_RULE_SOLO,
    LateRule.FAIL: pb.LATE_RULE_FAIL,
}
_NOISE_FORMS: dict[NoiseKind, pb.NoiseForm] = {
    NoiseKind.DENSE: pb.NOISE_FORM_DENSE,
    NoiseKind.EXTREMES: pb.NOISE_FORM_EXTREMES,
}
_SELF_CONDITIONINGS: dict[SelfConditioning, pb.SelfConditioning] = {
    SelfConditioning.OWN: pb.SELF_CONDITIONING_OWN,
    SelfConditioning.ESTIMATE: pb.SELF_CONDITIONING_ESTIMATE,
    SelfConditioning.FUSED: pb.SELF_CONDITIONING_FUSED,
}
_PROJECTIONS: dict[Projection, pb.Projection] = {
    Projection.SAMPLE: pb.PROJECTION_SAMPLE,
    Projection.MULTI_HOT: pb.PROJECTION_MULTI_HOT,
}

# What the contract allows at all; a server's own limits are usually lower.
CEILING = Limits(
    max_message_bytes=2**28,
    max_prompt_bytes=2**24,
    max_block_length=4096,
    max_steps=MAX_INDEX - 1,
    max_tokens=2**20,
    max_weight=1.0,
    max_entries=2**16 - 1,
    max_budget_ms=3_600_000,
    max_ask_ids_per_position=2**16 - 1,
    max_ask_ids=2**20,
)


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


def process_to_proto(process: SimplexProcess) -> pb.SimplexProcess:
    """The message of a process."""
    return pb.SimplexProcess(
        k=process.k,
        schedule=process.schedule,
        noise_form=_NOISE_FORMS[process.noise_form],
        extremes_draws=process.extremes_draws,
        extremes_rows=process.extremes_rows,
    )


def process_from_proto(message: pb.Open | pb.Opened | pb.GetServerInfoResponse) -> SimplexProcess:
    """The process that a message names.

    Raises:
        ProcessMismatchError: It names none that is known here.
    """
    if message.WhichOneof("process") != "simplex":
        raise ProcessMismatchError(
            "process: expected simplex diffusion, got none or one unknown here",
            remedy="Use a model of simplex diffusion, or a newer release",
        )
    form = choice("process.noise_form", message.simplex.noise_form, _NOISE_FORMS)
    extremes = form is NoiseKind.EXTREMES
    top = 2**16 - 1 if extremes else 0
    draws = message.simplex.extremes_draws
    rows = message.simplex.extremes_rows
    return SimplexProcess(
        k=number("process.k", message.simplex.k, low=0.0, high=1000.0, open_low=True),
        schedule=plain_name("process.schedule", message.simplex.schedule),
        noise_form=form,
        extremes_draws=integer("process.extremes_draws", draws, low=int(extremes), high=top),
        extremes_rows=integer("process.extremes_rows", rows, low=0, high=top),
    )


def settings_to_proto(settings: SessionSettings) -> pb.Settings:
    """The message of settings."""
    return pb.Settings(
        block_length=settings.block_length,
        steps=settings.steps,
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        min_p=settings.min_p,
        seed=settings.seed,
        weight=settings.weight,
        late_rule=_LATE_RULES[settings.late_rule],
        codec=CODECS[settings.codec],
        self_conditioning=_SELF_CONDITIONINGS[settings.self_conditioning],
        budget_ms=settings.budget_ms,
        projection=_PROJECTIONS[settings.projection],
        halt_patience=settings.halt_patience,
        halt_margin=settings.halt_margin,
        ramp=settings.ramp,
        no_repeat=settings.no_repeat,
        top_p=settings.top_p,
        certify=settings.certify,
        lag=settings.lag,
        every=None if settings.every is None else _every_to_proto(settings.every),
    )


def _no_repeat(length: int) -> int:
    return integer("settings.no_repeat", length, low=2, high=LONGEST_NO_REPEAT) if length else 0


def _every_to_proto(every: Every) -> pb.Every:
    return pb.Every(first=every.first, period=every.period, last=every.last)


def _every_from_proto(message: pb.Settings) -> Every | None:
    """Which steps have fresh contributions; none may be named beside a lag."""
    if not message.HasField("every"):
        return None
    if message.lag:
        raise refuse("settings.every", "none together with a lag", f"both, a lag of {message.lag}")
    every = message.every
    return Every(
        first=integer("settings.every.first", every.first, low=0, high=MAX_EVERY),
        period=integer("settings.every.period", every.period, low=1, high=MAX_EVERY),
        last=integer("settings.every.last", every.last, low=0, high=MAX_EVERY),
    )


def settings_from_proto(message: pb.Settings) -> SessionSettings:
    """Settings that the contract allows; a server compares them with its limits besides."""
    top = CEILING
    conditioning, patience = message.self_conditioning, message.halt_patience
    most_margin = MAX_MARGIN if patience else 0.0
    settings = SessionSettings(
        block_length=integer(
            "settings.block_length", message.block_length, low=1, high=top.max_block_length
        ),
        steps=integer("settings.steps", message.steps, low=1, high=top.max_steps),
        max_tokens=integer("settings.max_tokens", message.max_tokens, low=1, high=top.max_tokens),
        temperature=number("settings.temperature", message.temperature, low=0.0, high=100.0),
        min_p=number("settings.min_p", message.min_p, low=0.0, high=1.0, open_low=True),
        seed=message.seed,
        weight=number("settings.weight", message.weight, low=0.0, high=top.max_weight),
        late_rule=choice("settings.late_rule", message.late_rule, _LATE_RULES),
        codec=choice("settings.codec", message.codec, CODECS),
        self_conditioning=choice("settings.self_conditioning", conditioning, _SELF_CONDITIONINGS),
        budget_ms=integer("settings.budget_ms", message.budget_ms, low=1, high=top.max_budget_ms),
        projection=choice("settings.projection", message.projection, _PROJECTIONS),
        halt_patience=integer("settings.halt_patience", patience, low=0, high=MAX_PATIENCE),
        halt_margin=number("settings.halt_margin", message.halt_margin, low=0.0, high=most_margin),
        ramp=number("settings.ramp", message.ramp, low=0.0, high=MAX_RAMP),
        no_repeat=_no_repeat(message.no_repeat),
        top_p=number("settings.top_p", message.top_p, low=0.0, high=1.0, open_low=True),
        certify=message.certify,
        lag=integer("settings.lag", message.lag, low=0, high=MAX_LAG),
        every=_every_from_proto(message),
    )
    if settings.certify and (settings.lag or settings.every is not None):
        raise refuse("settings.certify", "none together with a lag or with every", "both")
    integer("settings.max_tokens / block_length", settings.blocks, low=1, high=MAX_INDEX)
    return settings


def check_limits(settings: SessionSettings, limits: Limits) -> None:
    """Refuse wishes beyond the limits of this server."""
    for name, wish, limit in (
        ("settings.block_length", settings.block_length, limits.max_block_length),
        ("settings.steps", settings.steps, limits.max_steps),
        ("settings.max_tokens", settings.max_tokens, limits.max_tokens),
        ("settings.weight", settings.weight, limits.max_weight),
        ("settings.budget_ms", settings.budget_ms, limits.max_budget_ms),
    ):
        within_limit(name, wish, limit)


_INTEGER_LIMITS = {
    "max_message_bytes": 2**16,
    "max_prompt_bytes": 1,
    "max_block_length": 1,
    "max_steps": 1,
    "max_tokens": 1,
    "max_entries": 1,
    "max_budget_ms": 1,
    "max_ask_ids_per_position": 0,
    "max_ask_ids": 0,
}
"""The smallest value of each limit that is an integer."""


def limits_to_proto(limits: Limits) -> pb.Limits:
    """The message of limits."""
    whole = {name: int(getattr(limits, name)) for name in _INTEGER_LIMITS}
    return pb.Limits(max_weight=limits.max_weight, **whole)


def limits_from_proto(message: pb.Limits) -> Limits:
    """Limits that the contract allows."""
    whole = {
        name: integer(
            f"limits.{name}", getattr(message, name), low=low, high=getattr(CEILING, name)
        )
        for name, low in _INTEGER_LIMITS.items()
    }
    weight = number("limits.max_weight", message.max_weight, low=0.0, high=CEILING.max_weight)
    return Limits(max_weight=weight, **whole)
