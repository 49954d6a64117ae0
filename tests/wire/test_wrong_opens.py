"""First frames and terms that break the contract are refused."""

import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.errors import (
    CollaborationError,
    InvalidFrameError,
    LimitExceededError,
    ProcessMismatchError,
    ProtocolMismatchError,
)
from common.text.templates import Message, Speaker
from common.wire.conversions import (
    client_frame_from_proto,
    client_frame_to_proto,
    server_frame_from_proto,
    server_frame_to_proto,
)
from common.wire.frames import Checkpoint
from tests.wire.frame_cases import (
    LIMITS,
    OPEN,
    OPENED,
    POSITIONS,
    VOCABULARY,
    nines,
    set_field,
    simplex_step,
)

WRONG_OPENS: list[tuple[str, Any, type[CollaborationError]]] = [
    ("protocol_version", 0, ProtocolMismatchError),
    ("protocol_version", 2, ProtocolMismatchError),
    ("role", 0, InvalidFrameError),
    ("role", 77, InvalidFrameError),
    ("contributor_id", "", InvalidFrameError),
    ("contributor_id", "a b", InvalidFrameError),
    ("contributor_id", "a\n", InvalidFrameError),
    ("display_name", "\x1b[31m", InvalidFrameError),
    ("display_name", "x" * 129, InvalidFrameError),
    ("messages.1.content", "é" * 40_000, LimitExceededError),
    ("messages.1.role", 0, InvalidFrameError),
    ("messages.1.role", 4, InvalidFrameError),
    ("suffix", "x" * 70_000, LimitExceededError),
    ("settings.block_length", 0, InvalidFrameError),
    ("settings.block_length", 257, LimitExceededError),
    ("settings.block_length", 2**32 - 1, InvalidFrameError),
    ("settings.steps", 0, InvalidFrameError),
    ("settings.steps", 1025, LimitExceededError),
    ("settings.steps", 2**16, InvalidFrameError),
    ("settings.max_tokens", 0, InvalidFrameError),
    ("settings.max_tokens", 5000, LimitExceededError),
    ("settings.max_tokens", 2**20, InvalidFrameError),
    ("settings.simplex.temperature", -0.5, InvalidFrameError),
    ("settings.simplex.temperature", float("nan"), InvalidFrameError),
    ("settings.simplex.temperature", float("inf"), InvalidFrameError),
    ("settings.simplex.min_p", 0.0, InvalidFrameError),
    ("settings.simplex.min_p", 1.5, InvalidFrameError),
    ("contributor.weight", -0.1, InvalidFrameError),
    ("contributor.weight", 1.1, InvalidFrameError),
    ("contributor.weight", float("nan"), InvalidFrameError),
    ("contributor.weight", 0.9, LimitExceededError),
    ("contributor.mode", 0, InvalidFrameError),
    ("contributor.mode", 3, InvalidFrameError),
    ("settings.late_rule", 0, InvalidFrameError),
    ("contributor.codec", 9, InvalidFrameError),
    ("settings.simplex.self_conditioning", 0, InvalidFrameError),
    ("settings.simplex.projection", 0, InvalidFrameError),
    ("settings.simplex.projection", 3, InvalidFrameError),
    ("settings.simplex.halt_patience", 2**16, InvalidFrameError),
    ("settings.simplex.halt_margin", 0.5, InvalidFrameError),
    ("settings.simplex.ramp", -0.1, InvalidFrameError),
    ("settings.simplex.ramp", 16.5, InvalidFrameError),
    ("settings.simplex.ramp", float("nan"), InvalidFrameError),
    ("settings.simplex.top_p", 0.0, InvalidFrameError),
    ("settings.simplex.top_p", 1.5, InvalidFrameError),
    ("settings.simplex.top_p", float("nan"), InvalidFrameError),
    ("settings.simplex.no_repeat", 1, InvalidFrameError),
    ("settings.simplex.no_repeat", 17, InvalidFrameError),
    ("settings.lag", 17, InvalidFrameError),
    ("settings.every.period", 0, InvalidFrameError),
    ("settings.every.period", 2**16, InvalidFrameError),
    ("settings.every.first", 2**16, InvalidFrameError),
    ("settings.every.last", 2**16, InvalidFrameError),
    ("contributor.budget_ms", 0, InvalidFrameError),
    ("contributor.budget_ms", 600_001, LimitExceededError),
    ("simplex.k", 0.0, InvalidFrameError),
    ("simplex.k", float("inf"), InvalidFrameError),
    ("simplex.schedule", "", InvalidFrameError),
    ("simplex.noise_form", 0, InvalidFrameError),
    ("simplex.noise_form", 1, InvalidFrameError),
    ("simplex.extremes_draws", 0, InvalidFrameError),
    ("simplex.extremes_rows", 2**16, InvalidFrameError),
    ("vocabulary.size", 0, InvalidFrameError),
    ("vocabulary.size", 1024, InvalidFrameError),
    ("vocabulary.size", 2**32 - 1, InvalidFrameError),
    ("vocabulary.runs", b"short", InvalidFrameError),
    ("vocabulary.form", b"short", InvalidFrameError),
    ("vocabulary.added.0.id", 2**20, InvalidFrameError),
    ("vocabulary.added.0.name", "", InvalidFrameError),
    ("vocabulary.added.0.name", "x" * 257, InvalidFrameError),
    ("vocabulary.end_ids", [], InvalidFrameError),
    ("vocabulary.end_ids", [2**20], InvalidFrameError),
    ("vocabulary.end_ids", list(range(65)), InvalidFrameError),
    ("required_features", [""], InvalidFrameError),
    ("required_features", ["twice", "twice"], InvalidFrameError),
    ("optional_features", [f"f{i}" for i in range(65)], InvalidFrameError),
    ("session_id", "x" * 129, InvalidFrameError),
    ("checkpoint.block", 3, ProtocolMismatchError),
]


