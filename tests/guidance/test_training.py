"""Guides are trained on real examples, and refused data leaves nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from common.errors import (
    BadDataError,
    UsageError,
)
from common.guidance.classifier import SimplexClassifier
from common.guidance.run import GuideRun, train_guide
from common.guidance.texts import SHORTEST, Text, blocks_of, read_texts
from common.guidance.training import GuideTraining
from common.models import registry
from tests.guidance.trained_guides import SETTINGS, Trained, write_texts
from tests.serving import VOCABULARY


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
