"""Contributions and their parts that break the contract are refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.collaboration.settings import Codec
from common.errors import (
    InvalidFrameError,
    LimitExceededError,
    StepOutOfRangeError,
)
from common.pb import collaboration_pb2 as pb
from common.wire.conversions import ContributionAssembler
from common.wire.frames import (
    Finish,
)
from tests.wire.frame_cases import (
    DAVID,
    POSITIONS,
    STEPS,
    VOCABULARY,
    contribution_of,
    halves,
    list_parts,
    nines,
    read_up,
    same,
    shorts,
    topk_message,
    up,
)


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
        ("first_row", POSITIONS, "first_row"),
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
        ("strengths", bytes([255]), "strengths: expected 2 bytes"),
        ("strengths", bytes([255, 0]), "counts"),
        ("bounds", halves(1, 1), "bounds"),
    ],
)
def test_wrong_contributions(name: str, value: Any, match: str) -> None:
    message = topk_message()
    assert read_up(message)
    setattr(message.contribution, name, value)
    with pytest.raises(InvalidFrameError, match=match):
        read_up(message)


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
    mine = replace(DAVID, codec=Codec.DENSE)
    assert read_up(whole, contributor=mine)
    setattr(whole.contribution, name, value)
    with pytest.raises(InvalidFrameError):
        read_up(whole, contributor=mine)


def test_a_row_larger_than_a_message_is_refused() -> None:
    contribution = contribution_of(Codec.DENSE)
    with pytest.raises(LimitExceededError, match="topk"):
        list_parts(contribution, 800)


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
        (parts[0], replace(parts[1], first_row=parts[1].first_row - 1)),
        (parts[0], replace(parts[1], first_row=parts[1].first_row + 1)),
        (parts[0], replace(parts[1], strengths=np.ones(len(parts[1].counts), np.uint8))),
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
