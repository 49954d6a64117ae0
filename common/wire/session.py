"""Open, opened, checkpoints and server info between dataclasses and protobuf."""

import numpy as np

from common.collaboration.settings import SessionSettings
from common.pb import collaboration_pb2 as pb
from common.processes.simplex.settings import MAX_HOT, Projection
from common.wire.checks import (
    MAX_NAMES,
    choice,
    ids_from_bytes,
    ids_to_bytes,
    integer,
    length,
    names,
    plain_name,
    refuse,
    sized,
    small_integers,
    text,
    time_table,
    unique_in_rows,
    within_limit,
)
from common.wire.frames import (
    FINGERPRINT_BYTES,
    MAX_VOCABULARY,
    Checkpoint,
    Limits,
    Open,
    Opened,
    Outcome,
    Participation,
    Role,
    ServerInfo,
)
from common.wire.terms import (
    CEILING,
    check_limits,
    check_version,
    limits_from_proto,
    limits_to_proto,
    process_from_proto,
    process_to_proto,
    settings_from_proto,
    settings_to_proto,
)

_ROLES: dict[Role, pb.Role] = {
    Role.OWNER: pb.ROLE_OWNER,
    Role.CONTRIBUTOR: pb.ROLE_CONTRIBUTOR,
}


def state_to_proto(estimate: np.ndarray, *, vocabulary_size: int) -> pb.SimplexState:
    """The message of a state, given as its estimate."""
    ids = ids_to_bytes("state.ids", estimate, vocabulary_size=vocabulary_size)
    return pb.SimplexState(h=estimate.shape[1], ids=ids)


def state_from_proto(message: pb.SimplexState, *, step: int, opened: Opened) -> np.ndarray:
    """The estimate of a state, (block_length, h) int64: h = 0 at step 0, then 1, or up to 16 with
    the projection multi-hot.
    """
    positions, size = opened.settings.block_length, opened.vocabulary_size
    most = MAX_HOT if opened.settings.projection is Projection.MULTI_HOT else 1
    low, high = (1, min(most, size)) if step else (0, 0)
    h = integer("state.h", message.h, low=low, high=high)
    ids = ids_from_bytes(
        "state.ids", message.ids, count=positions * h, vocabulary_size=size, padded=h > 1
    ).reshape(positions, h)
    if h > 1:
        present = ids >= 0
        if not present[:, 0].all() or (present[:, 1:] & ~present[:, :-1]).any():
            raise refuse("state.ids", "at least one id a row, then padding", "padding before an id")
        unique_in_rows("state.ids", ids[present], present.sum(axis=1))
    return ids


def participations_to_proto(
    participations: tuple[Participation, ...],
) -> list[pb.Participation]:
    """The messages of how contributors kept up."""
    return [
        pb.Participation(
            contributor_id=one.contributor_id, outcomes=one.outcomes.astype(np.uint8).tobytes()
        )
        for one in participations
    ]


def participations_from_proto(
    message: pb.Completed | pb.Checkpoint, settings: SessionSettings
) -> tuple[Participation, ...]:
    """How contributors kept up: no more steps than the session has, no contributor twice."""
    integer("participations", len(message.participations), low=0, high=MAX_NAMES)
    names("participations.contributor_id", [one.contributor_id for one in message.participations])
    most = settings.blocks * settings.steps
    return tuple(
        Participation(
            one.contributor_id,
            small_integers(
                "participations.outcomes",
                one.outcomes,
                code="u1",
                count=integer("participations.outcomes", len(one.outcomes), low=0, high=most),
                low=min(Outcome),
                high=max(Outcome),
            ),
        )
        for one in message.participations
    )


def opened_to_proto(opened: Opened) -> pb.Opened:
    """The message of the agreed terms."""
    size = opened.vocabulary_size
    return pb.Opened(
        protocol_version=opened.protocol_version,
        session_id=opened.session_id,
        settings=settings_to_proto(opened.settings),
        simplex=process_to_proto(opened.process),
        prompt_ids=ids_to_bytes("prompt_ids", opened.prompt_ids, vocabulary_size=size),
        suffix_ids=ids_to_bytes("suffix_ids", opened.suffix_ids, vocabulary_size=size),
        times=opened.times,
        limits=limits_to_proto(opened.limits),
        features=opened.features,
        model_name=opened.model_name,
        vocabulary_size=size,
    )


def opened_from_proto(message: pb.Opened) -> Opened:
    """The agreed terms, checked; whether they suit the client, the client knows.

    Raises:
        InvalidFrameError: They break the contract.
        ProtocolMismatchError, ProcessMismatchError: The server is of another kind.
    """
    version = check_version(message.protocol_version)
    settings = settings_from_proto(message.settings)
    integer("times", len(message.times), low=settings.steps, high=settings.steps)
    size = integer("vocabulary_size", message.vocabulary_size, low=2, high=MAX_VOCABULARY)
    return Opened(
        session_id=text("session_id", message.session_id, low=1, high=128),
        settings=settings,
        process=process_from_proto(message),
        prompt_ids=ids_from_bytes("prompt_ids", message.prompt_ids, vocabulary_size=size),
        suffix_ids=ids_from_bytes("suffix_ids", message.suffix_ids, vocabulary_size=size),
        times=time_table(message.times),
        limits=limits_from_proto(message.limits),
        model_name=text("model_name", message.model_name, low=1, high=128),
        vocabulary_size=size,
        features=names("features", message.features),
        protocol_version=version,
    )


