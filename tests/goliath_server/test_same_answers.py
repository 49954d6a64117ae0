"""The answers of a real connection are those of the embedded pair, certified ones too."""

import asyncio
from typing import Any

import pytest

from common.collaboration.settings import Codec, Limits
from common.processes.simplex.settings import Projection, SelfConditioning
from tests.serving import (
    CONTEXT,
    calm_pair,
    embedded,
    question,
    same_over_the_wire,
    serving,
)


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("contrast", [0.0, 0.7])
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
async def test_networked_equals_embedded(weight: float, contrast: float, codec: Codec) -> None:
    async with serving() as served:
        for temperature in (0.0, 1.0):
            for max_tokens in (16, 32):
                asked = question(
                    weight=weight,
                    contrast=contrast,
                    codec=codec,
                    temperature=temperature,
                    max_tokens=max_tokens,
                    context=CONTEXT,
                )
                over, here = await served.ask(asked), embedded(asked)
                assert over.ids == here.ids
                assert over.text == here.text
                assert over.finish_reason == here.finish_reason
                assert (over.steps_run, over.david_steps) == (here.steps_run, here.david_steps)


WAYS: dict[str, dict[str, Any]] = {
    "multi-hot": {"projection": Projection.MULTI_HOT},
    "fused": {"self_conditioning": SelfConditioning.FUSED},
    "estimate": {"self_conditioning": SelfConditioning.ESTIMATE},
    "ramp": {"ramp": 1.5, "temperature": 0.4},
    "nucleus": {"top_p": 0.5},
    "repeats": {"no_repeat": 0, "temperature": 0.3},
    "all": {
        "projection": Projection.MULTI_HOT,
        "self_conditioning": SelfConditioning.FUSED,
        "ramp": 0.5,
    },
}
HALTS: dict[str, dict[str, Any]] = {
    "patience": {"halt_patience": 2},
    "margin": {"halt_patience": 1, "halt_margin": 0.01},
    "all": WAYS["all"] | {"halt_patience": 3, "temperature": 0.3, "ramp": 0.0},
}


@pytest.mark.parametrize("contrast", [0.0, 0.7])
@pytest.mark.parametrize("way", WAYS)
async def test_networked_equals_embedded_in_every_way_of_sampling(
    way: str, contrast: float
) -> None:
    usual = {"steps": 5, "max_tokens": 32, "min_p": 0.2, "context": CONTEXT, "contrast": contrast}
    reply = await same_over_the_wire(question(**usual, **WAYS[way]))
    assert reply.ids != embedded(question(**usual)).ids


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    calm_pair(monkeypatch)


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize("contrast", [0.0, 0.7])
@pytest.mark.parametrize("rule", HALTS)
async def test_networked_equals_embedded_when_blocks_halt(rule: str, contrast: float) -> None:
    usual = {"steps": 20, "max_tokens": 32, "context": CONTEXT, "contrast": contrast}
    reply = await same_over_the_wire(question(**usual, **HALTS[rule]))
    assert len(reply.ids) > 16
    assert 4 <= reply.steps_run < 38


async def test_david_and_his_context_change_the_answer() -> None:
    async with serving() as served:
        alone = await served.ask(question(weight=0.0))
        together = await served.ask(question())
        private = await served.ask(question(context=CONTEXT))
        contrasted = await served.ask(question(context=CONTEXT, contrast=0.7))
    assert len({alone.ids, together.ids, private.ids, contrasted.ids}) == 4


async def test_many_sessions_at_once_do_not_mix() -> None:
    asked = [question(seed=seed) for seed in range(4)]
    async with serving() as served:
        replies = await asyncio.gather(*(served.ask(one) for one in asked))
    assert [reply.ids for reply in replies] == [embedded(one).ids for one in asked]


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Davids that send few entries of each row: a lot is uncertain."""
    monkeypatch.setattr("common.collaboration.opening.MOST_ENTRIES", 3)


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("contrast", [0.0, 0.7])
@pytest.mark.parametrize("way", [*WAYS, "sampling", "greedy", "halting"])
async def test_certified_tokens_are_those_of_full_rows(way: str, contrast: float) -> None:
    own = {"sampling": {}, "greedy": {"temperature": 0.0}, "halting": HALTS["all"]}
    requested = {
        "steps": 5,
        "max_tokens": 32,
        "min_p": 0.2,
        "context": CONTEXT,
        "contrast": contrast,
    }
    requested |= (WAYS | own)[way]
    reply = await same_over_the_wire(question(**requested, certify=True))
    here = embedded(question(**requested, certify=True))
    assert reply.certification == here.certification
    assert reply.certification.uncertified == 0
    assert 0 < reply.certification.asks <= reply.steps_run
    dense = embedded(question(**requested, codec=Codec.DENSE))
    assert (reply.ids, reply.steps_run) == (dense.ids, dense.steps_run)
    record = reply.record()
    assert record["certify"]
    assert (record["uncertified"], record["asks"]) == (0, reply.certification.asks)
    assert record["asked_ids"] >= record["asks"]


@pytest.mark.usefixtures("brief")
async def test_by_default_what_is_uncertified_is_counted_and_nothing_is_asked() -> None:
    reply = await same_over_the_wire(question(steps=5))
    assert reply.certification == embedded(question(steps=5)).certification
    assert reply.certification.uncertified > 0
    assert reply.certification.asks == 0
    whole = await same_over_the_wire(question(steps=5, codec=Codec.DENSE))
    assert whole.certification.uncertified == 0


@pytest.mark.usefixtures("brief")
async def test_what_the_caps_leave_uncertified_is_counted() -> None:
    asked = question(certify=True, steps=5)
    lifted = embedded(asked).certification
    async with serving(limits=Limits(max_ask_ids_per_position=2, max_ask_ids=9)) as served:
        reply = await served.ask(asked)
    assert reply.certification.uncertified > lifted.uncertified == 0
    assert reply.certification.asked_ids <= 9 * reply.certification.asks


async def test_a_row_has_no_more_entries_than_the_server_allows() -> None:
    async with serving(limits=Limits(max_entries=2)) as served:
        assert (await served.ask(question())).certification.uncertified > 0
