"""Other backbones fit the same class and read both ways."""

import itertools

import pytest
import torch
from transformers import AutoModel

from common.models.simplex_network import SimplexDiffusionConfig, SimplexDiffusionLM
from tests.models.inputs import inputs, request
from tests.tiny import predict, tiny_vocabulary

BACKBONES = {
    "llama": {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
    },
    "gpt2": {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128},
    "roberta": {
        "model_type": "roberta",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 130,
    },
}


@pytest.mark.parametrize("name", BACKBONES)
def test_other_backbones_fit_the_same_class(name, tmp_path):
    size = tiny_vocabulary().size
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = SimplexDiffusionConfig(backbone=BACKBONES[name] | {"vocab_size": size})
        model = SimplexDiffusionLM(config).eval()
    assert config.max_positions >= 128
    rows = predict(model, [request(1, prompt=5, suffix=2), request(2, prompt=8)])
    assert rows.shape == (2, 16, size)
    assert torch.isfinite(rows).all()
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path).eval()
    assert torch.equal(
        predict(again, [request(1, prompt=5)]), predict(model, [request(1, prompt=5)])
    )


@pytest.mark.parametrize("name", BACKBONES)
def test_other_backbones_read_both_ways(name):
    """A decoder would hide the suffix from the block by its causal mask."""
    size = tiny_vocabulary().size
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SimplexDiffusionLM(
            SimplexDiffusionConfig(backbone=BACKBONES[name] | {"vocab_size": size})
        ).eval()
    given = inputs(model, rows=1)
    last = given["input_ids"].shape[1] - 1
    other = given["input_ids"].clone()
    other[0, last] = 16 + (other[0, last] - 15) % 100
    with torch.no_grad():
        plain = model(**given).logits
        moved = model(**(given | {"input_ids": other})).logits
    assert (moved != plain).any(-1).all()


def test_an_unknown_backbone_is_refused():
    with pytest.raises(KeyError, match="abacus"):
        SimplexDiffusionConfig(backbone={"model_type": "abacus"})


def test_every_block_position_sees_the_whole_text(model):
    """The encoder reads both ways: text after the block steers it too."""
    given = inputs(model, rows=1)
    with torch.no_grad():
        plain = model(**given).logits
        for place in itertools.chain(range(5), range(9, 12)):
            other = given["input_ids"].clone()
            other[0, place] = 16 + (other[0, place] - 15) % 100
            moved = model(**(given | {"input_ids": other})).logits
            assert (moved != plain).any(-1).all()
