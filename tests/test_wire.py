"""The wire: every frame survives the journey, and what breaks the contract is refused."""

import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from common.collaboration.contribution import Codec, Contribution
from common.collaboration.settings import LateRule, SessionSettings
from common.collaboration.timing import Every
from common.denoising.plan import FinishReason
from common.errors import (
    CollaborationError,
    InvalidFrameError,
    LimitExceededError,
    ProcessMismatchError,
    ProtocolMismatchError,
    StepOutOfRangeError,
)
from common.pb import collaboration_pb2 as pb
from common.processes.simplex.settings import (
    NoiseKind,
    Projection,
    SelfConditioning,
    SimplexProcess,
)
from common.processes.simplex.state import FusedSignal
from common.wire import checks as wire_checks
from common.wire import contribution as wire_contribution
from common.wire import conversions as wire
from common.wire import frames
from common.wire import session as wire_session
from common.wire import terms as wire_terms
from common.wire.conversions import (
    ContributionAssembler,
    client_frame_from_proto,
    client_frame_to_proto,
    server_frame_from_proto,
    server_frame_to_proto,
    server_info_from_proto,
    server_info_to_proto,
    split_contribution,
)
from common.wire.frames import (
    Answer,
    Ask,
    Cancel,
    Checkpoint,
    Completed,
    ContributionChunk,
    Failed,
    Finish,
    Limits,
    Open,
    Opened,
    Outcome,
    Participation,
    Role,
    ServerInfo,
    Step,
)

POSITIONS, VOCABULARY, STEPS = 5, 300, 6

SETTINGS = SessionSettings(
    block_length=POSITIONS,
    steps=STEPS,
    max_tokens=3 * POSITIONS,
    temperature=0.5,
    min_p=0.1,
    seed=2**64 - 1,
    weight=0.25,
    late_rule=LateRule.SOLO,
    codec=Codec.TOPK,
    self_conditioning=SelfConditioning.OWN,
    budget_ms=2000,
)
PROCESS = SimplexProcess(5.0, "cosine", NoiseKind.EXTREMES, 128, 32)
LIMITS = Limits(max_ask_ids_per_position=4, max_ask_ids=12, max_entries=64)
OPENED = Opened(
    session_id="session",
    settings=SETTINGS,
    process=PROCESS,
    prompt_ids=np.arange(7),
    suffix_ids=np.arange(0),
    times=(1.0, 0.8, 0.6, 0.4, 0.2, 0.1),
    limits=LIMITS,
    model_name="goliath-mini",
    vocabulary_size=VOCABULARY,
    features=("ask",),
)
OPEN = Open(
    role=Role.OWNER,
    contributor_id="david-1",
    prompt="How long do I boil an egg?\n",
    settings=SETTINGS,
    process=PROCESS,
    vocabulary_fingerprint=bytes(range(32)),
    suffix="and serve.",
    display_name="Davíd",
    required_features=("ask",),
    optional_features=("suffix",),
)


def agreed(**changes: Any) -> Opened:
    """OPENED with other settings."""
    return replace(OPENED, settings=replace(SETTINGS, **changes))


MULTI_HOT = agreed(projection=Projection.MULTI_HOT)


def same(one: Any, other: Any) -> bool:
    """Whether two frames are equal, arrays by shape, type and values."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if is_dataclass(one):
        pairs = ((getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
        return type(one) is type(other) and all(same(a, b) for a, b in pairs)
    return type(one) is type(other) and bool(one == other)


def up(frame: Any, opened: Opened | None = OPENED, limits: Limits = LIMITS) -> Any:
    """A client's frame after the journey."""
    size = None if opened is None else opened.vocabulary_size
    data = client_frame_to_proto(frame, vocabulary_size=size).SerializeToString()
    return client_frame_from_proto(
        pb.CollaborateRequest.FromString(data), limits=limits, opened=opened
    )


def down(frame: Any, opened: Opened | None = OPENED) -> Any:
    """A server's frame after the journey."""
    size = None if opened is None else opened.vocabulary_size
    data = server_frame_to_proto(frame, vocabulary_size=size).SerializeToString()
    return server_frame_from_proto(pb.CollaborateResponse.FromString(data), opened=opened)


# --- strategies -----------------------------------------------------------------------------------

_finite = st.floats(allow_nan=False, allow_infinity=False)
_name = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
_names = st.lists(_name, max_size=4, unique=True).map(tuple)


