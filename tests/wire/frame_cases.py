"""Frames, strategies and journeys that the tests of the wire share."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from common.collaboration.contribution import Ask, Contribution
from common.collaboration.opening import process_for
from common.collaboration.settings import (
    Codec,
    ContributorSettings,
    LateRule,
    Limits,
    Mode,
    SessionSettings,
)
from common.collaboration.timing import Every
from common.denoising.plan import FinishReason
from common.pb import collaboration_pb2 as pb
from common.processes.masked.settings import MaskedProcess, MaskedSettings, Order
from common.processes.masked.state import MaskedState
from common.processes.simplex.settings import (
    NoiseKind,
    Projection,
    SelfConditioning,
    SimplexProcess,
    SimplexSettings,
)
from common.processes.simplex.state import FusedSignal
from common.text.summary import VocabularySummary
from common.text.templates import Message, Speaker
from common.wire import checks as wire_checks
from common.wire.conversions import (
    client_frame_from_proto,
    client_frame_to_proto,
    server_frame_from_proto,
    server_frame_to_proto,
    split_contribution,
)
from common.wire.frames import (
    Agreed,
    Completed,
    ContributionChunk,
    Open,
    Opened,
    Participation,
    Role,
    Step,
)

POSITIONS, VOCABULARY, STEPS = 5, 300, 6

SIMPLEX = SimplexSettings(
    temperature=0.5,
    min_p=0.1,
    top_p=1.0,
    no_repeat=0,
    self_conditioning=SelfConditioning.OWN,
)
SETTINGS = SessionSettings(
    block_length=POSITIONS,
    steps=STEPS,
    max_tokens=3 * POSITIONS,
    seed=2**64 - 1,
    late_rule=LateRule.SOLO,
    process=SIMPLEX,
)
DAVID = ContributorSettings(weight=0.25, codec=Codec.TOPK, budget_ms=2000)
PROCESS = SimplexProcess(5.0, "cosine", NoiseKind.EXTREMES, 128, 32)
LIMITS = Limits(max_ask_ids_per_position=4, max_ask_ids=12, max_entries=64)
MESSAGES = (
    Message(Speaker.SYSTEM, "Be brief."),
    Message(Speaker.USER, "How long do I boil an egg?\n"),
)
SUMMARY = VocabularySummary(
    size=1500,
    runs=bytes(range(16)),
    form=bytes(range(8)),
    added=((1500, "<|mask|>"), (1501, " ")),
    end_ids=(3, 1500),
)
OPENED = Opened(
    session_id="session",
    settings=SETTINGS,
    contributors=(Agreed("a", ContributorSettings(), "Ada"), Agreed("david-1", DAVID, "Davíd")),
    process=PROCESS,
    messages=MESSAGES,
    prompt_ids=np.arange(7),
    suffix_ids=np.arange(0),
    times=(1.0, 0.8, 0.6, 0.4, 0.2, 0.1),
    end_ids=(5, 299),
    limits=LIMITS,
    model_name="goliath-mini",
    vocabulary_size=VOCABULARY,
    features=("ask",),
)
OPEN = Open(
    role=Role.OWNER,
    contributor_id="david-1",
    messages=MESSAGES,
    settings=SETTINGS,
    contributor=DAVID,
    process=PROCESS,
    vocabulary=SUMMARY,
    suffix="and serve.",
    display_name="Davíd",
    required_features=("ask",),
    optional_features=("suffix",),
)


def agreed(**changes: Any) -> Opened:
    """OPENED with other settings, the session's or the process's."""
    own = {name: changes.pop(name) for name in SIMPLEX.__slots__ if name in changes}
    settings = replace(SETTINGS, process=replace(SIMPLEX, **own), **changes)
    return replace(OPENED, settings=settings)


def agreed_process(opened: Opened) -> Any:
    """The process that both sides build."""
    if isinstance(opened.process, MaskedProcess):
        return SimpleNamespace(name="masked")
    return process_for(opened.process, opened.settings, opened.times, opened.end_ids)


def simplex_step(
    block: int,
    step: int,
    estimate: np.ndarray,
    *,
    opened: Opened = OPENED,
    signal: FusedSignal | None = None,
    **others: Any,
) -> Step:
    """A step with the state that the agreed process makes of an estimate."""
    state = agreed_process(opened).state(block, step, estimate, signal)
    return Step(block, step, state, **others)


MASKED = replace(
    OPENED,
    settings=replace(SETTINGS, process=MaskedSettings()),
    process=MaskedProcess(grid=True),
    times=(),
    features=("draft",),
)


def masked_step() -> Step:
    """Two positions of five are settled, and one of the others has no guess yet."""
    state = MaskedState(
        block=0,
        step=2,
        ids=np.array([7, -1, -1, 299, -1]),
        guess=np.array([-1, 0, -1, -1, 298]),
        probability=np.array([0, 255, 0, 0, 3], np.uint8),
    )
    return Step(0, 2, state, decided=np.array([4, 1, 2, 3, 4], np.uint8))


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


def up(
    frame: Any,
    opened: Opened | None = OPENED,
    limits: Limits = LIMITS,
    contributor: ContributorSettings | None = DAVID,
) -> Any:
    """A client's frame after the journey."""
    size = None if opened is None else opened.vocabulary_size
    data = client_frame_to_proto(frame, vocabulary_size=size).SerializeToString()
    message = pb.CollaborateRequest.FromString(data)
    return read_up(message, opened, limits=limits, contributor=contributor)


