"""Masked diffusion with a foreign tokenizer over a real TLS connection: the embedded answers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme

from common.collaboration.compatibility import default_settings
from common.collaboration.opening import process_for
from common.collaboration.settings import Codec
from common.collaboration.timing import Every
from common.errors import CollaborationError, InvalidFrameError, ModelMismatchError
from common.models.registry import LanguageModel
from common.processes.masked.settings import Order
from common.processes.masked.state import MaskedState
from common.text.templates import ChatTemplate, Message, PlainText, Speaker, asked
from common.wire.frames import Step
from david_client.asking import David
from david_client.checks import check_step
from david_client.embedded import ask_embedded
from david_client.reply import Draft, Reply
from tests.certificates import issued
from tests.programs import Pair, address_of, serve
from tests.serving import Asked, beside, question, quiet, serving
from tests.tiny_masked import save_tiny_masked, tiny_masked

GOLIATH, DAVID = tiny_masked(seed=1), tiny_masked(seed=2)
CONTEXT = "heat the <|end|> bread until it is hot"
MODES: dict[str, dict[str, Any]] = {
    **{order.value: {"order": order, "threshold": 0.05} for order in Order},
    "sampling": {"temperature": 0.8, "context": CONTEXT},
    "alone": {"weight": 0.0},
    "david": {"weight": 1.0},
    "dense": {"codec": Codec.DENSE},
    "contrast": {"context": CONTEXT, "contrast": 0.7},
    "lag": {"lag": 2, "order": Order.RANDOM},
    "every": {"every": Every(1, 2, 1)},
    "suffix": {"suffix": "serve with bread."},
}


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    names = {"tls": ("server", "127.0.0.1"), "client_tls": ("client", "david.example")}
    return {side: issued(folder, name, authority, host) for side, (name, host) in names.items()}


def asked_of(model: LanguageModel = DAVID, **requested: Any) -> Asked:
    asking = question(**{"steps": 5, "max_tokens": 20, "weight": 0.5} | requested)
    own = asking.david
    david = David(model, context=own.context, contrast=own.contrast, **own.requested.values)
    return replace(asking, david=david)


def here(asking: Asked, drafts: Any = quiet) -> Reply:
    return beside(ask_embedded(asking.question, [asking.david], GOLIATH, on_draft=drafts))


@pytest.mark.parametrize("mode", MODES)
async def test_networked_equals_embedded(mode: str, tls: dict[str, Any]) -> None:
    asked_for = asked_of(**MODES[mode])
    async with serving(model=GOLIATH, **tls) as served:
        over = await served.ask(asked_for)
    expected = here(asked_for)
    assert over.ids == expected.ids
    assert over.decided == expected.decided
    assert over.finish_reason == expected.finish_reason
    assert (over.steps_run, over.david_steps) == (expected.steps_run, expected.david_steps)
    assert over.settings == expected.settings


async def test_drafts_with_their_guesses_are_those_of_the_embedded_run(tls: dict[str, Any]) -> None:
    asked_for = asked_of()
    over: list[Draft] = []
    embedded: list[Draft] = []
    async with serving(model=GOLIATH, **tls) as served:
        await served.ask(asked_for, on_draft=over.append)
    here(asked_for, embedded.append)
    assert [(one.block, one.step, one.t) for one in over] == [
        (one.block, one.step, one.t) for one in embedded
    ]
    for a, b in zip(over, embedded, strict=True):
        assert (a.estimate is None) == (b.estimate is None) == (a.step == 0)
        assert a.estimate is None or np.array_equal(a.estimate, b.estimate)


async def test_a_conversation_with_roles_and_another_template(tls: dict[str, Any]) -> None:
    said = (
        Message(Speaker.SYSTEM, "be brief"),
        Message(Speaker.USER, "how do i make soup?"),
        Message(Speaker.ASSISTANT, "stir <|end|> it"),
        Message(Speaker.USER, "and bread?"),
    )
    plain = replace(DAVID, template=PlainText(DAVID.vocabulary))

    def conversation(model: LanguageModel) -> Asked:
        asking = asked_of(model, steps=4)
        return replace(asking, question=replace(asking.question, messages=said))

    asked_for = conversation(DAVID)
    async with serving(model=GOLIATH, **tls) as served:
        assert (await served.ask(asked_for)).ids == here(asked_for).ids
        other = await served.ask(conversation(plain))
        assert other.steps_run == 8


async def test_a_prompt_that_leaves_out_a_message_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = (*asked("how do i make soup?"), *asked("and bread?"))
    own = ChatTemplate.ids
    monkeypatch.setattr(ChatTemplate, "ids", lambda self, messages: own(self, messages[1:]))
    plain = replace(DAVID, template=PlainText(DAVID.vocabulary))
    async with serving(model=GOLIATH) as served:
        asking = asked_of(plain, weight=0.0)
        asking = replace(asking, question=replace(asking.question, messages=said))
        with pytest.raises(ModelMismatchError, match="prompt"):
            await served.ask(asking)


async def test_certify_is_refused_with_its_reason() -> None:
    async with serving(model=GOLIATH) as served:
        with pytest.raises(CollaborationError, match="certify"):
            await served.ask(asked_of(certify=True))


def test_a_state_that_takes_a_token_back_is_refused() -> None:
    settings = asked_of().question.settings(default_settings(GOLIATH))
    process = process_for(GOLIATH.predictor.process, settings, (), GOLIATH.vocabulary.ends)
    none = np.full(12, -1)

    def step(number: int, *settled: int) -> Step:
        ids = none.copy()
        ids[: len(settled)] = settled
        return Step(0, number, MaskedState(0, number, ids, none, np.zeros(12, np.uint8)))

    check_step(step(2, 50, 51), step(1, 50), process, GOLIATH.vocabulary)
    for wrong in (step(2, 51, 50), step(2, 50), step(2)):
        with pytest.raises(InvalidFrameError, match="settled"):
            check_step(wrong, step(1, 50), process, GOLIATH.vocabulary)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("own_settings")
def test_programs_with_folders_and_a_trace(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair(
        save_tiny_masked(tmp_path / "big", seed=1), save_tiny_masked(tmp_path / "small", seed=2)
    )
    asking = ("ask", "how do i make soup?", "--model", pair.david, "--steps", 4, "--seed", 5)
    trace = tmp_path / "answer.jsonl"
    with serve(pair) as server:
        place = ("--goliath", address_of(server), "--insecure", "--json", "--trace", trace)
        over = run("david", *asking, *place)
    assert over.code == 0, over.err
    monkeypatch.setenv("DAVID_GOLIATH_MODEL", str(pair.goliath))
    alone = run("david", *asking, "--json")
    assert alone.code == 0, alone.err
    assert json.loads(over.out)["tokens"] == json.loads(alone.out)["tokens"]
    shown = run("david", "show", trace)
    assert shown.code == 0, shown.err
    assert shown.out.strip()
