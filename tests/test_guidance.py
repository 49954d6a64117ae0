"""Guides: the gradient, their training on real examples, what they do to answers, and who may ask
for one.
"""

import functools
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from common.collaboration.plan import plan_for
from safetensors.torch import load_file, save_file

from common.collaboration.compatibility import config_of, default_settings
from common.collaboration.fusion import fuse
from common.denoising.loop import Predict, denoise
from common.errors import (
    BadDataError,
    BadModelError,
    ExitCode,
    UsageError,
    VocabularyMismatchError,
)
from common.guidance.choice import DEFAULT_STRENGTH, GuideChoice, guide_choice
from common.guidance.classifier import SimplexClassifier
from common.guidance.guide import Guide, guided, label_gradient
from common.guidance.loading import load_guide
from common.guidance.run import GuideRun, TrainedGuide, train_guide
from common.guidance.texts import SHORTEST, Text, blocks_of, read_texts
from common.guidance.training import GuideTraining
from common.models import registry
from common.models.simplex_lm import predict
from common.processes.simplex.state import Bag
from common.program.config import load as load_settings
from common.wire.frames import Limits
from david_client.settings import DavidSettings
from goliath_server.server import host_of, load_served
from goliath_server.settings import GoliathSettings
from tests.serving import GOLIATH, VOCABULARY, embedded, question, serving
from tests.tiny import WORDS, save_tiny, tiny_model

SWEET = ("cake", "sugar", "butter", "flour", "egg", "bake", "oven")
SAVOURY = ("soup", "salt", "oil", "pot", "stir", "water", "heat")
NEUTRAL = (*(w for w in WORDS if w.isalpha() and w not in SWEET + SAVOURY), *"0123456789.,!?'-")
"""With two-letter words these are all other pieces, so that no guide has a whim about any."""
SETTINGS = GuideTraining(steps=60, batch_size=16, learning_rate=5e-3)


