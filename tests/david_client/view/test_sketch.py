"""Words and who brought them in."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.denoising.plan import Decider
from david_client.origins import Origins
from david_client.view.sketch import Word, decider_of
from tests.david_client.view.drafts import BOTH, CORE, DAVIDS, NEITHER, draft, ids, reply, sketched
from tests.serving import VOCABULARY


@pytest.mark.parametrize(
    ("pieces", "word"),
    [
        ([CORE, CORE], CORE),
        ([CORE, BOTH], CORE),
        ([BOTH, DAVIDS], DAVIDS),
        ([BOTH, BOTH], BOTH),
        ([CORE, DAVIDS], NEITHER),
        ([BOTH, NEITHER], NEITHER),
        ([0, BOTH], None),
        ([], None),
    ],
)
def test_a_word_is_a_first_choice_if_all_its_pieces_are(
    pieces: list[int], word: Decider | None
) -> None:
    assert decider_of(pieces) is word


def test_words_have_their_places_their_deciders_and_their_news() -> None:
    shown = draft("heating soup.", decided=[CORE, BOTH, NEITHER, DAVIDS])
    seen = sketched(shown, changed=[1])
    assert seen.text == "Heating soup." == VOCABULARY.decode(ids("heating soup."))
    assert seen.words == (
        Word(0, 7, CORE, True),
        Word(8, 12, NEITHER, False),
        Word(12, 13, DAVIDS, False),
    )


def test_words_of_finished_blocks_are_plain() -> None:
    seen = sketched(draft("hot soup", block=1, finished=tuple(ids("add salt, then"))))
    assert seen.text == "Add salt, then hot soup"
    assert [seen.text[w.begin : w.end] for w in seen.words] == ["hot", "soup"]


def test_a_word_may_begin_in_the_block_before() -> None:
    seen = sketched(draft("s hot", block=1, finished=tuple(ids("egg")), decided=[CORE, BOTH]))
    assert [w.decider for w in seen.words] == [CORE, BOTH]
    joined = replace(
        draft("hot hot", block=1, finished=tuple(ids("egg"))),
        estimate=ids("eggs")[1:],
        decided=np.array([DAVIDS]),
    )
    seen = sketched(joined)
    assert (seen.text, seen.words) == ("Eggs", (Word(3, 4, DAVIDS, False),))


def test_noise_and_what_stands_after_the_end() -> None:
    noise = sketched(draft(None, step=0))
    assert (noise.text, noise.words, noise.noise, noise.ended) == ("", (), 8, False)
    ended = draft("hot soup with milk")
    assert ended.estimate is not None
    ended.estimate[2] = VOCABULARY.end
    seen = sketched(ended)
    assert (seen.text, seen.ended, seen.noise) == ("Hot soup", True, 0)
    assert len(seen.words) == 2


def test_tokens_keep_the_decider_that_brought_them_in() -> None:
    origins = Origins()
    assert origins.follow(draft(None, step=0, decided=[])) == []
    assert origins.follow(draft("hot soup", step=1, decided=[CORE, DAVIDS])) == []
    assert origins.block == [CORE, DAVIDS]
    assert origins.follow(draft("hot cake", step=2, decided=[BOTH, NEITHER])) == [1]
    assert origins.block == [CORE, NEITHER]
    # The last step of a block comes with the first of the next one.
    after = draft(None, block=1, step=0, finished=tuple(ids("cold cake")), decided=[DAVIDS, BOTH])
    assert origins.follow(after) == []
    later = draft("with", block=1, step=1, finished=tuple(ids("cold cake")), decided=[BOTH])
    assert origins.follow(later) == []
    assert origins.block == [BOTH]
    assert origins.conclude(reply(ids("cold cake and"), CORE)) == [DAVIDS, NEITHER, CORE]


def test_an_answer_that_came_without_drafts_has_unknown_origins() -> None:
    assert Origins().conclude(reply(ids("hot soup"))) == [0, 0]


@given(st.lists(st.text("ab", max_size=3), max_size=4), st.lists(st.integers(0, 4), max_size=5))
def test_origins_take_any_lengths(texts: list[str], decided: list[int]) -> None:
    origins = Origins()
    for step, text in enumerate(texts):
        one = draft(" ".join(text) or None, step=step, decided=decided)
        changed = origins.follow(one)
        size = 0 if one.estimate is None else len(one.estimate)
        assert all(0 <= i < size for i in changed)
