"""The figures of `goliath bench` mean what they say."""

import pytest

from common.collaboration.contribution import entries_at
from goliath_server.bench.figures import (
    WIRE_MODES,
    Answer,
    LatencyMode,
    WireMode,
    latency_row,
    wire_row,
)
from goliath_server.bench.proxy import Chunk


def reply(tokens=(1, 2, 3), *, first=10.0, last=13.0, seconds=2.0, **more):
    return {
        "tokens": list(tokens),
        "steps": 4,
        "steps_run": 4,
        "block_length": 16,
        "vocabulary_size": 100,
        "seconds": seconds,
        "moments": {"first_state": first, "last_state": last},
        "entries": {"rows": {"64": 60, "10": 4}},
        **more,
    }


CHUNKS = [Chunk(9.0, up=100), Chunk(9.5, down=50), Chunk(11.0, up=400), Chunk(12.0, down=80)]


def test_the_figures_of_a_row_of_bytes():
    mode = WireMode("topk", "sample", 0.7, {"codec": "topk"})
    answers = [Answer(reply(), CHUNKS), Answer(reply((1, 2)), CHUNKS)]
    row = wire_row(mode, answers, [reply(seconds=1.0), reply((1, 9, 3), seconds=1.0)])
    # 2 answers of 4 steps of 16 x 100 numbers
    assert row["down_ratio"] == 2 * 4 * 16 * 100 * 2 / 260
    assert row["up_ratio_fp32"] == 2 * 4 * 16 * 100 * 4 / 1000
    assert (row["down_bytes"], row["up_bytes"]) == (130, 500)
    assert (row["opening_down_bytes"], row["opening_up_bytes"]) == (50, 100)
    assert (row["down_bytes_per_step"], row["up_bytes_per_step"]) == (20, 100)
    assert (row["entries_p50"], row["entries_p99"]) == (64, 64)
    assert (row["tokens_identical"], row["tokens_total"]) == (4, 6)
    assert row["wall_ratio"] == 2.0
    assert row["certified_share"] is row["asks_per_step"] is row["uncertified"] is None


def test_what_replies_tell_of_certainty_is_summed():
    certain = {"certified_at_once": 60, "asks": 2, "uncertified": 1}
    row = wire_row(WIRE_MODES[0], [Answer(reply(**certain), CHUNKS)] * 2, None)
    assert row["certified_share"] == 60 / 64
    assert row["asks_per_step"] == 0.5
    assert row["uncertified"] == 2
    assert row["tokens_identical"] is row["wall_ratio"] is None
    assert row["tokens_total"] == 6


def test_without_david_there_are_no_entries():
    row = wire_row(WIRE_MODES[0], [Answer(reply(entries=None), CHUNKS)], None)
    assert row["entries_p50"] is row["entries_p99"] is None


def test_the_rows_of_the_wire_are_all_different():
    asked = [(m.codec, m.projection, m.temperature) for m in WIRE_MODES]
    assert len(set(asked)) == len(asked) == 16
    assert all(m.reference["codec"] == "dense" for m in WIRE_MODES)


@pytest.mark.parametrize(
    ("share", "entries"), [(0.01, 1), (0.1, 1), (0.11, 2), (0.9, 2), (0.91, 50), (1.0, 50)]
)
def test_entries_that_a_share_of_rows_does_not_pass(share, entries):
    assert entries_at({50: 10, 1: 10, 2: 80}, share) == entries


def test_the_figures_of_a_row_of_time():
    mode = LatencyMode("x", {})
    near, far = [reply()] * 3, [reply(last=14.5), reply(last=14.5), reply(last=99.0)]
    row = latency_row(mode, 250.0, far, near=near, references=[reply(last=16.0)])
    assert row["step_ms"] == 1500
    assert row["added_rtts_per_step"] == 2.0
    assert row["wall_ratio"] == 0.75
    still = latency_row(mode, 0.0, near, near=near, references=None)
    assert still["added_rtts_per_step"] is still["wall_ratio"] is None