@pytest.mark.parametrize(("path", "value", "error"), WRONG_OPENS)
def test_wrong_opens(path: str, value: Any, error: type[CollaborationError]) -> None:
    message = client_frame_to_proto(OPEN)
    set_field(path, value)(message.open)
    with pytest.raises(error) as caught:
        client_frame_from_proto(message, limits=replace(LIMITS, max_weight=0.5), opened=None)
    assert type(caught.value) is error


def test_certify_is_for_lock_step() -> None:
    message = client_frame_to_proto(OPEN)
    message.open.settings.certify = True
    assert client_frame_from_proto(message, limits=LIMITS, opened=None)
    message.open.settings.lag = 1
    with pytest.raises(InvalidFrameError, match="certify"):
        client_frame_from_proto(message, limits=LIMITS, opened=None)
    message.open.settings.lag = 0
    message.open.settings.every.period = 2
    with pytest.raises(InvalidFrameError, match="certify"):
        client_frame_from_proto(message, limits=LIMITS, opened=None)


@pytest.mark.parametrize("margin", [-0.1, 1000.5, float("nan"), float("inf")])
def test_wrong_margins(margin: float) -> None:
    message = client_frame_to_proto(OPEN)
    message.open.settings.simplex.halt_patience = 2
    assert client_frame_from_proto(message, limits=LIMITS, opened=None)
    message.open.settings.simplex.halt_margin = margin
    with pytest.raises(InvalidFrameError, match="halt_margin"):
        client_frame_from_proto(message, limits=LIMITS, opened=None)


def test_fresh_steps_together_with_a_lag_are_refused() -> None:
    message = client_frame_to_proto(OPEN)
    message.open.settings.every.period = 4
    assert client_frame_from_proto(message, limits=LIMITS, opened=None)
    message.open.settings.lag = 1
    with pytest.raises(InvalidFrameError, match="expected none together with a lag"):
        client_frame_from_proto(message, limits=LIMITS, opened=None)


