"""Open, opened, checkpoints and server info between dataclasses and protobuf."""

from collections.abc import Iterable, Sequence

import numpy as np

from common.collaboration.settings import MAX_PROMPT_BYTES, ContributorSettings, Limits
from common.pb import collaboration_pb2 as pb
from common.processes.masked.settings import MaskedProcess
from common.text.templates import Message, Speaker
from common.wire.checks import (
    MAX_NAMES,
    choice,
    ids_from_bytes,
    ids_to_bytes,
    integer,
    names,
    numbers_from_bytes,
    plain_name,
    refuse,
    text,
    time_table,
    unique_in_rows,
    within_limit,
)
from common.wire.frames import (
    MAX_MESSAGES,
    MAX_VOCABULARY,
    Agreed,
    Checkpoint,
    Open,
    Opened,
    Outcome,
    Participation,
    Role,
    ServerInfo,
)
from common.wire.settings import (
    ENUMS,
    check_limits,
    check_version,
    from_fields,
    process_from_proto,
    process_to_fields,
    settings_from_proto,
    settings_to_proto,
    to_fields,
    vocabulary_from_proto,
    vocabulary_to_proto,
)
from common.wire.states import step_from_proto, step_to_proto


def _messages_to_proto(messages: Iterable[Message]) -> list[pb.Message]:
    return [pb.Message(role=ENUMS[Speaker][one.role], content=one.content) for one in messages]