@st.composite
def some_settings(draw: st.DrawFn) -> SessionSettings:
    patience = draw(st.integers(0, 65535))
    many = st.integers(0, 65535)
    fresh = st.builds(Every, first=many, period=st.integers(1, 65535), last=many)
    certify = draw(st.booleans())
    every = None if certify else draw(st.none() | fresh)
    return SessionSettings(
        block_length=draw(st.integers(1, 256)),
        steps=draw(st.integers(1, 1024)),
        max_tokens=draw(st.integers(1, 4096)),
        temperature=draw(st.floats(0, 100)),
        min_p=draw(st.floats(0, 1, exclude_min=True)),
        seed=draw(st.integers(0, 2**64 - 1)),
        weight=draw(st.floats(0, 1)),
        late_rule=draw(st.sampled_from(LateRule)),
        codec=draw(st.sampled_from(Codec)),
        self_conditioning=draw(st.sampled_from(SelfConditioning)),
        budget_ms=draw(st.integers(1, 600_000)),
        projection=draw(st.sampled_from(Projection)),
        halt_patience=patience,
        halt_margin=draw(st.floats(0, 1000 if patience else 0)),
        ramp=draw(st.floats(0, 16)),
        top_p=draw(st.floats(0, 1, exclude_min=True)),
        no_repeat=draw(st.sampled_from([0, *range(2, 17)])),
        certify=certify,
        lag=draw(st.integers(0, 16)) if every is None and not certify else 0,
        every=every,
    )


@st.composite
def processes(draw: st.DrawFn) -> SimplexProcess:
    k = draw(st.floats(0, 1000, exclude_min=True))
    if draw(st.booleans()):
        return SimplexProcess(k, draw(_name), NoiseKind.DENSE)
    rows = draw(st.integers(0, 65535))
    return SimplexProcess(k, draw(_name), NoiseKind.EXTREMES, draw(st.integers(1, 65535)), rows)


@st.composite
def openeds(draw: st.DrawFn) -> Opened:
    steps = draw(st.integers(1, 20))
    falls = draw(
        st.lists(st.floats(0.01, 0.99), min_size=steps - 1, max_size=steps - 1, unique=True)
    )
    size = draw(st.sampled_from([2, 255, 256, 65535, 65536, 2**20]))
    ids = st.lists(st.integers(0, size - 1), max_size=9).map(lambda i: np.array(i, np.int64))
    return Opened(
        session_id=draw(_name),
        settings=replace(draw(some_settings()), steps=steps, block_length=64),
        process=draw(processes()),
        prompt_ids=draw(ids),
        suffix_ids=draw(ids),
        times=(1.0, *sorted(falls, reverse=True)),
        limits=Limits(max_weight=draw(st.floats(0, 1)), max_entries=draw(st.integers(1, 65535))),
        model_name=draw(_name),
        vocabulary_size=size,
        features=draw(_names),
    )


def contribution_of(codec: Codec, seed: int = 0) -> Contribution:
    """A contribution of random rows."""
    generator = np.random.default_rng(seed)
    dense = codec is Codec.DENSE
    counts = np.full(POSITIONS, VOCABULARY) if dense else generator.integers(40, 65, POSITIONS)
    rows = [-generator.gamma(2.0, 3.0, count) for count in counts]
    values = [(row - row.max()).astype(np.float16) for row in rows]
    ids = [generator.permutation(VOCABULARY)[:count] for count in counts]
    return Contribution(
        block=int(generator.integers(3)),
        step=int(generator.integers(STEPS - 1)),
        codec=codec,
        counts=counts.astype(np.int32),
        ids=np.empty(0, np.int32) if dense else np.concatenate(ids).astype(np.int32),
        values=np.concatenate(values),
        floors=np.array([] if dense else [row.min() for row in values], np.float16),
        log_mass=generator.uniform(0, np.log(VOCABULARY), POSITIONS).astype(np.float32),
    )


# --- round trips ----------------------------------------------------------------------------------


@given(some_settings(), processes(), st.text(max_size=50), _names)
def test_open(wishes: SessionSettings, process: SimplexProcess, prompt: str, used: Any) -> None:
    frame = replace(OPEN, settings=wishes, process=process, prompt=prompt, required_features=used)
    frame = replace(frame, role=Role.CONTRIBUTOR, session_id="old")
    assert same(up(frame, None), frame)


@given(openeds())
def test_opened(frame: Opened) -> None:
    assert same(down(frame, None), frame)


@given(openeds(), st.integers(0, 3))
def test_checkpoint(opened: Opened, done: int) -> None:
    opened = replace(opened, settings=replace(opened.settings, max_tokens=192))
    done = min(done, opened.settings.steps)
    frame = Checkpoint(
        opened=opened,
        block=2,
        finished_ids=np.ones(128, np.int64),
        estimates=tuple(np.zeros((64, int(step > 0)), np.int64) for step in range(done)),
        participations=(Participation("david", np.array([1, 2, 3], np.uint8)),)
        if opened.settings.steps > 1
        else (),
        unchanged_steps=done,
    )
    limits = replace(LIMITS, max_block_length=256)
    whole = replace(OPEN, checkpoint=frame)
    assert same(up(whole, None, limits), whole)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(Codec), st.sampled_from([900, 1500, 10**6]))
