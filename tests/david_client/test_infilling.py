"""Infilling: gaps in a text, answers that lead into a suffix, and how both read."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.collaboration.batcher import Batcher
from common.collaboration.settings import Limits
from common.denoising.plan import FinishReason
from common.denoising.process import Shown, View
from common.errors import BadDataError, LimitExceededError
from david_client.asking import Question
from david_client.gaps import Gap, Gapped, check_beginning, join_gaps, split_gaps
from david_client.infilling import Filled, fill_gaps, followed_by
from david_client.joining import join, joined
from david_client.reply import Reply
from tests.serving import CONTEXT, DAVID, GOLIATH, VOCABULARY, Asked, embedded, question, serving

TWO = "heat the water. [[...]] add salt, then [[...6]] serve hot."
Ask = Callable[[Question, str], Reply]

# --- gaps ---

texts = st.lists(st.sampled_from(["[[...]]", "[[...12]]", "[", "]", ".", "...", "a", " ", "\n"]))


def _holds_a_gap_in_a_gap(text: str) -> bool:
    inner = re.sub(r"\[\[\.\.\.[^][]*\]\]", "", text)
    return re.search(r"\[\[\.\.\.[^][]*\]\]", inner) is not None


@given(texts.map("".join) | st.text())
def test_splitting_and_joining_give_the_text_back(text: str) -> None:
    if _holds_a_gap_in_a_gap(text):
        with pytest.raises(BadDataError, match="inside another"):
            split_gaps(text)
        return
    gapped = split_gaps(text)
    assert join_gaps(gapped) == text
    assert len(gapped.texts) == len(gapped.gaps) + 1
    assert not any(split_gaps(part).gaps for part in gapped.texts)


def test_gaps_have_caps_of_their_own() -> None:
    gapped = split_gaps("peel. [[...]] stir [[...12]][[...007]]")
    assert gapped.texts == ("peel. ", " stir ", "", "")
    assert [gap.most_tokens for gap in gapped.gaps] == [None, 12, 7]
    assert gapped.gaps[1] == Gap("[[...12]]", 12)


@pytest.mark.parametrize("text", ["[[..]]", "[...]", "[[....", "[[ ... ]]", "[[\u2026]]", "none"])
def test_what_is_no_gap_is_text(text: str) -> None:
    assert split_gaps(text) == Gapped((text,))


@pytest.mark.parametrize("cap", ["0", "-3", "x", " 12", "1048577", "9" * 5000, "\u0663"])
def test_a_cap_that_is_none_is_refused(cap: str) -> None:
    with pytest.raises(BadDataError, match="expected a number of tokens from 1") as caught:
        split_gaps(f"soup [[...{cap}]]")
    assert "--literal" in caught.value.remedy
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    "text",
    [
        "soup [[...[[...]]...]]",
        "soup [[...first [[...4]] then]] serve",
        "soup [[...[[...]] and [[...]]]]",
        "soup [[...[[...[[...]]]]]] serve",
    ],
)
def test_gaps_inside_gaps_are_refused(text: str) -> None:
    with pytest.raises(BadDataError, match="inside another one") as refused:
        split_gaps(text)
    assert "--literal" in refused.value.remedy


def test_a_text_needs_words_before_its_first_gap() -> None:
    for text in ("[[...]] serve hot.", " \n[[...3]] serve"):
        with pytest.raises(BadDataError, match="begins with a gap"):
            check_beginning(split_gaps(text))
    check_beginning(split_gaps("soup [[...]]"))
    check_beginning(split_gaps(""))


# --- how an answer reads between texts ---


def ids(text: str) -> tuple[int, ...]:
    return VOCABULARY.encode(text).ids


@pytest.mark.parametrize(
    ("before", "answer", "after", "whole"),
    [
        ("Heat the Oil.", "add salt.", "Serve.", "Heat the Oil. Add salt. Serve."),
        ("Heat the oil and ", "add salt", " then serve", "Heat the oil and add salt then serve"),
        ("Heat ", ", then stir", ", serve", "Heat, then stir, serve"),
        ("Heat  \n\n", "stir.", "\n- Serve", "Heat  \n\nstir.\n- Serve"),
        ("Heat", "stir", "  Serve  ", "Heat stir  Serve  "),
        ("salt - ", "stir", " - hot", "salt - stir - hot"),
        ("it' ", "s", " hot", "it' s hot"),
        ("it'", "s", "hot", "it's hot"),
        ("soup", "", " hot", "soup hot"),
        ("soup ", "", " hot", "soup hot"),
        ("soup ", "", ", hot", "soup, hot"),
        ("soup\n", "", "hot", "soup\nhot"),
        ("soup ", "stir", "", "soup stir"),
        ("soup ", "stir", " \n", "soup stir \n"),
        ("", "stir", "Hot", "Stir Hot"),
        ("", "", " Hot", " Hot"),
    ],
)
def test_spaces_and_capitals_at_the_seams(before: str, answer: str, after: str, whole: str) -> None:
    joint = join(VOCABULARY, (*ids(answer), VOCABULARY.end, 60), before=before, after=after)
    assert before.rstrip() + joint.left + joint.text + joint.right + after.lstrip() == whole


def test_the_rest_of_a_word_is_set_close() -> None:
    ending = VOCABULARY.encode("adding").ids[-1:]
    assert VOCABULARY.pieces(ending) == ["##ing"]
    joint = join(VOCABULARY, ending, before="add ", after=" salt")
    assert (joint.left, joint.text, joint.right) == ("", "ing", " ")


words = st.lists(
    st.sampled_from(["salt", "Add", ".", ",", '"', "'", "-", "(", ")", " ", "\n", "\x00", "3"])
).map("".join)


@given(words, st.lists(st.integers(16, VOCABULARY.size - 1)), words)
def test_seams_are_white_space_and_nothing_is_lost(before: str, answer: Any, after: str) -> None:
    joint = join(VOCABULARY, answer, before=before, after=after)
    assert not joint.left.strip()
    assert not joint.right.strip()

    def bare(text: str) -> str:
        return re.sub(r"\s", "", text).casefold()

    pieces = (piece.removeprefix("##") for piece in VOCABULARY.pieces(answer))
    assert bare(joint.text) == bare("".join(pieces))
    assert joined(VOCABULARY, answer, after=after).endswith(after.lstrip())


@pytest.mark.parametrize(
    ("text", "suffix", "whole"),
    [
        ("a [[...]]", "Serve hot.", ("a ", "Serve hot.")),
        ("a [[...]] add", "salt", ("a ", " add salt")),
        ("a [[...]] add\n", "salt\n", ("a ", " add\nsalt\n")),
        ("a [[...]] add ", ", hot", ("a ", " add, hot")),
        ("a [[...]] add ", "", ("a ", " add ")),
    ],
)
def test_a_suffix_follows_the_last_text(text: str, suffix: str, whole: tuple[str, ...]) -> None:
    assert followed_by(split_gaps(text), suffix, VOCABULARY).texts == whole


# --- answers ---


def alone(asked: Question, _: str) -> Reply:
    return embedded(with_david(asked))


def with_david(asked: Question) -> Asked:
    return Asked(asked, question().david)


def filled(text: str, ask: Ask = alone, **requested: Any) -> Filled:
    return fill_gaps(split_gaps(text), question(**requested).question, VOCABULARY, ask)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
async def test_networked_equals_embedded_before_a_suffix(weight: float) -> None:
    async with serving() as served:
        for tokens in (5, 16, 32):
            asked = question(
                weight=weight,
                max_tokens=tokens,
                context=CONTEXT,
                contrast=0.5,
                suffix="then serve it hot.",
            )
            over, here = await served.ask(asked), embedded(asked)
            assert over.ids == here.ids
            assert over.full_text == here.full_text
            assert over.full_text.endswith("then serve it hot.")
            assert over.full_text.startswith(over.text)
            assert over.record()["suffix"] == "then serve it hot."
            assert len(over.ids) <= tokens


async def test_networked_equals_embedded_for_two_gaps() -> None:
    async with serving() as served:
        loop = asyncio.get_running_loop()

        def ask(asked: Question, _: str) -> Reply:
            return asyncio.run_coroutine_threadsafe(served.ask(with_david(asked)), loop).result(30)

        over = await asyncio.to_thread(filled, TWO, ask)
    here = filled(TWO)
    assert over.text == here.text
    assert [reply.ids for reply in over.replies] == [reply.ids for reply in here.replies]
    assert over.total.bytes_up == sum(reply.bytes_up for reply in over.replies)
    assert over.total.bytes_up > here.total.bytes_up == 0


def test_each_gap_sees_the_filled_text_before_it_and_the_text_up_to_the_next() -> None:
    asked: list[Question] = []
    titles: list[str] = []

    def ask(one: Question, title: str) -> Reply:
        asked.append(one)
        titles.append(title)
        return alone(one, title)

    whole = filled(TWO, ask, seed=2**64 - 1)
    first, second = asked
    assert titles == ["gap 1 of 2", "gap 2 of 2"]
    assert (first.prompt, first.suffix) == ("heat the water.", "add salt, then")
    assert second.prompt.startswith("heat the water.")
    assert second.prompt.endswith("add salt, then")
    assert whole.replies[0].text in second.prompt
    assert second.suffix == "serve hot."
    assert (first.seed, second.seed) == (2**64 - 1, 0)
    assert "max_tokens" not in first.requested.values
    assert second.requested.values["max_tokens"] == 6
    assert whole.text.startswith(second.prompt)
    assert whole.text.endswith("serve hot.")


def test_a_gap_alone_is_an_answer_before_a_suffix() -> None:
    asked = question(prompt="heat the water.", suffix="serve hot.")
    (reply,) = filled("heat the water. [[...]] serve hot.").replies
    assert reply.ids == embedded(asked).ids


def test_the_text_after_the_next_gap_does_not_matter_but_the_text_before_it_does() -> None:
    start = "heat the water. [[...]] add salt, then [[...]]"
    one, other = filled(f"{start} serve hot."), filled(f"{start} bake the bread.")
    changed = filled("heat the water. [[...]] bake a cake, then [[...]] serve hot.")
    assert one.replies[0].ids == other.replies[0].ids
    assert one.replies[1].ids != other.replies[1].ids
    assert one.replies[0].ids != changed.replies[0].ids


def test_a_cap_makes_the_block_shorter_only_where_text_follows() -> None:

    def lengths(suffix: str, **requested: int) -> tuple[int, int]:
        agreed = question(**requested, suffix=suffix).settings
        return agreed.block_length, agreed.max_tokens

    assert lengths("hot", max_tokens=6) == (6, 6)
    assert lengths("hot", max_tokens=40) == (16, 40)
    assert lengths("hot", max_tokens=6, block_length=4) == (4, 6)
    assert lengths("", max_tokens=6) == (16, 6)
    capped = filled("soup [[...3]] hot [[...1]] and [[...2]]").replies
    assert all(len(r.ids) <= most for r, most in zip(capped, (3, 1, 2), strict=True))


def test_gaps_side_by_side_and_at_the_end() -> None:
    whole = filled("soup [[...3]] [[...3]]\n")
    assert len(whole.replies) == 2
    assert all(reply.suffix == "" for reply in whole.replies)
    assert whole.text.startswith("soup ")
    assert whole.text.endswith("\n")


def test_a_record_says_where_each_filling_stands() -> None:
    whole = filled(TWO)
    record = whole.record()
    assert record["text"] == whole.text == "".join(text for text, _ in whole.parts)
    assert len(record["gaps"]) == 2
    for gap in record["gaps"]:
        begin, end = gap["span"]
        assert record["text"][begin:end] == gap["text"]
        assert record["text"][begin:].startswith(gap["full_text"])
        assert gap["full_text"].endswith(gap["suffix"])
    assert [text for text, marked in whole.parts if marked] == [g["text"] for g in record["gaps"]]
    for total in ("steps_run", "david_steps", "missed", "late"):
        assert record[total] == sum(gap[total] for gap in record["gaps"])
    assert record["seed"] == record["gaps"][0]["seed"] == 5


def test_gaps_that_a_draining_server_leaves_stay_as_they_were_written() -> None:
    def ask(asked: Question, _: str) -> Reply:
        return replace(alone(asked, _), finish_reason=FinishReason.DRAINING)

    whole = filled(TWO, ask)
    assert len(whole.replies) == 1
    assert whole.total.finish_reason is FinishReason.DRAINING
    assert whole.text.endswith("add salt, then [[...6]] serve hot.")


async def test_a_suffix_beyond_the_servers_limits() -> None:
    asked = question(suffix="serve hot " * 12)
    async with serving(limits=Limits(max_prompt_bytes=64)) as served:
        with pytest.raises(LimitExceededError, match="suffix bytes") as caught:
            await served.ask(asked)
    assert caught.value.remedy


async def test_a_suffix_that_does_not_fit_the_models() -> None:
    asked = question(suffix="serve hot " * 140)
    says = r"suffix.*256 positions"
    async with serving() as served:
        with pytest.raises(BadDataError, match=says):
            await served.ask(asked)
    with pytest.raises(BadDataError, match=says):
        embedded(asked)


# --- the models read the suffix ---


def logits(asked: Asked) -> torch.Tensor:
    """Goliath's rows of a block that is all one token."""
    plan = asked.plan
    state = plan.process.state(0, 1, np.full((16, 1), 60, np.int64))
    view = View(plan.prompt, state, np.arange(16), plan.suffix)
    return GOLIATH.predictor.predict([view])[0]


def test_goliaths_logits_depend_on_the_suffix() -> None:
    def rows(suffix: str) -> torch.Tensor:
        return logits(question(prompt="heat it", suffix=suffix, steps=3, seed=3))

    assert torch.equal(rows("serve hot"), rows("serve hot"))
    assert (rows("serve hot") - rows("bake bread")).abs().max() > 1e-3
    assert (rows("serve hot") - rows("")).abs().max() > 1e-3


async def test_davids_logits_depend_on_the_suffix() -> None:
    async def best(suffix: str) -> list[float]:
        asked = question(suffix=suffix)
        async with Batcher(DAVID.predictor.predict) as small:
            state = asked.plan.process.state(0, 1, np.full((16, 1), 60, np.int64))
            given = await asked.contributor(small.predict).contribute(Shown(state, np.arange(16)))
        values: list[float] = given.values.tolist()
        return values

    assert await best("serve hot") == await best("serve hot")
    assert await best("serve hot") != await best("bake bread") != await best("")