def _messages_from_proto(messages: Sequence[pb.Message], most_bytes: int) -> tuple[Message, ...]:
    integer("messages", len(messages), low=0, high=MAX_MESSAGES)
    size = sum(len(one.content.encode("utf-8")) for one in messages)
    within_limit("bytes of all messages", size, most_bytes)
    return tuple(
        Message(choice("messages.role", one.role, ENUMS[Speaker]), one.content) for one in messages
    )


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
    message: pb.Completed | pb.Checkpoint, opened: Opened
) -> tuple[Participation, ...]:
    """How contributors kept up: no more steps than the session has, no contributor twice."""
    integer("participations", len(message.participations), low=0, high=MAX_NAMES)
    names("participations.contributor_id", [one.contributor_id for one in message.participations])
    most = opened.blocks * opened.settings.steps
    return tuple(
        Participation(
            one.contributor_id,
            numbers_from_bytes(
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
    """The message of what was agreed."""
    size = opened.vocabulary_size
    return pb.Opened(
        protocol_version=opened.protocol_version,
        session_id=opened.session_id,
        settings=settings_to_proto(opened.settings),
        contributors=[
            pb.Contributor(
                contributor_id=one.contributor_id,
                display_name=one.display_name,
                settings=pb.ContributorSettings(**to_fields(one.settings)),
            )
            for one in opened.contributors
        ],
        messages=_messages_to_proto(opened.messages),
        prompt_ids=ids_to_bytes("prompt_ids", opened.prompt_ids, vocabulary_size=size),
        suffix_ids=ids_to_bytes("suffix_ids", opened.suffix_ids, vocabulary_size=size),
        times=opened.times,
        end_ids=ids_to_bytes("end_ids", np.array(opened.end_ids), vocabulary_size=size),
        limits=pb.Limits(**to_fields(opened.limits)),
        features=opened.features,
        model_name=opened.model_name,
        vocabulary_size=size,
        **process_to_fields(opened.process),
    )


def opened_from_proto(message: pb.Opened) -> Opened:
    """What was agreed, checked; whether it suits the client, the client knows.

    Raises:
        InvalidFrameError: They break the contract.
        ProtocolMismatchError, ProcessMismatchError: The server is of another kind.
    """
    version = check_version(message.protocol_version)
    process = process_from_proto(message)
    settings = settings_from_proto(message.settings, process)
    timed = 0 if isinstance(process, MaskedProcess) else settings.steps
    integer("times", len(message.times), low=timed, high=timed)
    size = integer("vocabulary_size", message.vocabulary_size, low=2, high=MAX_VOCABULARY)
    end_ids = ids_from_bytes("end_ids", message.end_ids, vocabulary_size=size)
    unique_in_rows("end_ids", end_ids, [integer("end_ids", len(end_ids), low=1, high=MAX_NAMES)])
    return Opened(
        session_id=text("session_id", message.session_id, low=1, high=128),
        settings=settings,
        contributors=_contributors_from_proto(message.contributors),
        process=process,
        messages=_messages_from_proto(message.messages, MAX_PROMPT_BYTES),
        prompt_ids=ids_from_bytes("prompt_ids", message.prompt_ids, vocabulary_size=size),
        suffix_ids=ids_from_bytes("suffix_ids", message.suffix_ids, vocabulary_size=size),
        times=time_table(message.times) if timed else (),
        end_ids=tuple(end_ids.tolist()),
        limits=from_fields(Limits, message.limits, "limits"),
        model_name=text("model_name", message.model_name, low=1, high=128),
        vocabulary_size=size,
        features=names("features", message.features),
        protocol_version=version,
    )


def _contributors_from_proto(messages: Sequence[pb.Contributor]) -> tuple[Agreed, ...]:
    ids = names("contributors.contributor_id", [one.contributor_id for one in messages])
    if list(ids) != sorted(ids):
        raise refuse("contributors", "them in the order of their ids", f"{ids}"[:200])
    return tuple(
        Agreed(
            contributor_id=one.contributor_id,
            settings=from_fields(ContributorSettings, one.settings, "contributors"),
            display_name=text("display_name", one.display_name, high=128),
        )
        for one in messages
    )


def _checkpoint_to_proto(checkpoint: Checkpoint) -> pb.Checkpoint:
    size = checkpoint.opened.vocabulary_size
    return pb.Checkpoint(
        opened=opened_to_proto(checkpoint.opened),
        block=checkpoint.block,
        finished_ids=ids_to_bytes("finished_ids", checkpoint.finished_ids, vocabulary_size=size),
        steps=[step_to_proto(one, checkpoint.opened) for one in checkpoint.steps],
        participations=participations_to_proto(checkpoint.participations),
        unchanged_steps=checkpoint.unchanged_steps,
    )


def _checkpoint_from_proto(message: pb.Checkpoint, limits: Limits) -> Checkpoint:
    from common.collaboration.opening import process_for  # torch comes along, for this frame alone

    opened = opened_from_proto(message.opened)
    settings = opened.settings
    check_limits(settings, limits)
    block = integer("checkpoint.block", message.block, low=0, high=opened.blocks - 1)
    done = integer("checkpoint.steps", len(message.steps), low=0, high=settings.steps)
    came = [(one.block, one.step) for one in message.steps]
    if came != [(block, step) for step in range(done)]:
        raise refuse("checkpoint.steps", f"those of block {block} from step 0 on", came[:16])
    process = process_for(opened.process, settings, opened.times, opened.end_ids)
    return Checkpoint(
        opened=opened,
        block=block,
        finished_ids=ids_from_bytes(
            "checkpoint.finished_ids",
            message.finished_ids,
            count=block * settings.block_length,
            vocabulary_size=opened.vocabulary_size,
        ),
        steps=tuple(step_from_proto(one, opened, process) for one in message.steps),
        participations=participations_from_proto(message, opened),
        unchanged_steps=integer("unchanged_steps", message.unchanged_steps, low=0, high=done),
    )


def open_to_proto(frame: Open) -> pb.Open:
    """The message of the first frame."""
    checkpoint = frame.checkpoint
    return pb.Open(
        protocol_version=frame.protocol_version,
        role=ENUMS[Role][frame.role],
        contributor_id=frame.contributor_id,
        display_name=frame.display_name,
        messages=_messages_to_proto(frame.messages),
        suffix=frame.suffix,
        settings=settings_to_proto(frame.settings),
        contributor=pb.ContributorSettings(**to_fields(frame.contributor)),
        vocabulary=vocabulary_to_proto(frame.vocabulary),
        required_features=frame.required_features,
        optional_features=frame.optional_features,
        session_id=frame.session_id,
        checkpoint=None if checkpoint is None else _checkpoint_to_proto(checkpoint),
        **process_to_fields(frame.process),
    )


def open_from_proto(message: pb.Open, limits: Limits) -> Open:
    """The first frame of a client, checked against the contract and this server's limits.

    Raises:
        InvalidFrameError: It breaks the contract.
        LimitExceededError: It asks for more than the limits.
        ProtocolMismatchError, ProcessMismatchError: The client is of another kind.
    """
    version = check_version(message.protocol_version)
    within_limit("suffix bytes", len(message.suffix.encode()), limits.max_prompt_bytes)
    process = process_from_proto(message)
    settings = settings_from_proto(message.settings, process)
    check_limits(settings, limits)
    contributor = from_fields(ContributorSettings, message.contributor, "contributor")
    within_limit("contributor.weight", contributor.weight, limits.max_weight)
    within_limit("contributor.budget_ms", contributor.budget_ms, limits.max_budget_ms)
    resumed = message.HasField("checkpoint")
    return Open(
        role=choice("role", message.role, ENUMS[Role]),
        contributor_id=plain_name("contributor_id", message.contributor_id),
        messages=_messages_from_proto(message.messages, limits.max_prompt_bytes),
        settings=settings,
        contributor=contributor,
        process=process,
        vocabulary=vocabulary_from_proto(message.vocabulary),
        suffix=message.suffix,
        display_name=text("display_name", message.display_name, high=128),
        required_features=names("required_features", message.required_features),
        optional_features=names("optional_features", message.optional_features),
        session_id=text("session_id", message.session_id, high=128),
        checkpoint=_checkpoint_from_proto(message.checkpoint, limits) if resumed else None,
        protocol_version=version,
    )


def server_info_to_proto(info: ServerInfo) -> pb.GetServerInfoResponse:
    """The message of what a server offers."""
    return pb.GetServerInfoResponse(
        protocol_version=info.protocol_version,
        software_version=info.software_version,
        model_name=info.model_name,
        vocabulary=vocabulary_to_proto(info.vocabulary),
        vocabulary_size=info.vocabulary_size,
        limits=pb.Limits(**to_fields(info.limits)),
        features=info.features,
        defaults=settings_to_proto(info.defaults),
        contributor_defaults=pb.ContributorSettings(**to_fields(info.contributor_defaults)),
        **process_to_fields(info.process),
    )


def server_info_from_proto(message: pb.GetServerInfoResponse) -> ServerInfo:
    """What a server offers, checked.

    Raises:
        InvalidFrameError: It breaks the contract.
        ProtocolMismatchError, ProcessMismatchError: The server is of another kind.
    """
    version = check_version(message.protocol_version)
    process = process_from_proto(message)
    size = integer("vocabulary_size", message.vocabulary_size, low=2, high=MAX_VOCABULARY)
    return ServerInfo(
        software_version=text("software_version", message.software_version, low=1, high=128),
        model_name=text("model_name", message.model_name, low=1, high=128),
        vocabulary=vocabulary_from_proto(message.vocabulary),
        vocabulary_size=size,
        process=process,
        limits=from_fields(Limits, message.limits, "limits"),
        defaults=settings_from_proto(message.defaults, process),
        contributor_defaults=from_fields(
            ContributorSettings, message.contributor_defaults, "contributor_defaults"
        ),
        features=names("features", message.features),
        protocol_version=version,
    )