def test_contribution_in_parts(seed: int, codec: Codec, room: int) -> None:
    contribution = contribution_of(codec, seed)
    opened, assembler = agreed(codec=codec), ContributionAssembler(POSITIONS)
    joined = None
    for part in list_parts(contribution, room):
        assert joined is None
        message = client_frame_to_proto(part, vocabulary_size=VOCABULARY)
        assert message.ByteSize() <= room
        joined = assembler.add(up(part, opened))
    assert same(joined, contribution)


def list_parts(contribution: Contribution, room: int) -> list[ContributionChunk]:
    return list(
        split_contribution(contribution, vocabulary_size=VOCABULARY, max_message_bytes=room)
    )


@pytest.mark.parametrize("h", [1, 2, 16])
def test_step(h: int) -> None:
    estimate = np.stack([np.arange(h) + 7 * row for row in range(POSITIONS)])
    if h > 1:
        estimate[2, 1:] = -1
    decided = np.array([1, 2, 3, 4, 1], np.uint8)
    frame = Step(block=1, step=3, estimate=estimate, decided=decided)
    assert same(down(frame, MULTI_HOT), frame)
    if h > 1:
        with pytest.raises(InvalidFrameError, match=r"state\.h: expected 1 to 1"):
            down(frame)


def test_first_steps() -> None:
    nothing = np.empty((POSITIONS, 0), np.int64)
    first = Step(block=0, step=0, estimate=nothing)
    assert same(down(first), first)
    decided = np.ones(POSITIONS, np.uint8)
    later = Step(1, 0, nothing, finished_ids=np.arange(POSITIONS), decided=decided)
    assert same(down(later), later)


def fused_step() -> Step:
    ids = np.tile(np.arange(4), (POSITIONS, 1))
    chances = np.tile(np.array([0.5, 0.25, 0.125, 0.1], np.float16), (POSITIONS, 1))
    decided = np.ones(POSITIONS, np.uint8)
    estimate = np.zeros((POSITIONS, 1), np.int64)
    return Step(0, 1, estimate, decided=decided, fused=FusedSignal(ids, chances))


def test_fused_step() -> None:
    opened = agreed(self_conditioning=SelfConditioning.FUSED)
    assert same(down(fused_step(), opened), fused_step())
    with pytest.raises(InvalidFrameError, match="fused"):
        down(fused_step(), OPENED)
    with pytest.raises(InvalidFrameError, match="fused"):
        down(replace(fused_step(), fused=None), opened)
    signal = fused_step().fused
    assert signal is not None
    for wrong in (
        replace(signal, probabilities=signal.probabilities + np.float16(0.1)),
        replace(signal, probabilities=-signal.probabilities),
        replace(signal, probabilities=signal.probabilities * np.float16("nan")),
        replace(signal, probabilities=signal.probabilities * np.float16("inf")),
        replace(signal, probabilities=signal.probabilities[:, :3]),
        replace(signal, ids=np.zeros_like(signal.ids)),
        FusedSignal(signal.ids[:, :0], signal.probabilities[:, :0]),
    ):
        with pytest.raises(InvalidFrameError, match="fused"):
            down(replace(fused_step(), fused=wrong), opened)
    message = server_frame_to_proto(fused_step(), vocabulary_size=VOCABULARY)
    for name, value in (
        ("entries", 257),
        ("entries", 2**32 - 1),
        ("ids", nines(*[0, 1, 2, VOCABULARY] * POSITIONS)),
        ("ids", nines(*[0, 1, 2, 511] * POSITIONS)),
    ):
        hostile = pb.CollaborateResponse()
        hostile.CopyFrom(message)
        setattr(hostile.step.fused, name, value)
        with pytest.raises(InvalidFrameError, match="fused"):
            server_frame_from_proto(hostile, opened=opened)


ASK = Ask(
    block=0,
    step=2,
    positions=np.array([0, 3], np.int32),
    counts=np.array([2, 1], np.int32),
    ids=np.array([299, 4, 4], np.int32),
)
COMPLETED = Completed(
    block=1,
    step=5,
    ids=np.arange(8),
    finish_reason=FinishReason.END_TOKEN,
    participations=(Participation("david", np.array([1, 1, 2, 3], np.uint8)),),
    decided=np.full(POSITIONS, 4, np.uint8),
    uncertified=3,
    bytes_received=2**40,
    bytes_sent=17,
)


