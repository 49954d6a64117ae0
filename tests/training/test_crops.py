"""What a model is fed in training: records to crops to batches."""

from dataclasses import replace

import numpy as np
import pytest

from common.errors import BadDataError
from common.training.examples import (
    LONGEST_PREFIX,
    LONGEST_SUFFIX,
    PADDING_SCORED,
    Record,
    collate,
    crops_of,
    epoch_batches,
    read_records,
    without_context,
)
from tests.tiny import save_rows, tiny_vocabulary

BLOCK = 16


@pytest.fixture(scope="module")
def vocabulary():
    return tiny_vocabulary()


@pytest.fixture
def data(tmp_path):
    return save_rows(tmp_path / "rows.jsonl")


def answer(vocabulary, length):
    ids = tuple(range(20, 20 + length))
    return Record("test", (30, 31), (), ids, plain=False)


def crops(record, vocabulary, seed=0):
    return list(crops_of(record, vocabulary, block_length=BLOCK, rng=np.random.default_rng(seed)))


def plain_crops(record, vocabulary):
    """Crops without infilling, which is drawn for one record (or crop) in ten."""
    for seed in range(50):
        found = crops(record, vocabulary, seed)
        if not any(crop.suffix for crop in found):
            return found
    raise AssertionError("infilling each time")


def test_an_answer_is_learned_block_by_block_with_its_end(vocabulary):
    record = answer(vocabulary, BLOCK + 5)
    first, second = plain_crops(record, vocabulary)
    assert first.prefix == (vocabulary.cls, 30, 31, vocabulary.sep)
    assert first.target == record.response[:BLOCK]
    assert first.scored == BLOCK
    assert second.prefix == (*first.prefix, *record.response[:BLOCK])
    assert second.target == (*record.response[BLOCK:], *[vocabulary.end] * (BLOCK - 5))
    assert second.scored == 5 + 1 + PADDING_SCORED


def test_an_answer_that_fills_its_block_ends_in_the_next(vocabulary):
    last = plain_crops(answer(vocabulary, BLOCK), vocabulary)[-1]
    assert last.target == (vocabulary.end,) * BLOCK
    assert last.scored == 1 + PADDING_SCORED


def test_padding_in_the_loss_is_capped(vocabulary):
    crop = plain_crops(answer(vocabulary, 1), vocabulary)[0]
    assert crop.scored == min(BLOCK, 2 + PADDING_SCORED)


def test_running_text_never_ends(vocabulary):
    record = Record("prose", (), (), tuple(range(20, 100)), plain=True)
    found = plain_crops(record, vocabulary)
    assert found
    for crop in found:
        assert vocabulary.end not in crop.target
        assert crop.scored == len(crop.target) == BLOCK


def gaps_of(record, vocabulary, *, seeds=300):
    return [c for seed in range(seeds) for c in crops(record, vocabulary, seed) if c.suffix]


def test_infilling_shows_what_follows(vocabulary):
    gaps = gaps_of(answer(vocabulary, 60), vocabulary)
    assert gaps
    for crop in gaps:
        inside = [i for i in crop.target if i != vocabulary.end]
        assert crop.suffix[-1] == vocabulary.sep
        assert crop.suffix[0] == inside[-1] + 1  # the text goes on where the gap ends
        assert len(crop.suffix) <= LONGEST_SUFFIX


def test_a_gap_follows_the_prompt_the_answer_so_far_or_text_that_is_the_prompt(vocabulary):
    v, record = vocabulary, answer(vocabulary, 60)
    asked = v.prompt_ids(record.prompt)
    forms = {"suffix": 0, "later": 0, "text": 0}
    for crop in gaps_of(record, v):
        start = crop.target[0] - record.response[0]
        if crop.prefix == asked:
            forms["suffix"] += 1
            assert start == 0
        elif crop.prefix[: len(asked)] == asked:
            forms["later"] += 1
            assert crop.prefix[len(asked) :] == record.response[:start]
        else:
            forms["text"] += 1
            assert crop.prefix == v.prompt_ids(record.response[:start])
            assert start >= 8
    assert all(count >= 3 for count in forms.values())


def test_a_context_stays_when_text_is_the_prompt(vocabulary):
    record = Record("test", (30,), (40, 41), tuple(range(50, 110)), plain=False)
    for crop in gaps_of(record, vocabulary, seeds=60):
        assert crop.prefix[:5] == (vocabulary.cls, vocabulary.context, 40, 41, vocabulary.sep)


