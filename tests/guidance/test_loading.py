"""Who may ask for a guide, and for which."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from common.errors import (
    BadModelError,
    UsageError,
    VocabularyMismatchError,
)
from common.guidance.choice import GuideChoice, guide_choice
from common.guidance.classifier import SimplexClassifier
from common.guidance.loading import load_guide
from common.models import registry
from common.program.config import load as load_settings
from common.text.wordpiece import TOKENIZER_FILE, WordPieceVocabulary
from david_client.settings import DavidSettings
from goliath_server.settings import GoliathSettings
from tests.guidance.trained_guides import Trained
from tests.serving import GOLIATH, VOCABULARY


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


def test_a_guide_of_another_vocabulary_is_refused(trained: Trained, tmp_path: Path) -> None:
    VOCABULARY.save(tmp_path)
    file = tmp_path / TOKENIZER_FILE
    file.write_text(file.read_text().replace('"soup"', '"stew"'))
    stranger = replace(GOLIATH, vocabulary=WordPieceVocabulary.load(tmp_path))
    choice = GuideChoice(str(trained.guide.folder), "sweet", 20.0)
    with pytest.raises(VocabularyMismatchError, match=stranger.vocabulary.summary.fingerprint):
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
        load_settings(kind, given=given)
