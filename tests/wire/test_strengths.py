"""Rows for open positions alone, and what each is worth."""

from dataclasses import replace

import numpy as np
import pytest

from common.collaboration.contribution import Contribution
from common.collaboration.settings import Codec
from common.errors import InvalidFrameError
from common.wire.conversions import ContributionAssembler, client_frame_to_proto
from tests.wire.frame_cases import (
    DAVID,
    POSITIONS,
    VOCABULARY,
    contribution_of,
    list_parts,
    read_up,
    same,
    up,
)


def weighed(codec: Codec, strengths: list[int]) -> Contribution:
    """A contribution of as many rows as there are strengths; rows of strength 0 have no entries."""
    whole = contribution_of(codec)
    rows = len(strengths)
    worth = np.array(strengths) > 0
    counts = np.where(worth, whole.counts[:rows], 0).astype(np.int32)
    entries = np.repeat(worth, whole.counts[:rows])
    return replace(
        whole,
        counts=counts,
        ids=whole.ids[: len(entries)][entries] if codec is Codec.TOPK else whole.ids,
        values=whole.values[: len(entries)][entries],
        floors=whole.floors[:rows],
        log_mass=whole.log_mass[:rows],
        strengths=np.array(strengths, np.uint8),
    )


@pytest.mark.parametrize("room", [900, 10**6])
@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize(
    "strengths", [[255, 0, 1, 254, 0], [0, 0, 128, 3, 255], [0, 0, 0, 0, 0], [0, 7, 0], [9]]
)
def test_strengths_survive_the_journey(codec: Codec, strengths: list[int], room: int) -> None:
    contribution = weighed(codec, strengths)
    assembler, mine = ContributionAssembler(len(strengths)), replace(DAVID, codec=codec)
    joined = None
    for part in list_parts(contribution, room):
        assert joined is None
        message = client_frame_to_proto(part, vocabulary_size=VOCABULARY)
        assert message.ByteSize() <= room
        joined = assembler.add(up(part, contributor=mine))
    assert same(joined, contribution)


def test_full_strength_takes_no_bytes() -> None:
    whole = contribution_of(Codec.TOPK)
    (part,) = list_parts(whole, 10**6)
    (stated,) = list_parts(weighed(Codec.TOPK, [254] * POSITIONS), 10**6)
    plain, longer = (
        client_frame_to_proto(one, vocabulary_size=VOCABULARY).ByteSize() for one in (part, stated)
    )
    assert longer - plain == 2 + POSITIONS


@pytest.mark.parametrize("rows", [POSITIONS - 1, POSITIONS + 1])
def test_there_is_one_row_for_each_open_position(rows: int) -> None:
    (part,) = list_parts(contribution_of(Codec.TOPK), 10**6)
    with pytest.raises(InvalidFrameError, match=f"expected {rows} rows in all parts, got 5"):
        ContributionAssembler(rows).add(part)


@pytest.mark.parametrize("codec", Codec)
def test_a_row_without_strength_has_no_entries(codec: Codec) -> None:
    mine = replace(DAVID, codec=codec)
    (part,) = list_parts(weighed(codec, [255, 0, 1]), 10**6)
    message = client_frame_to_proto(part, vocabulary_size=VOCABULARY)
    assert read_up(message, contributor=mine)
    for wrong in (bytes([255, 1, 1]), bytes([255, 0, 0]), bytes([0, 255, 1, 1])):
        message.contribution.strengths = wrong
        with pytest.raises(InvalidFrameError, match=r"counts|values|strengths"):
            read_up(message, contributor=mine)
