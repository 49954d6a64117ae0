"""Vocabularies that are cut to the words of a corpus."""

import pytest

from common.text.wordpiece import SPECIAL
from common.training.trim import inflation, trim
from tests.text.source import LETTERS, MARKS, source_tokenizer


def test_a_dropped_piece_costs_tokens():
    source = source_tokenizer()
    all_kept = trim(source, ["the soup cook don add salt hello we"] * 5, 400)
    none_kept = trim(source, ["the"] * 5, 400)
    assert inflation(source, all_kept, ["the soup", "salt"]) == 0
    assert inflation(source, none_kept, ["the soup", "salt"]) == pytest.approx((1 + 4 + 4) / 3 - 1)


# Trimming


def test_trimming_keeps_the_template_first(trimmed):
    assert tuple(trimmed.pieces(range(len(SPECIAL)))) == SPECIAL


def test_trimming_keeps_characters_and_used_words(trimmed):
    pieces = set(trimmed.pieces(range(trimmed.size)))
    assert set(LETTERS) | set(MARKS) | {f"##{c}" for c in LETTERS} <= pieces
    assert {"soup", "salt", "hello"} <= pieces
    assert "rareword" not in pieces


def test_a_dropped_word_is_written_with_characters(trimmed):
    encoded = trimmed.encode("rareword")
    assert encoded.unknown == ()
    assert trimmed.decode(encoded.ids) == "Rareword"


def test_trimming_keeps_to_its_size():
    texts = ["soup " * 9 + "salt " * 6 + "hello " * 3]
    room = len(SPECIAL) + 2 * len(LETTERS) + len(MARKS) + 1
    small = trim(source_tokenizer(), texts, room + 2)
    assert small.size == room + 2
    assert len(small.encode("soup salt").ids) == 2
    assert len(small.encode("hello").ids) == 5


def test_trimming_drops_rare_foreign_characters():
    foreign = "\u03c0\u0416\u00e6"
    kept = trim(source_tokenizer(foreign), ["\u03c0 \u03c0 \u03c0 \u0416"], 400)
    assert kept.encode("\u03c0").unknown == ()
    assert kept.encode("\u0416").unknown == ("\u0416",)
    # Latin letters stay though no text has them.
    assert kept.encode("\u00e6").unknown == ()
