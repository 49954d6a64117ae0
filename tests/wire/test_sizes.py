"""What a frame takes on the wire, against what it took before there was a second process."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from common.collaboration.contribution import Contribution
from common.collaboration.settings import Codec
from common.processes.simplex.settings import SelfConditioning
from common.processes.simplex.state import FusedSignal
from common.text.summary import summarise
from common.wire.conversions import (
    client_frame_to_proto,
    server_frame_to_proto,
    split_contribution,
)
from common.wire.frames import Opened
from common.wire.settings import vocabulary_to_proto
from tests.wire.frame_cases import agreed, simplex_step

POSITIONS, VOCABULARY = 64, 15000
BUNDLED = Path(__file__).parents[2] / "common/bundled/goliath-mini/tokenizer.json"


def terms(**changes: object) -> Opened:
    opened = agreed(block_length=POSITIONS, max_tokens=2 * POSITIONS, **changes)
    return replace(opened, vocabulary_size=VOCABULARY)


def test_a_contribution_is_the_same_bytes_as_ever() -> None:
    generator = np.random.default_rng(7)
    counts = np.full(POSITIONS, 8, np.int32)
    counts[::5] = 240
    ids = [generator.permutation(VOCABULARY)[:count] for count in counts]
    rows = [np.sort(-generator.gamma(2.0, 3.0, count))[::-1] for count in counts]
    values = np.concatenate([row - row[0] for row in rows]).astype(np.float16)
    contribution = Contribution(
        block=0,
        step=3,
        codec=Codec.TOPK,
        counts=counts,
        ids=np.concatenate(ids).astype(np.int32),
        values=values,
        floors=values[np.cumsum(counts) - 1],
        log_mass=generator.uniform(0, 9, POSITIONS).astype(np.float32),
    )
    (part,) = split_contribution(contribution, vocabulary_size=VOCABULARY, max_message_bytes=2**24)
    message = client_frame_to_proto(part, vocabulary_size=VOCABULARY)
    data = message.SerializeToString(deterministic=True)
    assert len(data) == 13768
    assert hashlib.sha256(data).hexdigest().startswith("ef51173f53b787a0")


def test_steps_are_as_small_as_ever() -> None:
    opened = terms()
    ids, decided = np.arange(POSITIONS), np.full(POSITIONS, 2, np.uint8)
    nothing = np.empty((POSITIONS, 0), np.int64)
    frames = (
        simplex_step(0, 0, nothing, opened=opened),
        simplex_step(0, 5, ids[:, None], opened=opened, decided=decided),
        simplex_step(1, 0, nothing, opened=opened, finished_ids=ids, decided=decided),
    )
    sizes = [server_frame_to_proto(frame, opened=opened).ByteSize() for frame in frames]
    assert sizes == [4, 141, 139]


def test_the_signal_takes_one_byte_more_inside_the_state() -> None:
    opened = terms(self_conditioning=SelfConditioning.FUSED)
    signal = FusedSignal(
        np.tile(np.arange(32), (POSITIONS, 1)), np.zeros((POSITIONS, 32), np.float16)
    )
    frame = simplex_step(
        0,
        5,
        np.zeros((POSITIONS, 1), np.int64),
        opened=opened,
        signal=signal,
        decided=np.ones(POSITIONS, np.uint8),
    )
    assert server_frame_to_proto(frame, opened=opened).ByteSize() == 7832 + 1


def test_a_vocabulary_fits_into_a_few_bytes() -> None:
    summary = summarise(Tokenizer.from_file(str(BUNDLED)).to_str(), (5,))
    assert vocabulary_to_proto(summary).ByteSize() == 138