def write_texts(path: Path, *, seed: int, count: int) -> Path:
    """Texts that repeat a few neutral pieces and one or two words that are sweet or savoury."""
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(count):
        label, special = (("sweet", SWEET), ("savoury", SAVOURY))[i % 2]
        letters = ["".join(pair) for pair in rng.choice([*"abcdefghijklmnopqrstuvwxyz"], (3, 2))]
        neutral = [*rng.choice(NEUTRAL, 3), *letters]
        share, special = rng.uniform(0.1, 0.5), rng.choice(special, 2)
        words = [str(rng.choice(special if rng.random() < share else neutral)) for _ in range(16)]
        lines.append(json.dumps({"text": " ".join([*words, str(special[0])]), "label": label}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def save_start(folder: Path, *, seed: int) -> Path:
    """A random model in whose table words of a kind lie together, as after training."""
    save_tiny(folder, seed=seed)
    model, vocabulary = registry.load(str(folder))
    generator = torch.Generator().manual_seed(seed)
    for words in (SWEET, SAVOURY):
        kind = torch.randn(model.config.backbone.hidden_size, generator=generator)
        ids = vocabulary.encode(" ".join(words)).ids
        model.get_input_embeddings().weight.data[list(ids)] += 0.3 * kind
    model.save_pretrained(folder)
    return folder


class Trained:
    """A guide, and a judge that shares neither its start, its data nor its seed."""

    def __init__(self, root: Path) -> None:
        self.held_out = write_texts(root / "held-out.jsonl", seed=9, count=100)
        self.start = save_start(root / "start", seed=5)
        self.data = write_texts(root / "data.jsonl", seed=3, count=200)
        other, texts = save_start(root / "other", seed=6), root / "other.jsonl"
        write_texts(texts, seed=4, count=200)
        self.guide = self._train(root / "guide", self.data, self.start, seed=0)
        self.judge = self._train(root / "judge", texts, other, seed=1)

    def _train(self, out: Path, data: Path, start: Path, *, seed: int) -> TrainedGuide:
        run = GuideRun(data, self.held_out, str(start), out)
        return train_guide(run, replace(SETTINGS, seed=seed))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("guides"))


@pytest.fixture(scope="module")
def classifier(trained: Trained) -> SimplexClassifier:
    return registry.load_as(SimplexClassifier, str(trained.guide.folder))[0]


@pytest.fixture(scope="module")
def judge(trained: Trained) -> SimplexClassifier:
    return registry.load_as(SimplexClassifier, str(trained.judge.folder))[0]


def generate(seed: int, guide: Guide | None, *, steps: int = 8) -> np.ndarray:
    """The ids of Goliath's answer, alone."""
    terms = replace(default_settings(config_of(GOLIATH)), steps=steps, seed=seed, temperature=1.0)
    predictor = guided(functools.partial(predict, GOLIATH), guide)
    loop = denoise(plan_for(config_of(GOLIATH), VOCABULARY, terms, prompt="what is hot"), fuse)
    request: Any = next(loop)
    try:
        while True:
            request = loop.send(predictor([request]) if isinstance(request, Predict) else [])
    except StopIteration as done:
        return done.value.ids


def towards(classifier: SimplexClassifier, label: int, strength: float = DEFAULT_STRENGTH) -> Guide:
    return Guide(classifier, GuideChoice("guide", classifier.config.labels[label], strength))


def requests(count: int) -> list[Predict]:
    """First steps of answers with different seeds."""
    found = []
    for seed in range(count):
        terms = replace(default_settings(config_of(GOLIATH)), seed=seed)
        plan = plan_for(config_of(GOLIATH), VOCABULARY, terms, prompt="what is hot")
        found.append(next(denoise(plan, fuse)))
    return found


@torch.inference_mode()
def log_probability(model: SimplexClassifier, ids: Sequence[int], label: int) -> float:
    row = (*ids, *(VOCABULARY.end,) * 16)[:16]
    return float(model(torch.tensor([row])).logits.log_softmax(-1)[0, label])


# --- training ---


def test_held_out_accuracy_is_far_above_chance(trained: Trained) -> None:
    for done in (trained.guide, trained.judge):
        assert done.labels == ("savoury", "sweet")
        assert done.accuracy[0.0] > 0.95
        assert min(done.accuracy.values()) > 0.75  # also of what every position believes alike


def test_a_guide_folder_tells_how_it_was_made(trained: Trained) -> None:
    folder = trained.guide.folder
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    told = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert told["labels"] == ["savoury", "sweet"]
    assert told["held_out_accuracy"] > 0.9 > told["chance"] == 0.5
    assert told["held_out_texts"] == 100
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "simplex_classifier"
    assert config["id2label"] == {"0": "savoury", "1": "sweet"}


def test_the_auto_classes_know_guides(trained: Trained, classifier: SimplexClassifier) -> None:
    from transformers import AutoModelForSequenceClassification

    loaded = AutoModelForSequenceClassification.from_pretrained(trained.guide.folder)
    ids = torch.arange(16).unsqueeze(0)
    with torch.inference_mode():
        assert torch.equal(loaded.eval()(ids).logits, classifier(ids).logits)


def test_training_is_the_same_for_the_same_seed(trained: Trained, tmp_path: Path) -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        out = tmp_path / f"{seed}-{len(list(tmp_path.iterdir()))}"
        run = GuideRun(trained.data, trained.held_out, str(trained.start), out)
        train_guide(run, GuideTraining(steps=2, batch_size=4, seed=seed))
        return registry.load_as(SimplexClassifier, str(out))[0].state_dict()

    first, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_the_embeddings_stay(trained: Trained, classifier: SimplexClassifier) -> None:
    start = registry.load(str(trained.start))[0]
    assert torch.equal(
        classifier.get_input_embeddings().weight, start.get_input_embeddings().weight
    )
    head = classifier.encoder.state_dict()["encoder.layer.0.output.dense.weight"]
    assert not torch.equal(head, start.encoder.state_dict()["encoder.layer.0.output.dense.weight"])


def test_an_interrupt_leaves_nothing(trained: Trained, tmp_path: Path) -> None:
    def interrupt(step: int, _loss: float) -> None:
        if step == 2:
            raise KeyboardInterrupt

    run = GuideRun(trained.data, trained.held_out, str(trained.start), tmp_path / "guide")
    with pytest.raises(KeyboardInterrupt):
        train_guide(run, SETTINGS, report=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_an_older_guide_is_not_overwritten(trained: Trained) -> None:
    run = GuideRun(trained.data, trained.held_out, str(trained.start), trained.guide.folder)
    with pytest.raises(UsageError, match="there already"):
        train_guide(run, SETTINGS)
    assert (trained.guide.folder / "config.json").is_file()


GOOD = '{"text": "cake", "label": "sweet"}\n{"text": "soup", "label": "savoury"}\n'


@pytest.mark.parametrize(
    ("data", "held_out", "says"),
    [
        ("", GOOD, "no texts"),
        ("{", GOOD, "JSON"),
        ('["text", "label"]', GOOD, ":1: expected"),
        ('{"text": "cake"}', GOOD, ":1: expected"),
        ('{"text": "cake", "label": 1}', GOOD, ":1: expected"),
        ('{"text": " ", "label": "sweet"}', GOOD, ":1: expected"),
        ('{"text": "cake", "label": "sweet"}', GOOD, "two labels"),
        (GOOD, '{"text": "cake", "label": "bitter"}', "'bitter'"),
    ],
)
def test_data_that_cannot_be_used(
    trained: Trained, tmp_path: Path, data: str, held_out: str, says: str
) -> None:
    (tmp_path / "data.jsonl").write_text(data, encoding="utf-8")
    (tmp_path / "held-out.jsonl").write_text(held_out, encoding="utf-8")
    run = GuideRun(
        tmp_path / "data.jsonl", tmp_path / "held-out.jsonl", str(trained.start), tmp_path / "out"
    )
    with pytest.raises(BadDataError, match=says):
        train_guide(run, SETTINGS)
    assert not (tmp_path / "out").exists()


def test_blocks_are_windows_that_end_like_answers(tmp_path: Path) -> None:
    path = write_texts(tmp_path / "texts.jsonl", seed=0, count=4)
    texts = read_texts(path, VOCABULARY)
    whole = blocks_of(texts, VOCABULARY, length=32)
    assert whole.shape == (4, 32)
    assert whole[0, : len(texts[0].ids)].tolist() == list(texts[0].ids)
    assert set(whole[0, len(texts[0].ids) :].tolist()) == {VOCABULARY.end}
    many = [Text(tuple(range(20, 60)), "sweet")] * 200
    seen = blocks_of(many, VOCABULARY, length=16, rng=np.random.default_rng(0))
    lengths = (seen != VOCABULARY.end).sum(1)
    assert SHORTEST <= int(lengths.min()) < 16 == int(lengths.max())
    assert len(seen[:, 0].unique()) > 20
    inside = (seen[:, 1:] == seen[:, :-1] + 1) | (seen[:, 1:] == VOCABULARY.end)
    assert bool(inside.all())


# --- the classifier and its gradient ---


def test_tokens_and_sure_distributions_are_one_input(classifier: SimplexClassifier) -> None:
    ids = torch.randint(0, VOCABULARY.size, (3, 16), generator=torch.Generator().manual_seed(0))
    sure = torch.nn.functional.one_hot(ids, VOCABULARY.size).float()
    bag = Bag(ids.unsqueeze(-1), torch.ones(3, 16, 1), torch.zeros(3, 16))
    with torch.inference_mode():
        expected = classifier(ids).logits
        torch.testing.assert_close(classifier(sure).logits, expected)
        torch.testing.assert_close(classifier(bag).logits, expected)


def test_the_rest_of_a_bag_is_spread_by_the_prior(classifier: SimplexClassifier) -> None:
    nothing = Bag(
        torch.zeros(1, 16, 1, dtype=torch.int64), torch.zeros(1, 16, 1), torch.ones(1, 16)
    )
    prior = classifier.log_prior.exp().expand(1, 16, -1)
    with torch.inference_mode():
        torch.testing.assert_close(classifier(nothing).logits, classifier(prior).logits)


def test_the_gradient_is_that_of_finite_differences(classifier: SimplexClassifier) -> None:
    exact = SimplexClassifier(classifier.config).double().eval()
    exact.load_state_dict(classifier.state_dict())
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 16, VOCABULARY.size, generator=generator, dtype=torch.float64)
    gradient = label_gradient(exact, logits, 1)

    @torch.inference_mode()
    def score(shifted: torch.Tensor) -> torch.Tensor:
        # The classifier's answer is rounded to fp32; its head is not.
        hidden = exact.encoder(inputs_embeds=exact.embed(shifted.softmax(-1))).last_hidden_state
        return exact.head(hidden.mean(1)).log_softmax(-1)[:, 1]

    likely = logits.flatten().topk(40).indices
    for place in likely[torch.randperm(40, generator=generator)[:12]]:
        shift = torch.zeros_like(logits)
        shift.view(-1)[place] = 1e-4
        difference = (score(logits + shift) - score(logits - shift)) / 2e-4
        row = place // logits[0].numel()
        torch.testing.assert_close(difference[row], gradient.view(-1)[place], rtol=1e-3, atol=1e-7)
        assert difference[1 - row] == 0


def test_a_step_along_the_gradient_raises_the_label(classifier: SimplexClassifier) -> None:
    logits = predict(GOLIATH, requests(4))
    for label in (0, 1):
        pushed = logits + label_gradient(classifier, logits, label)
        with torch.inference_mode():
            before = classifier(logits.softmax(-1)).logits.log_softmax(-1)[:, label]
            after = classifier(pushed.softmax(-1)).logits.log_softmax(-1)[:, label]
        assert bool((after > before).all())


def test_the_push_does_not_depend_on_the_batch(classifier: SimplexClassifier) -> None:
    logits = predict(GOLIATH, requests(3))
    together = label_gradient(classifier, logits, 0)
    for row in range(3):
        alone = label_gradient(classifier, logits[row : row + 1], 0)
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-8)