def test_other_frames() -> None:
    answer = Answer(0, 2, np.array([-1, 0, -30000], np.float16))
    for frame in (answer, Cancel(2, 5), Finish(0, 0)):
        assert same(up(frame), frame)
    failed = Failed(1, 2, "OUT_OF_TIME", "late", "wait\n")
    for server_frame in (ASK, COMPLETED, failed):
        assert same(down(server_frame), server_frame)
    assert same(down(failed, None), failed)
    assert COMPLETED.participations[0].count(Outcome.TOOK_PART) == 2


def test_server_info() -> None:
    info = ServerInfo("0.1.0", "mini", bytes(32), 15000, PROCESS, LIMITS, SETTINGS, ("ask",))
    assert same(server_info_from_proto(server_info_to_proto(info)), info)
    with pytest.raises(ProtocolMismatchError, match="same release"):
        server_info_from_proto(server_info_to_proto(replace(info, protocol_version=2)))


# --- refusals -------------------------------------------------------------------------------------


def set_field(path: str, value: Any) -> Callable[[Any], None]:
    """A change of one field, named by its path."""

    def change(message: Any) -> None:
        *way, last = path.split(".")
        for name in way:
            message = getattr(message, name)
        if isinstance(value, list):
            del getattr(message, last)[:]
            getattr(message, last).extend(value)
        else:
            setattr(message, last, value)

    return change


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
    ("prompt", "é" * 40_000, LimitExceededError),
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
    ("settings.temperature", -0.5, InvalidFrameError),
    ("settings.temperature", float("nan"), InvalidFrameError),
    ("settings.temperature", float("inf"), InvalidFrameError),
    ("settings.min_p", 0.0, InvalidFrameError),
    ("settings.min_p", 1.5, InvalidFrameError),
    ("settings.weight", -0.1, InvalidFrameError),
    ("settings.weight", 1.1, InvalidFrameError),
    ("settings.weight", float("nan"), InvalidFrameError),
    ("settings.weight", 0.9, LimitExceededError),
    ("settings.late_rule", 0, InvalidFrameError),
    ("settings.codec", 9, InvalidFrameError),
    ("settings.self_conditioning", 0, InvalidFrameError),
    ("settings.projection", 0, InvalidFrameError),
    ("settings.projection", 3, InvalidFrameError),
    ("settings.halt_patience", 2**16, InvalidFrameError),
    ("settings.halt_margin", 0.5, InvalidFrameError),
    ("settings.ramp", -0.1, InvalidFrameError),
    ("settings.ramp", 16.5, InvalidFrameError),
    ("settings.ramp", float("nan"), InvalidFrameError),
    ("settings.top_p", 0.0, InvalidFrameError),
    ("settings.top_p", 1.5, InvalidFrameError),
    ("settings.top_p", float("nan"), InvalidFrameError),
    ("settings.no_repeat", 1, InvalidFrameError),
    ("settings.no_repeat", 17, InvalidFrameError),
    ("settings.lag", 17, InvalidFrameError),
    ("settings.every.period", 0, InvalidFrameError),
    ("settings.every.period", 2**16, InvalidFrameError),
    ("settings.every.first", 2**16, InvalidFrameError),
    ("settings.every.last", 2**16, InvalidFrameError),
    ("settings.budget_ms", 0, InvalidFrameError),
    ("settings.budget_ms", 600_001, LimitExceededError),
    ("simplex.k", 0.0, InvalidFrameError),
    ("simplex.k", float("inf"), InvalidFrameError),
    ("simplex.schedule", "", InvalidFrameError),
    ("simplex.noise_form", 0, InvalidFrameError),
    ("simplex.noise_form", 1, InvalidFrameError),
    ("simplex.extremes_draws", 0, InvalidFrameError),
    ("simplex.extremes_rows", 2**16, InvalidFrameError),
    ("vocabulary_fingerprint", b"short", InvalidFrameError),
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
    message.open.settings.halt_patience = 2
    assert client_frame_from_proto(message, limits=LIMITS, opened=None)
    message.open.settings.halt_margin = margin
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
    ],
)
def test_wrong_terms(path: str, value: Any) -> None:
    message = server_frame_to_proto(OPENED)
    set_field(path, value)(message.opened)
    with pytest.raises(InvalidFrameError):
        server_frame_from_proto(message, opened=None)


