"""When two vocabularies fit, as their summaries tell."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from common.collaboration.compatibility import check_vocabulary
from common.errors import VocabularyMismatchError
from common.text.summary import VocabularySummary, summarise
from common.text.wordpiece import WordPieceVocabulary
from tests.tiny import tiny_vocabulary

BUNDLED = Path(__file__).parents[2] / "common/bundled"
SPEC = json.loads(Tokenizer.from_file(str(BUNDLED / "goliath-mini/tokenizer.json")).to_str())


def summary(**changes: Any) -> VocabularySummary:
    """Of the bundled tokenizer, with parts of its JSON changed."""
    return summarise(json.dumps(SPEC | changes), (5,))


def table(size: int, **others: int) -> dict[str, Any]:
    """The model with the first ids of its table, some of them renamed."""
    vocab = {piece: i for piece, i in SPEC["model"]["vocab"].items() if i < size}
    for piece, i in others.items():
        vocab = {old: j for old, j in vocab.items() if j != i} | {piece: i}
    return {"model": SPEC["model"] | {"vocab": vocab}}


WHOLE = summary()


def test_a_pair_that_shares_its_tokenizer_fits() -> None:
    goliath, david = (
        WordPieceVocabulary.load(BUNDLED / name).summary
        for name in ("goliath-mini", "david-recipes")
    )
    assert goliath == david == WHOLE
    assert goliath.fingerprint == david.fingerprint
    check_vocabulary(goliath, david)
    assert goliath.end_ids == (5,)
    assert not goliath.added  # the template's tokens stand in the table


def test_a_refusal_names_the_first_run_that_differs_and_some_pieces_there() -> None:
    changed = summary(**table(15000, zzz=3500, yyy=9000))
    there = sorted(SPEC["model"]["vocab"].items(), key=lambda item: item[1])[3072:3077]
    shown = ", ".join(repr(piece) for piece, _ in there)
    with pytest.raises(VocabularyMismatchError) as caught:
        check_vocabulary(replace(changed, samples=()), WHOLE)
    assert f"ids from 3072 on stand for other pieces (here they are {shown} ...)" in str(
        caught.value
    )
    assert changed.fingerprint != WHOLE.fingerprint


def test_tables_of_different_sizes_fit_where_both_have_whole_runs() -> None:
    smaller = summary(**table(14000))
    assert smaller.difference(WHOLE) is WHOLE.difference(smaller) is None
    # What is beyond the last run that the smaller one fills is not compared.
    assert summary(**table(14000, zzz=13900)).difference(WHOLE) is None
    assert "from 12288 on" in str(summary(**table(14000, zzz=13000)).difference(WHOLE))


def test_tables_too_small_for_a_run_must_be_equal() -> None:
    small, smaller = summary(**table(900)), summary(**table(899))
    assert small.difference(smaller) == "one has 900 ids, the other 899"
    assert summary(**table(900)).difference(small) is None
    assert "from 0 on" in str(summary(**table(900, zzz=70)).difference(small))


@pytest.mark.parametrize("part", ["normalizer", "pre_tokenizer"])
def test_the_same_pieces_by_other_rules_do_not_fit(part: str) -> None:
    assert "by other rules" in str(summary(**{part: None}).difference(WHOLE))


def test_what_is_no_part_of_ids_makes_no_difference() -> None:
    beside = summary(decoder=None, post_processor=None, padding=None, version="2.0")
    assert beside == WHOLE


def byte_level(*texts: str) -> Tokenizer:
    """A byte-level BPE, as public models have."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def test_a_foreign_tokenizer_with_added_tokens() -> None:
    goliath, david = byte_level("the soup is hot " * 9), byte_level("the soup is hot " * 9)
    goliath.add_special_tokens(["<|mask|>", "<|end|>"])
    size = david.get_vocab_size()
    mine, theirs = summarise(goliath.to_str(), (size + 1,)), summarise(david.to_str(), (3, 1))
    assert mine.added == ((size, "<|mask|>"), (size + 1, "<|end|>"))
    assert theirs.end_ids == (1, 3)
    assert mine.size == theirs.size == size
    check_vocabulary(mine, theirs)
    assert mine.fingerprint != theirs.fingerprint
    spec = json.loads(goliath.to_str())
    spec["model"]["merges"] = spec["model"]["merges"][::-1]
    assert "by other rules" in str(summarise(json.dumps(spec), ()).difference(theirs))


def test_pieces_with_scores_are_a_table_too() -> None:
    pieces = [("<unk>", 0.0), ("a", -1.0), ("b", -2.0)]
    one = summarise(Tokenizer(models.Unigram(pieces, unk_id=0)).to_str(), (0,))
    other = summarise(Tokenizer(models.Unigram([*pieces[:2], ("c", -2.0)], 0)).to_str(), (0,))
    assert one.size == 3
    assert "from 0 on" in str(one.difference(other))
    assert tiny_vocabulary().summary.difference(one) is not None