def test_logits_of_inference_mode_are_pushed_and_left_alone(classifier: SimplexClassifier) -> None:
    with torch.inference_mode():
        logits = predict(GOLIATH, requests(1))
        before = logits.clone()
        pushed = guided(lambda _: logits, towards(classifier, 0, 100.0))(requests(1))
        assert torch.equal(logits, before)
    assert pushed.shape == logits.shape
    assert not pushed.requires_grad
    assert not torch.equal(pushed, logits)
    assert all(p.grad is None for p in classifier.parameters())


def test_strength_0_is_the_predictor_itself(classifier: SimplexClassifier) -> None:
    predictor = functools.partial(predict, GOLIATH)
    assert guided(predictor, None) is predictor
    assert guided(predictor, towards(classifier, 0, 0.0)) is predictor


# --- what it does to answers ---


def test_answers_are_steered_in_the_eyes_of_another(
    classifier: SimplexClassifier, judge: SimplexClassifier
) -> None:
    seeds = range(5)
    free, turned = [generate(seed, None) for seed in seeds], 0
    for label in (0, 1):
        steered = [generate(seed, towards(classifier, label)) for seed in seeds]
        for model in (classifier, judge):
            before = [log_probability(model, ids, label) for ids in free]
            after = [log_probability(model, ids, label) for ids in steered]
            assert np.mean(after) > np.mean(before)
            assert np.exp(np.mean(after)) > 0.9
            unsure = [(a, b) for a, b in zip(after, before, strict=True) if np.exp(b) < 0.9]
            assert all(a > b for a, b in unsure)
            turned += len(unsure)
    assert turned >= 6