def topk_message() -> pb.CollaborateRequest:
    """Two rows of three entries, in the first part of two."""
    chunk = ContributionChunk(
        block=0,
        step=1,
        codec=Codec.TOPK,
        index=0,
        count=2,
        first_position=0,
        counts=np.array([3, 3], np.int32),
        ids=np.array([1, 2, 3, 1, 2, 299], np.int32),
        values=np.array([0, -1, -2, -3, 0, -1], np.float16),
        floors=np.array([-2, -30000], np.float16),
        log_mass=np.array([0, 5.7], np.float32),
    )
    return client_frame_to_proto(chunk, vocabulary_size=VOCABULARY)


def halves(*values: float) -> bytes:
    return np.array(values, "<f2").tobytes()


def shorts(*values: int) -> bytes:
    return np.array(values, "<u2").tobytes()


def nines(*values: int) -> bytes:
    """Ids of a vocabulary of 300: nine bits each."""
    return wire_checks.pack_bits(np.array(values), 9)


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("block", 3, "block and step"),
        ("step", STEPS, "block and step"),
        ("step", 2**32 - 1, "block and step"),
        ("codec", 0, "codec"),
        ("codec", pb.CODEC_DENSE, "the agreed topk"),
        ("chunk_count", 0, "chunk_count"),
        ("chunk_count", POSITIONS + 1, "chunk_count"),
        ("chunk_index", 2, "chunk_index"),
        ("first_position", POSITIONS, "first_position"),
        ("rows", 0, "rows"),
        ("rows", 3, "counts: expected 6 bytes, got 4"),
        ("rows", 2**32 - 1, "rows"),
        ("counts", shorts(3, 0), "counts"),
        ("counts", shorts(3, 65), "counts"),
        ("counts", shorts(3, 65535), "counts"),
        ("counts", shorts(3, 2), "ids: expected 6 bytes, got 7"),
        ("ids", nines(1, 2, 3, 1, 2, 300), "below 300"),
        ("ids", nines(1, 2, 3, 1, 2, 511), "below 300"),
        ("ids", nines(1, 2, 3, 1, 2, 1), "id 1 twice in row 1"),
        ("values", halves(0, -1, -2, -3, 0), "12 bytes"),
        ("values", halves(0, -1, -2, -3, 0, float("nan")), "finite"),
        ("values", halves(0, -1, -2, -3, 0, float("-inf")), "finite"),
        ("values", halves(0, -1, -2, -3, 0, -30016), "values in"),
        ("values", halves(0, -1, -2, 1, 0, -1), "values in"),
        ("values", halves(0, -1, -2, -3, -1, -1), "0 as the largest"),
        ("floors", halves(-1.5, -5), "the row's smallest"),
        ("floors", halves(-2, float("nan")), "finite"),
        ("floors", halves(-2), "4 bytes"),
        ("log_mass", np.array([0, 6], "<f4").tobytes(), "log_mass"),
        ("log_mass", np.array([0, np.nan], "<f4").tobytes(), "log_mass"),
        ("log_mass", b"", "log_mass"),
    ],
)
def test_wrong_contributions(name: str, value: Any, match: str) -> None:
    message = topk_message()
    assert client_frame_from_proto(message, limits=LIMITS, opened=OPENED)
    setattr(message.contribution, name, value)
    with pytest.raises(InvalidFrameError, match=match):
        client_frame_from_proto(message, limits=LIMITS, opened=OPENED)


def test_steps_out_of_range_have_their_own_error() -> None:
    with pytest.raises(StepOutOfRangeError):
        up(Finish(0, STEPS))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("counts", shorts(VOCABULARY)),
        ("ids", b"\0"),
        ("floors", halves(-1)),
        ("values", b""),
        ("values", halves(*[-1] * VOCABULARY)),
    ],
)
def test_wrong_dense_contributions(name: str, value: bytes) -> None:
    message = pb.Contribution(codec=pb.CODEC_DENSE, chunk_count=5, rows=1)
    message.values = halves(*[0] * VOCABULARY)
    message.log_mass = np.array([1], "<f4").tobytes()
    whole = pb.CollaborateRequest(contribution=message)
    opened = agreed(codec=Codec.DENSE)
    assert client_frame_from_proto(whole, limits=LIMITS, opened=opened)
    setattr(whole.contribution, name, value)
    with pytest.raises(InvalidFrameError):
        client_frame_from_proto(whole, limits=LIMITS, opened=opened)


def test_a_row_larger_than_a_message_is_refused() -> None:
    contribution = contribution_of(Codec.DENSE)
    with pytest.raises(LimitExceededError, match="topk"):
        list_parts(contribution, 800)


