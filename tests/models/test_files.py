"""Models saved and loaded, and files that are refused."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from common.errors import BadModelError, VocabularyMismatchError
from common.models import registry
from common.models.simplex_network import SimplexDiffusionConfig, SimplexDiffusionLM
from tests.models.inputs import inputs, request
from tests.tiny import predict, save_tiny, tiny_vocabulary


def test_save_and_load(tmp_path, model):
    folder = save_tiny(tmp_path / "m", seed=0)
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    loaded, vocabulary = registry.load(str(folder))
    assert not loaded.training
    assert loaded.config.vocab_size == vocabulary.size
    given = inputs(model)
    with torch.no_grad():
        assert torch.equal(loaded(**given).logits, model(**given).logits)


@pytest.mark.parametrize("auto", [AutoModel, AutoModelForMaskedLM])
def test_transformers_auto_classes(tmp_path, auto, model):
    folder = save_tiny(tmp_path / "m", seed=0)
    loaded = auto.from_pretrained(folder).eval()
    assert isinstance(loaded, SimplexDiffusionLM)
    assert isinstance(AutoConfig.from_pretrained(folder), SimplexDiffusionConfig)
    given = inputs(model)
    with torch.no_grad():
        assert torch.equal(loaded(**given).logits, model(**given).logits)


def test_the_config_keeps_what_a_pair_must_agree_on(tmp_path):
    curve = [[0.1, 0.2], [0.5, 3.0], [0.9, 5.0]]
    folder = save_tiny(
        tmp_path / "m",
        seed=0,
        simplex_value=4.0,
        noise_m=3,
        noise_r=2,
        self_conditioning="estimate",
        block_length=12,
        loss_curve=curve,
    )
    config = AutoConfig.from_pretrained(folder)
    assert config.simplex_value == 4.0
    assert (config.form.name, config.form.m, config.form.r) == ("extremes", 3, 2)
    assert config.self_conditioning == "estimate"
    assert config.block_length == 12
    assert config.loss_curve == curve
    assert config.template == "v1"
    assert config.schedule == "cosine"
    assert config.tokenizer_sha256 == tiny_vocabulary().fingerprint.hex()
    assert config.warp.table(5)[0] == 1.0
    assert config.max_positions == 256


def test_half_precision_round_trip(tmp_path):
    folder = save_tiny(tmp_path / "m", seed=0)
    loaded, _ = registry.load(str(folder), dtype="bfloat16")
    rows = predict(loaded, [request(1, prompt=5)])
    assert rows.dtype == torch.float32
    assert torch.isfinite(rows).all()


def test_pickled_weights_are_refused(tmp_path):
    folder = save_tiny(tmp_path / "m", seed=0)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BadModelError, match="pickle"):
        registry.load(str(folder))


def test_truncated_weights_are_refused(tmp_path):
    folder = save_tiny(tmp_path / "m", seed=0)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BadModelError, match="cannot be read"):
        registry.load(str(folder))


def test_foreign_weights_are_refused(tmp_path):
    folder = save_tiny(tmp_path / "m", seed=0)
    config = json.loads((folder / "config.json").read_text())
    config["backbone"]["num_hidden_layers"] = 3
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadModelError, match="do not belong"):
        registry.load(str(folder))


def test_a_foreign_model_type_is_refused(tmp_path):
    folder = save_tiny(tmp_path / "m", seed=0)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(BadModelError, match="'bert'"):
        registry.load(str(folder))


def test_another_tokenizer_is_refused(tmp_path):
    folder = save_tiny(tmp_path / "m", seed=0)
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"soup"', '"stew"'))
    with pytest.raises(VocabularyMismatchError):
        registry.load(str(folder))


def test_an_unknown_self_conditioning_is_refused():
    with pytest.raises(ValueError, match="telepathy"):
        SimplexDiffusionConfig(self_conditioning="telepathy")