def test_a_stronger_guide_is_surer(classifier: SimplexClassifier) -> None:
    weak, strong = (towards(classifier, 0, strength) for strength in (20.0, 500.0))
    reached = [
        np.mean([log_probability(classifier, generate(seed, guide), 0) for seed in range(4)])
        for guide in (None, weak, strong)
    ]
    assert reached == sorted(reached)
    assert reached[0] < reached[2]


async def test_the_network_changes_nothing(classifier: SimplexClassifier) -> None:
    asked = question(weight=0.5, max_tokens=32, temperature=1.0)
    free = embedded(asked)
    guide = towards(classifier, 1)
    here = embedded(asked, guide)
    assert here.tokens != free.tokens
    assert here.record()["guide"] == {"model": "guide", "label": "sweet", "strength": 500.0}
    async with serving(guide=guide) as served:
        over = await served.ask(asked)
    assert over.tokens == here.tokens
    assert over.record()["guide"] is None
    none = towards(classifier, 1, 0.0)
    assert embedded(asked, none).tokens == free.tokens
    async with serving(guide=none) as served:
        assert (await served.ask(asked)).tokens == free.tokens


def test_a_guided_server_says_so() -> None:
    host = host_of("g", GOLIATH, VOCABULARY, Limits())
    for strength, features in ((None, 0), (0.0, 0), (10.0, 1)):
        choice = None if strength is None else GuideChoice("guide", "sweet", strength)
        info = replace(host, guide=choice).info(software_version="test")
        assert info.features.count("guided") == features
        assert not {"guide", "sweet"} & set(info.features)