@pytest.mark.parametrize(
    ("block", "step", "name", "value", "match"),
    [
        (0, 0, "simplex.h", 1, "state.h"),
        (0, 1, "simplex.h", 0, "state.h"),
        (0, 1, "simplex.h", 17, "state.h"),
        (0, 1, "simplex.h", 2, "state.h"),
        (0, 1, "simplex.ids", nines(1, 2, 3, 4, 300), "below"),
        (0, 1, "simplex.ids", nines(1, 2, 3, 4, 511), "below"),
        (0, 1, "decided", b"", "decided"),
        (0, 1, "decided", bytes([0, 0, 0]), "decided"),
        (0, 1, "decided", bytes([0, 4]), "bits after"),
        (0, 1, "finished_ids", nines(1, 2, 3, 4, 5), "finished_ids"),
        (0, 0, "decided", bytes(2), "decided"),
        (1, 0, "finished_ids", b"", "finished_ids"),
    ],
)
def test_wrong_steps(block: int, step: int, name: str, value: Any, match: str) -> None:
    message = pb.CollaborateResponse(step=pb.Step(block=block, step=step)).step
    message.simplex.h = int(step > 0)
    message.simplex.ids = nines(1, 2, 3, 4, 5) if step else b""
    message.decided = bytes([228, 3]) if block or step else b""
    message.finished_ids = nines(1, 2, 3, 4, 5) if block and not step else b""
    assert server_frame_from_proto(pb.CollaborateResponse(step=message), opened=OPENED)
    set_field(name, value)(message)
    with pytest.raises(InvalidFrameError, match=match):
        server_frame_from_proto(pb.CollaborateResponse(step=message), opened=OPENED)


@pytest.mark.parametrize("row", [[-1, 4], [4, 4]])
def test_wrong_multi_hot_rows(row: list[int]) -> None:
    estimate = np.array([[1, 2]] * (POSITIONS - 1) + [row])
    with pytest.raises(InvalidFrameError, match=r"state\.ids"):
        down(Step(0, 1, estimate, decided=np.ones(POSITIONS, np.uint8)), MULTI_HOT)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(ASK, positions=np.array([3, 0])),
        replace(ASK, positions=np.array([3, 3])),
        replace(ASK, positions=np.array([0, POSITIONS])),
        replace(ASK, counts=np.array([2, 0])),
        replace(ASK, counts=np.array([5, 1])),
        replace(ASK, counts=np.array([1, 1])),
        replace(ASK, ids=np.array([4, 4, 4])),
        Ask(0, 0, np.arange(4), np.full(4, 4), np.tile(np.arange(4), 4)),
        Ask(0, 0, np.arange(0), np.arange(0), np.arange(0)),
    ],
)
def test_wrong_asks(wrong: Ask) -> None:
    with pytest.raises(InvalidFrameError, match="ask"):
        down(wrong)


def test_asks_are_refused_where_there_are_none() -> None:
    for none in (Limits(max_ask_ids=0), Limits(max_ask_ids_per_position=0)):
        with pytest.raises(InvalidFrameError, match="ask"):
            down(ASK, replace(OPENED, limits=none))


@pytest.mark.parametrize(
    "values", [[], [0.5], [float("nan")], [float("-inf")], [-40000.0], [-1.0] * 13]
)
def test_wrong_answers(values: list[float]) -> None:
    with pytest.raises(InvalidFrameError, match="answer"):
        up(Answer(0, 0, np.array(values, np.float16)))


@pytest.mark.parametrize(
    "wrong",
    [
        replace(COMPLETED, ids=np.arange(16)),
        replace(COMPLETED, decided=np.ones(3, np.uint8)),
        replace(COMPLETED, participations=(Participation("x y", np.ones(1)),)),
        replace(COMPLETED, participations=(Participation("x", np.zeros(1)),)),
        replace(COMPLETED, participations=(Participation("x", np.ones(19)),)),
        replace(COMPLETED, participations=(Participation("x", np.ones(1)),) * 2),
    ],
)
def test_wrong_completions(wrong: Completed) -> None:
    with pytest.raises(InvalidFrameError):
        down(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        Failed(0, 0, "lower", ""),
        Failed(0, 0, "", ""),
        Failed(2**16, 0, "X", ""),
        Failed(0, 0, "X", "x" * 2001),
        Failed(0, 0, "X", "", "x" * 2001),
    ],
)
def test_wrong_failures(wrong: Failed) -> None:
    with pytest.raises(InvalidFrameError):
        down(wrong)


