"""Measures of text, by hand and for any words."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.evaluation import text

WORDS = st.lists(st.sampled_from(["stir", "the", "soup", "salt.", "hot,"]), max_size=30)


def test_tokens_are_words_and_marks_in_lower_case():
    assert text.tokens("Heat the oven to 200°C, then") == [
        *("heat", "the", "oven", "to", "200", "°", "c", ",", "then")
    ]


def test_repetition_by_hand():
    assert text.repetition(text.tokens("a b c d e")) == 0
    assert text.repetition(text.tokens("a b c d a b c d")) == pytest.approx(1 / 5)
    assert text.repetition(["the"] * 24) == pytest.approx(20 / 21)
    assert math.isnan(text.repetition(text.tokens("a b c")))


def test_doubled_by_hand():
    assert text.doubled(text.tokens("stir the the soup")) == pytest.approx(1 / 3)
    assert math.isnan(text.doubled(["stir"]))


def test_distinct_compares_equal_counts():
    short = [text.tokens("a b c d e")]
    long = short * 2
    assert text.count_runs(short) == 2
    assert text.count_runs(long) == 4
    assert text.distinct(short, 2) == text.distinct(long, 2) == 1
    assert text.distinct(long, 4) == 0.5
    assert math.isnan(text.distinct([["a"]], 4))


@settings(deadline=None)
@given(WORDS, st.integers(0, 2**63))
def test_shuffled_text_has_the_same_words(words, seed):
    before = " ".join(words)
    after = text.shuffled(before, np.random.default_rng(seed))
    assert sorted(after.split()) == sorted(words)
    assert sorted(text.tokens(after)) == sorted(text.tokens(before))
    assert after == text.shuffled(before, np.random.default_rng(seed))


@settings(deadline=None)
@given(WORDS)
def test_repeating_a_text_repeats_its_runs(words):
    once, twice = text.tokens(" ".join(words)), text.tokens(" ".join(words * 2))
    for measure in (text.repetition(once), text.repetition(twice), text.doubled(once)):
        assert math.isnan(measure) or 0 <= measure <= 1
    if len(once) >= 4:
        assert text.repetition(twice) >= text.repetition(once)
        # No more different runs than places to begin one in the first half.
        assert text.repetition(twice) >= 1 - len(once) / (2 * len(once) - 3)


def test_rare_words_are_those_of_few_responses_and_not_of_the_question():
    responses = ["add some pepper", "add some garlic", "add some garlic", "add some leeks"]
    common = text.common_words(responses, share=0.25)
    assert common == {"some", "garlic"}
    assert text.rare_words("leeks?", "add some leeks and Ginger, 200g", common) == {"ginger"}


def test_a_word_of_one_response_is_rare_however_few_there_are():
    assert text.common_words(["pepper leeks", "pepper"]) == {"pepper"}


def test_recall_and_its_control_by_hand():
    answers = ["ginger and garlic", "nothing here", "pepper"]
    wanted = [{"ginger", "pepper"}, set(), {"garlic", "pepper", "leeks", "beans"}]
    own, control = text.recall(answers, wanted)
    assert own[[0, 2]].tolist() == [0.5, 0.25]
    assert math.isnan(own[1])
    # The first answer against the third's words, the second against both, the third the first's.
    assert control.tolist() == [0.25, 0.0, 0.5]


@settings(deadline=None)
@given(st.lists(st.sets(st.sampled_from(["leek", "bean", "rice", "corn"])), max_size=5))
def test_who_says_what_was_wanted_has_full_recall(wanted):
    own, control = text.recall([" ".join(words) for words in wanted], wanted)
    assert all(np.isnan(share) == (not words) for share, words in zip(own, wanted, strict=True))
    assert np.nan_to_num(own, nan=1.0).tolist() == [1.0] * len(wanted)
    assert np.all(np.isnan(control) | ((control >= 0) & (control <= 1)))