def read_up(message: pb.CollaborateRequest, opened: Opened | None = OPENED, **others: Any) -> Any:
    """A client's message as the server reads it."""
    terms: dict[str, Any] = {"limits": LIMITS, "contributor": DAVID} | others
    return client_frame_from_proto(message, opened=opened, **terms)


def down(frame: Any, opened: Opened | None = OPENED) -> Any:
    """A server's frame after the journey."""
    data = server_frame_to_proto(frame, opened=opened).SerializeToString()
    return read_down(pb.CollaborateResponse.FromString(data), opened)


def read_down(message: pb.CollaborateResponse, opened: Opened | None = OPENED) -> Any:
    """A server's message as the client reads it."""
    process = None if opened is None else agreed_process(opened)
    return server_frame_from_proto(message, opened=opened, process=process)


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
        seed=draw(st.integers(0, 2**64 - 1)),
        late_rule=draw(st.sampled_from(LateRule)),
        certify=certify,
        lag=draw(st.integers(0, 16)) if every is None and not certify else 0,
        every=every,
        process=SimplexSettings(
            temperature=draw(st.floats(0, 100)),
            min_p=draw(st.floats(0, 1, exclude_min=True)),
            top_p=draw(st.floats(0, 1, exclude_min=True)),
            no_repeat=draw(st.sampled_from([0, *range(2, 17)])),
            projection=draw(st.sampled_from(Projection)),
            self_conditioning=draw(st.sampled_from(SelfConditioning)),
            ramp=draw(st.floats(0, 16)),
            halt_patience=patience,
            halt_margin=draw(st.floats(0, 1000 if patience else 0)),
        ),
    )


contributors = st.builds(
    ContributorSettings,
    weight=st.floats(0, 1),
    mode=st.sampled_from(Mode),
    codec=st.sampled_from(Codec),
    budget_ms=st.integers(1, 600_000),
)
masked_settings = st.builds(
    MaskedSettings,
    order=st.sampled_from(Order),
    temperature=st.floats(0, 100),
    threshold=st.floats(0, 1),
)
conversations = st.lists(
    st.builds(Message, st.sampled_from(Speaker), st.text(max_size=50)), max_size=4
).map(tuple)


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
    david = st.builds(Agreed, _name, contributors, _name)
    davids = draw(st.lists(david, max_size=3, unique_by=lambda one: one.contributor_id))
    return Opened(
        session_id=draw(_name),
        settings=replace(draw(some_settings()), steps=steps, block_length=64),
        contributors=tuple(sorted(davids, key=lambda one: one.contributor_id)),
        process=draw(processes()),
        messages=draw(conversations),
        prompt_ids=draw(ids),
        suffix_ids=draw(ids),
        times=(1.0, *sorted(falls, reverse=True)),
        end_ids=tuple(draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=64))),
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


def list_parts(contribution: Contribution, room: int) -> list[ContributionChunk]:
    return list(
        split_contribution(contribution, vocabulary_size=VOCABULARY, max_message_bytes=room)
    )


def fused_step() -> Step:
    ids = np.tile(np.arange(4), (POSITIONS, 1))
    chances = np.tile(np.array([0.5, 0.25, 0.125, 0.1], np.float16), (POSITIONS, 1))
    decided = np.ones(POSITIONS, np.uint8)
    estimate = np.zeros((POSITIONS, 1), np.int64)
    return simplex_step(0, 1, estimate, decided=decided, signal=FusedSignal(ids, chances))


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


def set_field(path: str, value: Any) -> Callable[[Any], None]:
    """A change of one field, named by its path."""

    def change(message: Any) -> None:
        *way, last = path.split(".")
        for name in way:
            message = message[int(name)] if name.isdigit() else getattr(message, name)
        if isinstance(value, list):
            del getattr(message, last)[:]
            getattr(message, last).extend(value)
        else:
            setattr(message, last, value)

    return change


def topk_message() -> pb.CollaborateRequest:
    """Two rows of three entries, in the first part of two."""
    chunk = ContributionChunk(
        block=0,
        step=1,
        codec=Codec.TOPK,
        index=0,
        count=2,
        first_row=0,
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