def test_frames_out_of_turn_and_unknown_frames() -> None:
    nothing = np.empty((POSITIONS, 0), np.int64)
    with pytest.raises(InvalidFrameError, match="open first"):
        client_frame_from_proto(client_frame_to_proto(Cancel(0, 0)), limits=LIMITS, opened=None)
    with pytest.raises(InvalidFrameError, match="open first"):
        client_frame_from_proto(client_frame_to_proto(OPEN), limits=LIMITS, opened=OPENED)
    step = server_frame_to_proto(Step(0, 0, nothing), vocabulary_size=VOCABULARY)
    with pytest.raises(InvalidFrameError, match="opened first"):
        server_frame_from_proto(step, opened=None)
    with pytest.raises(InvalidFrameError, match="opened first"):
        server_frame_from_proto(server_frame_to_proto(OPENED), opened=OPENED)
    with pytest.raises(InvalidFrameError, match="unknown here"):
        client_frame_from_proto(pb.CollaborateRequest(), limits=LIMITS, opened=OPENED)
    # Field 15 is no frame of this version: protobuf keeps it as unknown and no member is set.
    future = pb.CollaborateResponse.FromString(b"\x7a\x00")
    with pytest.raises(InvalidFrameError, match="unknown here"):
        server_frame_from_proto(future, opened=OPENED)
    with pytest.raises(InvalidFrameError, match="simplex state"):
        server_frame_from_proto(pb.CollaborateResponse(step=pb.Step()), opened=OPENED)


def test_writing_needs_the_vocabulary() -> None:
    with pytest.raises(TypeError):
        server_frame_to_proto(ASK)
    part = list_parts(contribution_of(Codec.TOPK), 10**6)[0]
    with pytest.raises(TypeError):
        client_frame_to_proto(part)
    with pytest.raises(InvalidFrameError):
        server_frame_to_proto(ASK, vocabulary_size=100)


# --- parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", Codec)
def test_parts_must_follow_each_other(codec: Codec) -> None:
    row = 2 * VOCABULARY if codec is Codec.DENSE else 4 * 64
    contribution = contribution_of(codec)
    parts = list_parts(contribution, 256 + 2 * (row + 8))
    assert len(parts) >= 2
    for first, second in (
        (parts[0], parts[0]),
        (parts[0], replace(parts[1], step=parts[1].step + 1)),
        (parts[0], replace(parts[1], count=POSITIONS)),
        (parts[0], replace(parts[1], first_position=parts[1].first_position - 1)),
        (parts[0], replace(parts[1], first_position=parts[1].first_position + 1)),
    ):
        assembler = ContributionAssembler(POSITIONS)
        assert assembler.add(first) is None
        with pytest.raises(InvalidFrameError):
            assembler.add(second)
    with pytest.raises(InvalidFrameError, match="chunk_index"):
        ContributionAssembler(POSITIONS).add(parts[1])
    with pytest.raises(InvalidFrameError, match="rows"):
        ContributionAssembler(POSITIONS).add(replace(parts[0], count=1))
    with pytest.raises(InvalidFrameError, match="rows"):
        ContributionAssembler(POSITIONS).add(replace(parts[0], count=POSITIONS))


def test_an_assembler_takes_one_contribution_after_another() -> None:
    assembler = ContributionAssembler(POSITIONS)
    for codec in (Codec.DENSE, Codec.TOPK, Codec.DENSE):
        contribution = contribution_of(codec)
        joined = [assembler.add(part) for part in list_parts(contribution, 1700)]
        assert same(joined[-1], contribution)


# --- hostile bytes --------------------------------------------------------------------------------


def client_messages() -> list[tuple[bytes, Opened | None]]:
    part = list_parts(contribution_of(Codec.DENSE), 10**6)[0]
    dense = client_frame_to_proto(part, vocabulary_size=VOCABULARY)
    checkpoint = Checkpoint(OPENED, 0, np.arange(0), (np.empty((POSITIONS, 0), np.int64),))
    resumed = client_frame_to_proto(replace(OPEN, checkpoint=checkpoint))
    return [
        (resumed.SerializeToString(), None),
        (topk_message().SerializeToString(), OPENED),
        (dense.SerializeToString(), agreed(codec=Codec.DENSE)),
    ]


CLIENT_MESSAGES = client_messages()
SERVER_MESSAGES: list[tuple[bytes, Opened | None]] = [
    (server_frame_to_proto(OPENED).SerializeToString(), None),
    (
        server_frame_to_proto(fused_step(), vocabulary_size=VOCABULARY).SerializeToString(),
        agreed(self_conditioning=SelfConditioning.FUSED),
    ),
    (server_frame_to_proto(ASK, vocabulary_size=VOCABULARY).SerializeToString(), OPENED),
    (server_frame_to_proto(COMPLETED, vocabulary_size=VOCABULARY).SerializeToString(), OPENED),
]