def test_an_unknown_process_is_refused() -> None:
    message = client_frame_to_proto(OPEN)
    message.open.ClearField("simplex")
    with pytest.raises(ProcessMismatchError):
        client_frame_from_proto(message, limits=LIMITS, opened=None)


def test_the_settings_of_another_process_are_refused() -> None:
    message = client_frame_to_proto(OPEN)
    message.open.masked.grid = True
    with pytest.raises(InvalidFrameError, match="expected those of masked diffusion, got"):
        client_frame_from_proto(message, limits=LIMITS, opened=None)
    message.open.settings.ClearField("simplex")
    with pytest.raises(InvalidFrameError, match="got none"):
        client_frame_from_proto(message, limits=LIMITS, opened=None)
    message.open.settings.masked.order = 9
    with pytest.raises(InvalidFrameError, match=r"settings\.masked\.order"):
        client_frame_from_proto(message, limits=LIMITS, opened=None)


def test_a_conversation_has_limits_as_a_whole() -> None:
    half = "é" * (LIMITS.max_prompt_bytes // 4)
    pair = (Message(Speaker.USER, half), Message(Speaker.ASSISTANT, half))
    assert client_frame_from_proto(
        client_frame_to_proto(replace(OPEN, messages=pair)), limits=LIMITS, opened=None
    )
    for many, error in (
        ((*pair, Message(Speaker.USER, "x")), LimitExceededError),
        ((Message(Speaker.USER, ""),) * 257, InvalidFrameError),
    ):
        message = client_frame_to_proto(replace(OPEN, messages=many))
        with pytest.raises(error, match="messages"):
            client_frame_from_proto(message, limits=LIMITS, opened=None)


def test_a_checkpoint_has_the_steps_of_one_block() -> None:
    first = simplex_step(0, 0, np.empty((POSITIONS, 0), np.int64))
    for steps in ((first, first), (replace(first, step=1),), (replace(first, block=1),)):
        checkpoint = Checkpoint(OPENED, 0, np.arange(0), steps)
        message = client_frame_to_proto(replace(OPEN, checkpoint=checkpoint))
        with pytest.raises(InvalidFrameError, match="from step 0 on"):
            client_frame_from_proto(message, limits=LIMITS, opened=None)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("session_id", ""),
        ("times", [1.0, 0.5]),
        ("times", [0.9, 0.8, 0.6, 0.4, 0.2, 0.1]),
        ("times", [1.0, 0.8, 0.8, 0.4, 0.2, 0.1]),
        ("times", [1.0, 0.8, 0.6, 0.4, 0.2, 0.0]),
        ("times", [1.0, 0.8, float("nan"), 0.4, 0.2, 0.1]),
        ("vocabulary_size", 1),
        ("vocabulary_size", 2**31),
        ("prompt_ids", b"abc"),
        ("prompt_ids", struct.pack("<H", VOCABULARY)),
        ("prompt_ids", b"\xff\xff"),
        ("limits.max_message_bytes", 2**32 - 1),
        ("limits.max_entries", 0),
        ("limits.max_weight", float("nan")),
        ("model_name", "\x07"),
        ("end_ids", b""),
        ("end_ids", nines(5, 5)),
        ("end_ids", nines(VOCABULARY)),
        ("contributors.0.contributor_id", "b c"),
        ("contributors.0.contributor_id", "david-1"),
        ("contributors.0.contributor_id", "e"),
        ("contributors.0.display_name", "\x07"),
        ("contributors.0.settings.weight", 1.5),
        ("contributors.0.settings.mode", 0),
        ("messages.0.role", 0),
    ],
)
def test_wrong_terms(path: str, value: Any) -> None:
    message = server_frame_to_proto(OPENED)
    set_field(path, value)(message.opened)
    with pytest.raises(InvalidFrameError):
        server_frame_from_proto(message, opened=None)