# --- who may ask for a guide, and for which ---


def test_a_guide_that_fits_is_loaded(trained: Trained) -> None:
    choice = GuideChoice(str(trained.guide.folder), "sweet", 20.0)
    guide = load_guide(choice, GOLIATH, longest_block=64)
    assert (guide.label, guide.choice) == (1, choice)
    assert not guide.classifier.training


def test_an_unknown_label_is_answered_with_those_there_are(trained: Trained) -> None:
    choice = GuideChoice(str(trained.guide.folder), "bitter", 20.0)
    with pytest.raises(UsageError, match="savoury, sweet, got 'bitter'"):
        load_guide(choice, GOLIATH, longest_block=64)


def test_blocks_longer_than_the_guide_reads_are_refused(trained: Trained) -> None:
    choice = GuideChoice(str(trained.guide.folder), "sweet", 20.0)
    with pytest.raises(UsageError, match="256 positions"):
        load_guide(choice, GOLIATH, longest_block=257)


def test_a_guide_of_another_vocabulary_is_refused(trained: Trained) -> None:
    stranger = tiny_model(VOCABULARY, seed=1)
    stranger.config.fingerprint = "00" * 32
    choice = GuideChoice(str(trained.guide.folder), "sweet", 20.0)
    with pytest.raises(VocabularyMismatchError, match="0000000000000000"):
        load_guide(choice, stranger, longest_block=64)


def test_guides_and_language_models_are_not_mistaken(trained: Trained) -> None:
    with pytest.raises(BadModelError, match="--guide"):
        registry.load(str(trained.guide.folder))
    with pytest.raises(BadModelError, match="train-guide"):
        load_guide(GuideChoice(str(trained.start), "sweet", 20.0), GOLIATH, longest_block=64)


def test_a_guide_is_found_by_name(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "user_folder", lambda: trained.guide.folder.parent)
    found = load_guide(GuideChoice("guide", "sweet", 20.0), GOLIATH, longest_block=64)
    assert found.label == 1