def damaged(data: st.DataObject, whole: bytes) -> bytes:
    """The bytes with some flipped, cut or repeated."""
    result = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        result[data.draw(st.integers(0, len(result) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(result)))
    return bytes(result[:end] if data.draw(st.booleans()) else result + result[end:])


@settings(deadline=None, max_examples=300)
@given(st.data(), st.sampled_from(CLIENT_MESSAGES))
def test_damaged_client_frames_are_read_or_refused(data: st.DataObject, case: Any) -> None:
    try:
        message = pb.CollaborateRequest.FromString(damaged(data, case[0]))
        client_frame_from_proto(message, limits=LIMITS, opened=case[1])
    except (DecodeError, CollaborationError):
        pass


@settings(deadline=None, max_examples=300)
@given(st.data(), st.sampled_from(SERVER_MESSAGES))
def test_damaged_server_frames_are_read_or_refused(data: st.DataObject, case: Any) -> None:
    try:
        message = pb.CollaborateResponse.FromString(damaged(data, case[0]))
        server_frame_from_proto(message, opened=case[1])
    except (DecodeError, CollaborationError):
        pass


def test_huge_counts_are_refused_before_allocation() -> None:
    large = agreed(block_length=4096, max_tokens=4096, projection=Projection.MULTI_HOT)
    opened = replace(large, vocabulary_size=2**20, limits=Limits(max_entries=65535))
    topk = pb.Contribution(codec=pb.CODEC_TOPK, chunk_count=1, rows=4096)
    topk.counts = shorts(*[65535] * 4096)
    dense = pb.Contribution(codec=pb.CODEC_DENSE, chunk_count=1, rows=4096)
    step = pb.Step(step=1, simplex=pb.SimplexState(h=16))
    messages = [
        (pb.CollaborateRequest(contribution=topk), opened),
        (
            pb.CollaborateRequest(contribution=dense),
            replace(opened, settings=replace(opened.settings, codec=Codec.DENSE)),
        ),
    ]
    tracemalloc.start()
    for message, terms in messages:
        with pytest.raises(InvalidFrameError, match="bytes"):
            client_frame_from_proto(message, limits=LIMITS, opened=terms)
    with pytest.raises(InvalidFrameError, match="bytes"):
        server_frame_from_proto(pb.CollaborateResponse(step=step), opened=opened)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_ids_take_the_smallest_width() -> None:
    for size, width in ((2, 8), (255, 8), (256, 9), (15000, 14), (65535, 16), (2**20, 21)):
        assert wire_checks.id_bits(size) == width


@given(bits=st.integers(1, 24), count=st.integers(0, 40), seed=st.integers(0, 2**32 - 1))
def test_packed_integers_come_back_in_as_many_bytes_as_they_need(bits, count, seed) -> None:
    values = np.random.default_rng(seed).integers(0, 2**bits, count, dtype=np.uint32)
    data = wire_checks.pack_bits(values, bits)
    assert len(data) == -(-count * bits // 8)
    # Written as one long number, the first integer in its lowest bits.
    number = sum(int(value) << (bits * place) for place, value in enumerate(values))
    assert data == number.to_bytes(len(data), "little")
    assert wire_checks.unpack_bits("x", data, bits=bits, count=count).tolist() == values.tolist()


def test_bits_after_the_last_integer_are_refused() -> None:
    with pytest.raises(InvalidFrameError, match="after the last"):
        wire_checks.unpack_bits("x", b"\xff\xff", bits=14, count=1)


# --- completeness ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "table", "descriptor"),
    [
        (Role, wire_session._ROLES, pb.Role),
        (LateRule, wire_terms._LATE_RULES, pb.LateRule),
        (Codec, wire_contribution.CODECS, pb.Codec),
        (NoiseKind, wire_terms._NOISE_FORMS, pb.NoiseForm),
        (SelfConditioning, wire_terms._SELF_CONDITIONINGS, pb.SelfConditioning),
        (Projection, wire_terms._PROJECTIONS, pb.Projection),
        (FinishReason, wire._FINISH_REASONS, pb.FinishReason),
    ],
)
def test_enums_are_complete(kind: Any, table: Any, descriptor: Any) -> None:
    numbers = {value.name: value.number for value in descriptor.DESCRIPTOR.values}
    prefix = next(name for name, number in numbers.items() if number == 0)
    prefix = prefix.removesuffix("UNSPECIFIED")
    assert table == {
        kind[name.removeprefix(prefix)]: number for name, number in numbers.items() if number
    }


def test_limits_name_the_same_fields_everywhere() -> None:
    assert {f.name for f in fields(frames.Limits)} == set(pb.Limits.DESCRIPTOR.fields_by_name)
    assert {f.name for f in fields(SessionSettings)} == set(pb.Settings.DESCRIPTOR.fields_by_name)


def test_importing_it_is_light() -> None:
    code = "import sys, common.wire.conversions; print({'grpc', 'torch'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