def test_gaps_in_running_text_have_the_text_before_as_their_prompt(vocabulary):
    v, text = vocabulary, tuple(range(20, 120))
    gaps = gaps_of(Record("prose", (), (), text, plain=True), v)
    assert gaps
    for crop in gaps:
        start = crop.target[0] - text[0]
        seen = crop.prefix[1:-1]
        assert crop.prefix == v.prompt_ids(seen)
        assert seen == text[start - len(seen) : start]
        inside = [i for i in crop.target if i != v.end]
        assert crop.suffix[0] == inside[-1] + 1
        assert crop.scored == min(len(crop.target), len(inside) + 1 + PADDING_SCORED)


def test_gaps_have_shorter_blocks_too(vocabulary):
    gaps = gaps_of(answer(vocabulary, 60), vocabulary)
    assert {len(crop.target) for crop in gaps} == {BLOCK, BLOCK // 2}


def test_crops_keep_within_their_lengths(vocabulary):
    ids = tuple(20 + i % 100 for i in range(600))
    records = [
        Record("test", ids[:90], ids[:90], ids, plain=False),
        Record("prose", (), (), ids, plain=True),
    ]
    for record in records:
        for seed in range(40):
            for crop in crops(record, vocabulary, seed):
                assert len(crop.prefix) <= LONGEST_PREFIX
                assert len(crop.suffix) <= LONGEST_SUFFIX
                assert 1 <= crop.scored <= len(crop.target)


def test_a_context_stands_before_the_prompt(vocabulary):
    record = Record("test", (30,), (40, 41), tuple(range(50, 60)), plain=False)
    prefix = plain_crops(record, vocabulary)[0].prefix
    v = vocabulary
    assert prefix == (v.cls, v.context, 40, 41, v.sep, 30, v.sep)


def test_the_large_model_sees_what_stands_without_the_context(vocabulary):
    told = Record("test", (30, 31), (40, 41, 42), tuple(range(20, 60)), plain=False)
    untold = replace(told, context=())
    for seed in range(40):
        seen = [without_context(crop, vocabulary) for crop in crops(told, vocabulary, seed)]
        assert seen == crops(untold, vocabulary, seed)
        assert seen == [without_context(crop, vocabulary) for crop in seen]


def test_batches_are_a_function_of_seed_and_epoch(vocabulary, data):
    records = read_records(data, vocabulary)

    def plan(seed, epoch):
        return epoch_batches(
            records,
            vocabulary,
            shares={},
            block_length=BLOCK,
            batch_size=4,
            seed=seed,
            epoch=epoch,
        )

    assert plan(1, 0) == plan(1, 0)
    assert plan(1, 0) != plan(1, 1)
    assert plan(1, 0) != plan(2, 0)
    assert all(len({len(c.target) for c in batch}) == 1 for batch in plan(1, 0))


def test_shares_count_passes(vocabulary):
    records = [answer(vocabulary, 5)] * 40

    def size(share):
        batches = epoch_batches(
            records,
            vocabulary,
            shares={"test": share},
            block_length=BLOCK,
            batch_size=1,
            seed=0,
            epoch=0,
        )
        return len(batches)

    assert size(2.0) == 2 * size(1.0)
    assert 8 <= size(0.5) <= 32
    assert size(0.0) == 0


def test_collate_places_block_and_padding(vocabulary):
    short, long = (plain_crops(answer(vocabulary, n), vocabulary)[-1] for n in (5, BLOCK + 5))
    batch = collate([short, long], vocabulary)
    assert batch.block_start.tolist() == [len(short.prefix), len(long.prefix)]
    assert batch.attention_mask is not None
    assert batch.attention_mask.sum(1).tolist() == [len(short.prefix) + 16, len(long.prefix) + 16]
    assert (batch.input_ids[0, 4 : 4 + BLOCK] == vocabulary.mask).all()
    assert (batch.input_ids[0, 4 + BLOCK :] == vocabulary.pad).all()
    assert collate([short], vocabulary).attention_mask is None


@pytest.mark.parametrize(
    "line", ["not json", "[1]", '{"instruction": "x"}', '{"text": 3}', '{"response": "x"}']
)
def test_a_bad_record_names_its_line(vocabulary, tmp_path, line):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(BadDataError, match=r"bad\.jsonl:2"):
        read_records(path, vocabulary)


def test_no_records_are_an_error(vocabulary, tmp_path):
    path = tmp_path / "empty.jsonl"
    path.write_text("\n")
    with pytest.raises(BadDataError, match="no records"):
        read_records(path, vocabulary)