def _checkpoint_to_proto(checkpoint: Checkpoint) -> pb.Checkpoint:
    size = checkpoint.opened.vocabulary_size
    return pb.Checkpoint(
        opened=opened_to_proto(checkpoint.opened),
        block=checkpoint.block,
        finished_ids=ids_to_bytes("finished_ids", checkpoint.finished_ids, vocabulary_size=size),
        states=[state_to_proto(one, vocabulary_size=size) for one in checkpoint.estimates],
        participations=participations_to_proto(checkpoint.participations),
        unchanged_steps=checkpoint.unchanged_steps,
    )


def _checkpoint_from_proto(message: pb.Checkpoint) -> Checkpoint:
    opened = opened_from_proto(message.opened)
    settings = opened.settings
    block = integer("checkpoint.block", message.block, low=0, high=settings.blocks - 1)
    done = integer("checkpoint.states", len(message.states), low=0, high=settings.steps)
    return Checkpoint(
        opened=opened,
        block=block,
        finished_ids=ids_from_bytes(
            "checkpoint.finished_ids",
            message.finished_ids,
            count=block * settings.block_length,
            vocabulary_size=opened.vocabulary_size,
        ),
        estimates=tuple(
            state_from_proto(state, step=step, opened=opened)
            for step, state in enumerate(message.states)
        ),
        participations=participations_from_proto(message, settings),
        unchanged_steps=integer("unchanged_steps", message.unchanged_steps, low=0, high=done),
    )


def open_to_proto(frame: Open) -> pb.Open:
    """The message of the first frame."""
    checkpoint = frame.checkpoint
    return pb.Open(
        protocol_version=frame.protocol_version,
        role=_ROLES[frame.role],
        contributor_id=frame.contributor_id,
        display_name=frame.display_name,
        prompt=frame.prompt,
        suffix=frame.suffix,
        settings=settings_to_proto(frame.settings),
        simplex=process_to_proto(frame.process),
        vocabulary_fingerprint=frame.vocabulary_fingerprint,
        required_features=frame.required_features,
        optional_features=frame.optional_features,
        session_id=frame.session_id,
        checkpoint=None if checkpoint is None else _checkpoint_to_proto(checkpoint),
    )


def open_from_proto(message: pb.Open, limits: Limits) -> Open:
    """The first frame of a client, checked against the contract and this server's limits.

    Raises:
        InvalidFrameError: It breaks the contract.
        LimitExceededError: It asks for more than the limits.
        ProtocolMismatchError, ProcessMismatchError: The client is of another kind.
    """
    version = check_version(message.protocol_version)
    for name, value in (("prompt", message.prompt), ("suffix", message.suffix)):
        within_limit(f"{name} bytes", len(value.encode("utf-8")), limits.max_prompt_bytes)
    settings = settings_from_proto(message.settings)
    check_limits(settings, limits)
    checkpoint = None
    if message.HasField("checkpoint"):
        checkpoint = _checkpoint_from_proto(message.checkpoint)
        check_limits(checkpoint.opened.settings, limits)
    fingerprint = message.vocabulary_fingerprint
    return Open(
        role=choice("role", message.role, _ROLES),
        contributor_id=plain_name("contributor_id", message.contributor_id),
        prompt=sized("prompt", message.prompt, high=CEILING.max_prompt_bytes),
        settings=settings,
        process=process_from_proto(message),
        vocabulary_fingerprint=length("vocabulary_fingerprint", fingerprint, FINGERPRINT_BYTES),
        suffix=sized("suffix", message.suffix, high=CEILING.max_prompt_bytes),
        display_name=text("display_name", message.display_name, high=128),
        required_features=names("required_features", message.required_features),
        optional_features=names("optional_features", message.optional_features),
        session_id=text("session_id", message.session_id, high=128),
        checkpoint=checkpoint,
        protocol_version=version,
    )


def server_info_to_proto(info: ServerInfo) -> pb.GetServerInfoResponse:
    """The message of what a server offers."""
    return pb.GetServerInfoResponse(
        protocol_version=info.protocol_version,
        software_version=info.software_version,
        model_name=info.model_name,
        vocabulary_fingerprint=info.vocabulary_fingerprint,
        vocabulary_size=info.vocabulary_size,
        simplex=process_to_proto(info.process),
        limits=limits_to_proto(info.limits),
        features=info.features,
        defaults=settings_to_proto(info.defaults),
    )


def server_info_from_proto(message: pb.GetServerInfoResponse) -> ServerInfo:
    """What a server offers, checked.

    Raises:
        InvalidFrameError: It breaks the contract.
        ProtocolMismatchError, ProcessMismatchError: The server is of another kind.
    """
    version = check_version(message.protocol_version)
    fingerprint = message.vocabulary_fingerprint
    size = integer("vocabulary_size", message.vocabulary_size, low=2, high=MAX_VOCABULARY)
    return ServerInfo(
        software_version=text("software_version", message.software_version, low=1, high=128),
        model_name=text("model_name", message.model_name, low=1, high=128),
        vocabulary_fingerprint=length("vocabulary_fingerprint", fingerprint, FINGERPRINT_BYTES),
        vocabulary_size=size,
        process=process_from_proto(message),
        limits=limits_from_proto(message.limits),
        defaults=settings_from_proto(message.defaults),
        features=names("features", message.features),
        protocol_version=version,
    )