def test_damaged_guides_are_refused(
    trained: Trained, classifier: SimplexClassifier, tmp_path: Path
) -> None:
    folder = tmp_path / "guide"
    shutil.copytree(trained.guide.folder, folder)
    weights = load_file(folder / "model.safetensors")
    choice = GuideChoice(str(folder), "sweet", 20.0)
    for name, value in (("head.bias", torch.nan), ("head.weight", None)):
        changed = dict(weights)
        if value is None:
            del changed[name]
        else:
            changed[name] = torch.full_like(weights[name], value)
        save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(BadModelError):
            load_guide(choice, GOLIATH, longest_block=64)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((None, "sweet", None), "--label"),
        ((None, None, 3.0), "--strength"),
        (("guide", None, None), "label"),
    ],
)
def test_options_of_a_guide_need_each_other(given: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        guide_choice(*given)


def test_the_default_strength_is_500() -> None:
    chosen = guide_choice("guide", "sweet", None)
    assert chosen == GuideChoice("guide", "sweet", 500.0)
    assert guide_choice(None, None, None) is None


@pytest.mark.parametrize("kind", [DavidSettings, GoliathSettings])
@pytest.mark.parametrize("strength", [-1, 2001, "nan", "inf"])
def test_strengths_out_of_range_are_refused(kind: Any, strength: object) -> None:
    given = {"guide": "guide", "label": "sweet", "strength": strength}
    with pytest.raises(UsageError, match="strength"):
        load_settings(kind, program="david", given=given)


# --- the commands ---


@pytest.fixture
def asking(run: Any, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Asks a tiny pair in this process."""
    monkeypatch.setenv("DAVID_GOLIATH_MODEL", str(save_tiny(tmp_path / "g", seed=1)))
    usual = ("ask", "what is hot", "--model", trained.start, "--steps", 4, "--seed", 2, "--json")
    return lambda *more: run("david", *usual, *more)


def test_david_trains_a_guide_and_asks_with_it(
    run: Any, asking: Any, trained: Trained, tmp_path: Path
) -> None:
    out = tmp_path / "made"
    data = (trained.data, "--held-out", trained.held_out, "--start", trained.start)
    code, told, _ = run("david", "train-guide", *data, "--out", out, "--steps", 3, "--json")
    assert code == 0
    *steps, done = [json.loads(line) for line in told.splitlines()]
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert (done["type"], done["labels"]) == ("trained", ["savoury", "sweet"])
    assert 0 <= done["held_out_accuracy"] <= 1
    code, told, _ = asking("--guide", out, "--label", "sweet", "--strength", 7)
    assert code == 0
    assert json.loads(told)["guide"] == {"model": str(out), "label": "sweet", "strength": 7.0}


def test_strength_0_changes_no_answer(asking: Any, trained: Trained) -> None:
    guide = ("--weight", 0, "--guide", trained.guide.folder, "--label", "sweet", "--strength")
    tokens = [json.loads(asking(*more)[1])["tokens"] for more in (("--weight", 0), (*guide, 0))]
    assert tokens[0] == tokens[1]
    assert json.loads(asking(*guide, 500)[1])["tokens"] != tokens[0]


def test_asking_wrongly(asking: Any, trained: Trained) -> None:
    guide = ("--guide", trained.guide.folder)
    for more, exit_code, says in (
        (guide, ExitCode.USAGE, "label"),
        (("--label", "sweet"), ExitCode.USAGE, "--guide"),
        ((*guide, "--label", "bitter"), ExitCode.USAGE, "savoury, sweet"),
        ((*guide, "--label", "sweet", "--strength", 1e9), ExitCode.USAGE, "strength"),
        (("--guide", trained.start, "--label", "sweet"), ExitCode.BAD_INPUT, "train-guide"),
    ):
        code, told, why = asking(*more)
        assert (code, told) == (exit_code, "")
        assert says in why


def test_a_guide_belongs_to_who_runs_goliath(asking: Any, trained: Trained) -> None:
    guide = ("--guide", trained.guide.folder, "--label", "sweet")
    code, _, why = asking("--goliath", "127.0.0.1:1", "--insecure", *guide)
    assert code == ExitCode.USAGE
    assert "goliath serve" in why


def test_training_wrongly(run: Any, trained: Trained, tmp_path: Path) -> None:
    data = ("train-guide", trained.data, "--held-out", trained.held_out, "--out", tmp_path / "out")
    for more, exit_code, says in (
        (("--start", tmp_path / "nowhere"), ExitCode.BAD_INPUT, "nowhere"),
        (("--start", trained.guide.folder), ExitCode.BAD_INPUT, "guide"),
        (("--out", trained.guide.folder), ExitCode.USAGE, "there already"),
        (("--out", trained.data / "out"), ExitCode.USAGE, "cannot write"),
        (("--held-out", tmp_path / "none"), ExitCode.BAD_INPUT, "JSONL"),
    ):
        code, told, why = run("david", *data, *("--start", trained.start), *more)
        assert (code, told) == (exit_code, ""), why
        assert says in why
    assert not list(tmp_path.glob("*out*"))


def test_a_server_with_a_guide_is_loaded_and_checked(
    trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_tiny(tmp_path / "g", seed=1)
    guide = {"guide": str(trained.guide.folder), "label": "sweet"}
    settings = GoliathSettings(model=str(folder), device="cpu", **guide)
    with caplog.at_level(logging.INFO):
        predictor, host = load_served(settings)
    assert [r.message for r in caplog.records] == ["guide.chosen"]
    assert "guided" in host.features
    request = requests(1)
    choice = GuideChoice(str(trained.guide.folder), "sweet", 500.0)
    same = guided(
        functools.partial(predict, GOLIATH), load_guide(choice, GOLIATH, longest_block=64)
    )
    assert torch.equal(predictor(request), same(request))
    with pytest.raises(UsageError, match="savoury, sweet"):
        load_served(GoliathSettings(model=str(folder), device="cpu", **guide | {"label": "sour"}))
