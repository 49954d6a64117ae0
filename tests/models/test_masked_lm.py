"""Masked language models of transformers: their folders, opened and refused; their positions."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from common.denoising.process import View
from common.denoising.streams import Philox
from common.errors import BadModelError, VocabularyMismatchError
from common.models.masked_lm import MaskedPredictor
from common.models.registry import open_model
from common.processes.masked.process import Masked
from common.processes.masked.settings import MaskedProcess, MaskedSettings
from common.text.templates import ChatTemplate, PlainText, asked
from david_client.asking import David, Question
from david_client.embedded import ask_embedded
from david_client.reply import Reply
from tests.tiny_masked import save_tiny_masked, tiny_masked, tiny_masked_lm


def configured(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_pair_from_folders_answers_as_the_pair_in_memory(tmp_path: Path) -> None:
    folders = [save_tiny_masked(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    opened = [open_model(str(folder)) for folder in folders]

    def answer(goliath: Any, david: Any) -> Reply:
        question, davids = Question(asked("how do i make soup?"), 3), [David(david, context="salt")]
        return asyncio.run(ask_embedded(question, davids, goliath, on_draft=lambda _: None))

    reply = answer(*opened)
    assert reply.ids == answer(tiny_masked(seed=1), tiny_masked(seed=2)).ids
    assert (reply.goliath, reply.counts[0].david, reply.settings.block_length) == ("1", "2", 12)
    assert reply.record()["order"] == "low_confidence"


def test_what_a_folder_says(tmp_path: Path) -> None:
    model = open_model(str(save_tiny_masked(tmp_path, seed=1)))
    predictor = model.predictor
    assert isinstance(model.template, ChatTemplate)
    assert (predictor.block_length, predictor.max_positions) == (12, 128)
    assert (predictor.process, predictor.defaults) == (MaskedProcess(grid=False), MaskedSettings())
    assert predictor.times(7) == ()
    assert predictor.vocabulary_size == model.vocabulary.size
    assert predictor.parameters == sum(p.numel() for p in predictor.network.parameters())
    assert not predictor.network.training


def test_without_a_chat_template_messages_are_plain_text(tmp_path: Path) -> None:
    save_tiny_masked(tmp_path, seed=1, template=None, diffusion_block_length=None)
    model = open_model(str(tmp_path))
    assert isinstance(model.template, PlainText)
    assert model.predictor.block_length == 32


def test_rows_of_padding_are_cut(tmp_path: Path) -> None:
    model = open_model(str(save_tiny_masked(tmp_path, seed=1, vocab_size=400)))
    state = Masked(4, 4).start(0, (), Philox(0))
    (rows,) = model.predictor.predict([View((5, 6), state, np.array([0, 2]))])
    assert rows.shape == (1, 2, model.vocabulary.size)


def test_weights_of_other_heads_do_no_harm_and_missing_ones_are_refused(tmp_path: Path) -> None:
    save_tiny_masked(tmp_path, seed=1)
    path = tmp_path / "model.safetensors"
    weights = load_file(path) | {"cls.seq_relationship.weight": torch.zeros(2, 32)}
    save_file(weights, path, {"format": "pt"})
    open_model(str(tmp_path))
    name = next(name for name in weights if "intermediate" in name)
    save_file({k: v for k, v in weights.items() if k != name}, path, {"format": "pt"})
    with pytest.raises(BadModelError, match="missing keys"):
        open_model(str(tmp_path))


def test_pickles_are_never_read(tmp_path: Path) -> None:
    save_tiny_masked(tmp_path, seed=1)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(BadModelError, match="is a pickle, which is never loaded"):
        open_model(str(tmp_path))


def test_code_of_a_folder_is_never_run(tmp_path: Path) -> None:
    save_tiny_masked(tmp_path, seed=1)
    ran = tmp_path / "ran"
    (tmp_path / "modeling.py").write_text(f"open({str(ran)!r}, 'w')\nclass A: pass\nclass B: pass")
    auto = {"AutoConfig": "modeling.A", "AutoModelForMaskedLM": "modeling.B"}
    configured(tmp_path, auto_map=auto)
    open_model(str(tmp_path))
    configured(tmp_path, model_type="unheard_of")
    with pytest.raises(BadModelError, match="cannot be read"):
        open_model(str(tmp_path))
    assert not ran.exists()


@pytest.mark.parametrize("architectures", [["BertForTokenClassification"], [], None])
def test_other_architectures_are_refused(tmp_path: Path, architectures: list[str] | None) -> None:
    save_tiny_masked(tmp_path, seed=1)
    configured(tmp_path, architectures=architectures)
    with pytest.raises(BadModelError, match="expected a model of type 'simplex_diffusion'"):
        open_model(str(tmp_path))


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path: Path) -> None:
    save_tiny_masked(tmp_path, seed=1, vocab_size=100)
    with pytest.raises(VocabularyMismatchError, match="has 308 ids, its model 100 rows"):
        open_model(str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "positions"), [("bert", 128), ("distilbert", 128), ("roberta", 125)]
)
def test_the_longest_text_is_what_the_positions_allow(kind: str, positions: int) -> None:
    network = tiny_masked_lm(kind, 300, seed=1, pad_token_id=2)
    predictor = MaskedPredictor(network, 1, 300)
    state = Masked(8, 4).start(0, (), Philox(0))
    assert predictor.max_positions == positions
    view = View((5,) * (positions - 8), state, np.arange(8))
    assert predictor.predict([view])[0].isfinite().all()
    with pytest.raises((IndexError, RuntimeError)):
        predictor.predict([View((5,) * (positions - 7), state, np.arange(8))])
