"""Masked diffusion with a foreign tokenizer and its chat template, through the embedded driver."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.collaboration.batcher import Batcher
from common.collaboration.codec import encode, reach_for
from common.collaboration.compatibility import default_settings
from common.collaboration.contribution import for_open
from common.collaboration.driver import Drive
from common.collaboration.fusion import Weighted, fuse
from common.collaboration.opening import plan_for
from common.collaboration.settings import Codec, Requested, SessionSettings
from common.collaboration.timing import Every, timing_of
from common.denoising.loop import Predict, denoise
from common.denoising.plan import Decider, FinishReason, Plan
from common.denoising.process import View
from common.denoising.streams import Philox
from common.errors import ProcessMismatchError, UsageError
from common.models.registry import open_model
from common.processes.masked.settings import Order
from common.text.templates import asked
from david_client.asking import David, Question
from david_client.embedded import ask_embedded
from david_client.reply import Draft, Reply
from tests.parity.playing import play
from tests.tiny_masked import tiny_masked

PROMPT = "how do i make soup?"
CONTEXT = "heat the <|end|> bread until it is hot"
BLOCK, STEPS, SEED = 12, 6, 3
GOLIATH, DAVID = tiny_masked(seed=1), tiny_masked(seed=2)


def question(**requested: Any) -> Question:
    usual = {"max_tokens": 20, "steps": STEPS}
    return Question(asked(PROMPT), SEED, requested=Requested(usual | requested))


async def answered(*davids: David, drafts: list[Draft] | None = None, **requested: Any) -> Reply:
    seen = [] if drafts is None else drafts
    return await ask_embedded(question(**requested), davids, GOLIATH, on_draft=seen.append)


def small(**settings: Any) -> David:
    return David(DAVID, **{"weight": 0.5} | settings)


def session(**requested: Any) -> tuple[SessionSettings, Plan]:
    settings = question(**requested).settings(default_settings(GOLIATH))
    return settings, plan_for(GOLIATH, settings, messages=asked(PROMPT))


# Weights


async def test_at_weight_0_the_large_model_answers_alone() -> None:
    reply = await answered(small(weight=0.0, context=CONTEXT))
    alone = play(session()[1], Philox(SEED), GOLIATH.predictor).result
    assert reply.ids == tuple(alone.ids.tolist()) == (await answered()).ids
    assert set(reply.decided) == {Decider.CORE}
    assert reply.counts[0].entries == {}


@pytest.mark.parametrize("codec", Codec)
async def test_at_weight_1_the_small_model_answers_alone(codec: Codec) -> None:
    reply = await answered(small(weight=1.0, codec=codec))
    alone = play(session()[1], Philox(SEED), DAVID.predictor).result
    assert reply.ids == tuple(alone.ids.tolist())
    assert Decider.CORE not in reply.decided


async def test_a_context_and_a_contrast_change_the_answer() -> None:
    replies = [
        await answered(small(**terms))
        for terms in ({}, {"context": CONTEXT}, {"context": CONTEXT, "contrast": 1.0})
    ]
    assert len({reply.ids for reply in replies}) == 3
    assert replies[1].text == GOLIATH.vocabulary.decode(replies[1].ids)
    assert replies[1].counts[0].took_part == replies[1].steps_run == 2 * STEPS
    rows = sum(replies[1].counts[0].entries.values())
    assert rows == 2 * sum((12, 10, 8, 6, 4, 2)), "rows of masks alone"
    assert replies[1].finish_reason is FinishReason.MAX_TOKENS


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
async def test_the_same_seed_gives_the_same_answer(order: Order, temperature: float) -> None:
    terms = {"order": order, "temperature": temperature, "threshold": 0.05}
    replies = [await answered(small(context=CONTEXT), **terms) for _ in range(2)]
    assert replies[0].ids == replies[1].ids
    assert not set(replies[0].ids) & set(GOLIATH.vocabulary.forbidden)


async def test_sparse_rows_answer_as_dense_ones() -> None:
    for weight in (0.5, 0.75):
        dense, sparse = [
            await answered(small(weight=weight, codec=codec, context=CONTEXT)) for codec in Codec
        ]
        assert dense.ids == sparse.ids


async def test_an_answer_ends_at_an_end_token() -> None:
    plan = session()[1]
    whole = play(plan, Philox(SEED), GOLIATH.predictor).result.ids.tolist()
    at = next(n for n in range(1, BLOCK) if whole[n] not in whole[:n])
    result = play(replace(plan, ends=(whole[at],)), Philox(SEED), GOLIATH.predictor).result
    assert result.ids.tolist() == whole[:at]
    assert result.finish_reason is FinishReason.END_TOKEN


async def test_drafts_show_settled_tokens_and_guesses() -> None:
    drafts: list[Draft] = []
    reply = await answered(small(), drafts=drafts)
    assert [draft.t for draft in drafts[:STEPS]] == [1, 10 / 12, 8 / 12, 6 / 12, 4 / 12, 2 / 12]
    assert drafts[0].estimate is None
    for draft in drafts[1:STEPS]:
        assert (draft.estimate >= 0).all()
        assert len(draft.decided) == BLOCK
    assert drafts[STEPS].finished == reply.ids[:BLOCK]


# Several at once


async def test_two_davids_take_part() -> None:
    anna, bert = small(weight=0.4), David(tiny_masked(seed=5), weight=0.4, context=CONTEXT)
    both = await answered(anna, bert)
    assert [counts.took_part for counts in both.counts] == [both.steps_run] * 2
    assert both.ids == (await answered(bert, anna)).ids
    alone = {(await answered(one)).ids for one in (anna, bert)}
    assert len({both.ids, *alone, (await answered()).ids}) == 4


async def test_sessions_of_a_batch_answer_as_alone() -> None:
    plan = session()[1]
    prompts = [GOLIATH.template.ids(asked(PROMPT * (1 + n))) for n in range(4)]

    async def answers(batch: int) -> list[list[int]]:
        async with Batcher(GOLIATH.predictor.predict, max_batch=batch) as large:
            drives = [
                Drive(replace(plan, prompt=prompt), large.predict, {}, stream=Philox(SEED))
                for prompt in prompts
            ]
            return [r.ids.tolist() for r in await asyncio.gather(*(d.run() for d in drives))]

    assert await answers(4) == await answers(1)


# Lag and reuse


@pytest.mark.parametrize(
    "latency", [{"lag": 1}, {"lag": 2}, {"every": Every(0, 3, 0)}, {"every": Every(2, 100, 1)}]
)
@pytest.mark.parametrize("codec", Codec)
async def test_rows_of_an_earlier_step_are_used_where_positions_are_open(
    latency: dict[str, Any], codec: Codec
) -> None:
    """Held to a loop that is written out: what was open at the source, and is still open."""
    reply = await answered(small(context=CONTEXT, codec=codec), **latency)
    settings, plan = session(**latency)
    timing, prefix = timing_of(settings), DAVID.template.ids(asked(PROMPT), CONTEXT)
    loop = denoise(plan, Philox(SEED))
    request: Any = next(loop)
    given: dict[int, Any] = {}
    opened: dict[int, np.ndarray] = {}
    try:
        while True:
            assert isinstance(request, Predict)
            shown, step = request.shown, request.shown.state.step
            rows = DAVID.predictor.predict(
                [View((*prefix, *shown.answer), shown.state, shown.open)]
            )[0][0]
            given[step] = encode(rows, block=0, step=step, codec=codec, reach=reach_for(None, 0.5))
            opened[step] = shown.open
            core = GOLIATH.predictor.predict([request.view])[0]
            loop.send(core)
            source = timing.source(step)
            used = for_open(given[source], opened[source], shown.open)
            request = loop.send(fuse(core, [Weighted("david", 0.5, used)], full_rows=True))
    except StopIteration as done:
        expected = tuple(done.value.ids.tolist())
    assert reply.ids == expected
    assert reply.ids != (await answered(small(context=CONTEXT, codec=codec))).ids


# Refusals


async def test_certifying_is_refused_with_the_reason() -> None:
    with pytest.raises(UsageError, match="full rows") as refused:
        await answered(small(), certify=True)
    assert "--certify" in refused.value.remedy


async def test_settings_of_another_process_are_refused() -> None:
    with pytest.raises(UsageError, match="min_p: no setting"):
        await answered(min_p=0.1)


async def test_a_david_of_another_process_is_refused(tmp_path: Path) -> None:
    simplex = open_model("david-recipes")
    foreign = replace(DAVID, predictor=simplex.predictor)
    with pytest.raises(ProcessMismatchError, match="process: Goliath masked, David simplex"):
        await answered(David(foreign))
