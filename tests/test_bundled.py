"""The bundled pair: small, readable by anyone, the same over the wire, and worth pairing."""

import asyncio
import itertools
import json

import pytest

from common import David, Goliath, collaborate
from common.collaboration.settings import Codec
from common.evaluation.pair import Pair, evaluate_pair
from common.evaluation.questions import read_questions
from common.models import registry
from common.training.corpora import split_of
from tests.serving import serving

HELD_OUT = registry.BUNDLED / "heldout-recipes.jsonl"
NAMES = (registry.DEFAULT_GOLIATH, registry.DEFAULT_DAVID)


@pytest.fixture(scope="module")
def pair():
    return [registry.open_model(name) for name in NAMES]


def beside_embeddings(model):
    """Parameters that do not grow with the vocabulary."""
    predictor = model.predictor
    sizes = (p for p in predictor.network.parameters() if predictor.vocabulary_size not in p.shape)
    return sum(p.numel() for p in sizes)


def test_names_find_the_bundled_models():
    assert [registry.find(name).origin for name in NAMES] == ["bundled", "bundled"]


def test_size_on_disk():
    files = [f for name in NAMES for f in registry.find(name).folder.iterdir()]
    assert sum(f.stat().st_size for f in files) < 40_000_000


def test_david_is_about_a_tenth_of_goliath(pair):
    goliath, david = pair
    assert beside_embeddings(david) <= beside_embeddings(goliath) / 9


@pytest.mark.parametrize("name", NAMES)
def test_each_model_has_card_licence_and_history(name):
    folder = registry.find(name).folder
    card = (folder / "README.md").read_text(encoding="utf-8")
    for word in ("CC BY-SA 4.0", "held out", "survive"):
        assert word in card
    assert "CC BY-SA 4.0" in (folder / "LICENSE").read_text(encoding="utf-8")
    history = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert history["seconds"] > 0
    assert history["curves"]


def test_both_speak_one_vocabulary_and_process(pair):
    goliath, david = (model.predictor.config for model in pair)
    for key in (
        "tokenizer_sha256",
        "simplex_value",
        "schedule",
        "form",
        "template",
        "block_length",
    ):
        assert getattr(goliath, key) == getattr(david, key)


def test_the_loss_curve_falls_with_the_noise(pair):
    for model in pair:
        curve = model.predictor.config.loss_curve
        assert curve[0][1] < 0.3
        assert curve[-1][1] > 4
        assert [loss for _, loss in curve] == sorted(loss for _, loss in curve)


def test_held_out_recipes_are_held_out():
    rows = [json.loads(line) for line in HELD_OUT.read_text(encoding="utf-8").splitlines()]
    assert len(rows) > 250
    assert {split_of(row["title"]) for row in rows} == {"test"}


@pytest.mark.timeout(300)
def test_david_helps_goliath_on_a_sample_of_held_out_recipes(pair):
    goliath, david = pair
    questions = read_questions(HELD_OUT, limit=8)
    both = Pair(goliath.predictor.network, david.predictor.network, david.vocabulary)
    report = evaluate_pair(both, questions, weights=(0.75,))
    assert report["best"] < 0.65 * report["goliath"]
    # On recipes the little David knows nearly all that the pair does, but not all.
    assert report["best"] < report["david"] < 1.1 * report["best"]


PROMPTS = (
    "How do I make pancakes?",
    "What is Paris?",
    "How do I make lentil soup?",
    "Tell me about whales.",
    "What do I need to make bread?",
)
WAYS = [
    {"weight": weight, "codec": codec, "temperature": temperature}
    for weight, codec, temperature in itertools.product((0.5, 0.75), (Codec.TOPK,), (0.0, 0.75))
]
ASKED = [
    (prompt, WAYS[number % len(WAYS)] | {"steps": 8, "max_tokens": 64 if number % 3 else 128})
    for number, prompt in enumerate(PROMPTS * 2)
]


async def test_ten_networked_answers_are_the_embedded_ones(pair):
    goliath, small = pair
    async with serving(model=goliath) as served:
        with Goliath(goliath) as here, Goliath.connect(served.address, insecure=True) as there:
            for seed, (prompt, how) in enumerate(ASKED):
                settings = dict(how)
                david = David(small, weight=settings.pop("weight"), codec=settings.pop("codec"))
                over, alone = [
                    await asyncio.to_thread(
                        collaborate, one, [david], prompt, seed=seed, **settings
                    )
                    for one in (there, here)
                ]
                assert over.ids == alone.ids
                assert over.bytes_up > over.bytes_down > 0
