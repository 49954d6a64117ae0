"""A small guide, its training data, and answers steered by it."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.collaboration.compatibility import default_settings
from common.collaboration.driver import Drive
from common.collaboration.opening import plan_for
from common.collaboration.settings import Requested, SessionSettings
from common.denoising.loop import denoise
from common.denoising.process import View
from common.denoising.streams import Philox
from common.guidance.choice import DEFAULT_STRENGTH, GuideChoice
from common.guidance.classifier import SimplexClassifier
from common.guidance.guide import Guide, guided
from common.guidance.run import GuideRun, TrainedGuide, train_guide
from common.guidance.training import GuideTraining
from common.models import registry
from common.text.templates import asked
from tests.serving import GOLIATH, VOCABULARY
from tests.tiny import WORDS, save_tiny

SWEET = ("cake", "sugar", "butter", "flour", "egg", "bake", "oven")
SAVOURY = ("soup", "salt", "oil", "pot", "stir", "water", "heat")
NEUTRAL = (*(w for w in WORDS if w.isalpha() and w not in SWEET + SAVOURY), *"0123456789.,!?'-")
"""With two-letter words these are all other pieces, so that no guide has a whim about any."""
MESSAGES = asked("what is hot")
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


def generate(seed: int, guide: Guide | None, *, steps: int = 8) -> np.ndarray:
    """The ids of Goliath's answer, alone."""
    predict = guided(GOLIATH.predictor.predict, guide)

    async def rows(view: View) -> torch.Tensor:
        return predict([view])[0]

    plan = plan_for(GOLIATH, _settings(steps=steps, seed=seed, temperature=1.0), messages=MESSAGES)
    return asyncio.run(Drive(plan, rows, {}, stream=Philox(seed)).run()).ids


def towards(classifier: SimplexClassifier, label: int, strength: float = DEFAULT_STRENGTH) -> Guide:
    return Guide(classifier, GuideChoice("guide", classifier.config.labels[label], strength))


def views(count: int) -> list[View]:
    """First steps of answers with different seeds."""
    found = []
    for seed in range(count):
        plan = plan_for(GOLIATH, _settings(seed=seed), messages=MESSAGES)
        found.append(next(denoise(plan, Philox(seed))).view)
    return found


def _settings(**requested: Any) -> SessionSettings:
    return Requested(requested).session(default_settings(GOLIATH))


@torch.inference_mode()
def log_probability(model: SimplexClassifier, ids: Sequence[int], label: int) -> float:
    row = (*ids, *(VOCABULARY.end,) * 16)[:16]
    return float(model(torch.tensor([row])).logits.log_softmax(-1)[0, label])
