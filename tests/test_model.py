import itertools
import json

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from common.denoising.loop import Predict
from common.errors import BadModelError, VocabularyMismatchError
from common.models import registry
from common.models.simplex_lm import predict
from common.models.simplex_network import SimplexDiffusionConfig, SimplexDiffusionLM
from common.processes.simplex import conditioning
from common.processes.simplex.state import Bag, SimplexState
from tests.tiny import save_tiny, tiny_model, tiny_vocabulary

CPU = torch.device("cpu")
NONE = np.empty(0, np.int64)


@pytest.fixture(scope="module")
def model():
    return tiny_model(tiny_vocabulary(), seed=0)


def random_bag(rows: int, positions: int, width: int, size: int, seed: int = 0) -> Bag:
    generator = torch.Generator().manual_seed(seed)
    mass = torch.rand(rows, positions, width + 1, generator=generator)
    mass = mass / mass.sum(-1, keepdim=True)
    ids = torch.randint(size, (rows, positions, width), generator=generator)
    return Bag(ids, mass[..., :-1], mass[..., -1])


def dense_of(bag: Bag, size: int) -> torch.Tensor:
    rows = torch.zeros(*bag.rest.shape, size)
    return rows.scatter_add(-1, bag.ids, bag.weights) + bag.rest.unsqueeze(-1) / size


def inputs(
    model, *, rows: int = 2, prompt: int = 5, suffix: int = 3, block: int = 4, seed: int = 0
):
    size = model.config.vocab_size
    generator = torch.Generator().manual_seed(seed)
    return {
        "input_ids": torch.randint(16, size, (rows, prompt + block + suffix), generator=generator),
        "block_start": torch.full((rows,), prompt),
        "simplex": random_bag(rows, block, 6, size, seed),
        "t": torch.linspace(0.2, 1, rows, dtype=torch.float64),
        "condition": random_bag(rows, block, 3, size, seed + 1),
    }


def request(seed: int, *, prompt: int, suffix: int = 0, step: int = 1, block: int = 16) -> Predict:
    rng = np.random.default_rng(seed)
    state = SimplexState(seed, 0, step, 0.4, rng.integers(16, 100, (block, 1)))
    condition = conditioning.from_estimate(torch.from_numpy(state.estimate).unsqueeze(0))
    ids = tuple(rng.integers(16, 100, prompt).tolist())
    after = tuple(rng.integers(16, 100, suffix).tolist())
    return Predict(state, ids, after, condition if seed % 2 else None, NONE, NONE)


def spy_on_embeddings(model, **given) -> torch.Tensor:
    """What the encoder is given."""
    seen = []
    handle = model.encoder.register_forward_pre_hook(
        lambda _module, _args, kwargs: seen.append(kwargs["inputs_embeds"].detach().clone()),
        with_kwargs=True,
    )
    try:
        with torch.no_grad():
            model(**given)
    finally:
        handle.remove()
    return seen[0]


# Input


def test_dense_and_bag_embed_alike(model):
    bag = random_bag(2, 3, 7, model.config.vocab_size)
    dense = dense_of(bag, model.config.vocab_size)
    torch.testing.assert_close(model.embed(bag), model.embed(dense), atol=1e-5, rtol=1e-5)


def test_dense_and_bag_give_the_same_logits(model):
    given = inputs(model)
    other = given | {"simplex": dense_of(given["simplex"], model.config.vocab_size)}
    with torch.no_grad():
        a, b = model(**given).logits, model(**other).logits
    torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-4)


def test_the_mean_embedding_follows_the_table():
    model = tiny_model(tiny_vocabulary(), seed=3)
    rest = Bag(torch.zeros(1, 1, 1, dtype=torch.int64), torch.zeros(1, 1, 1), torch.ones(1, 1))
    before = model.embed(rest)
    with torch.no_grad():
        model.get_input_embeddings().weight.add_(1.0)
    torch.testing.assert_close(model.embed(rest), before + 1)


def test_time_shows_at_block_positions_only(model):
    given = inputs(model, rows=1)
    early = spy_on_embeddings(model, **given)
    model.time_map[2].weight.data.normal_(generator=torch.Generator().manual_seed(1))
    try:
        late = spy_on_embeddings(model, **(given | {"t": given["t"] / 3}))
    finally:
        model.time_map[2].weight.data.zero_()
    assert torch.equal(early[:, :5], late[:, :5])
    assert torch.equal(early[:, 9:], late[:, 9:])
    assert (early[:, 5:9] != late[:, 5:9]).any(-1).all()


def test_text_around_the_block_is_read_as_it_is(model):
    given = inputs(model)
    seen = spy_on_embeddings(model, **given)
    table = model.get_input_embeddings().weight
    assert torch.equal(seen[:, :5], table[given["input_ids"][:, :5]])
    assert torch.equal(seen[:, 9:], table[given["input_ids"][:, 9:]])


def test_ids_at_block_positions_are_not_read(model):
    given = inputs(model)
    other = given["input_ids"].clone()
    other[:, 5:9] = 4
    with torch.no_grad():
        assert torch.equal(model(**given).logits, model(**(given | {"input_ids": other})).logits)


@pytest.mark.parametrize("part", ["simplex", "condition", "t", "input_ids"])
def test_logits_depend_on_every_input(part):
    model = tiny_model(tiny_vocabulary(), seed=0)
    model.time_map[2].weight.data.normal_(generator=torch.Generator().manual_seed(1))
    given, other = inputs(model, rows=1), inputs(model, rows=1, seed=9)
    other["t"] = torch.tensor([0.7], dtype=torch.float64)
    with torch.no_grad():
        a, b = model(**given).logits, model(**(given | {part: other[part]})).logits
    assert not torch.allclose(a, b)


# Batches


def test_padding_and_batching_change_nothing(model):
    requests = [
        request(1, prompt=5),
        request(2, prompt=40, suffix=6),
        request(3, prompt=17, step=0),
        request(4, prompt=5, suffix=1),
    ]
    together = predict(model, requests)
    for i, one in enumerate(requests):
        torch.testing.assert_close(together[i], predict(model, [one])[0], atol=1e-3, rtol=1e-4)


def test_a_pass_repeats_bit_for_bit(model):
    one = request(1, prompt=5)
    assert torch.equal(predict(model, [one]), predict(model, [one]))


def test_chosen_positions_equal_all_logits(model):
    given = inputs(model)
    chosen = torch.tensor([[True, False, False, True], [False, True, True, True]])
    with torch.no_grad():
        full = model(**given).logits
        part = model(**given, positions=chosen).logits
    assert full.shape == (2, 4, model.config.vocab_size)
    assert full.dtype == torch.float32
    torch.testing.assert_close(part, full[chosen], atol=1e-4, rtol=1e-5)


def test_rows_have_their_own_block_start(model):
    a, b = inputs(model, rows=1, prompt=2, suffix=6), inputs(model, rows=1, prompt=7, suffix=1)
    both = {
        "input_ids": torch.cat((a["input_ids"], b["input_ids"])),
        "block_start": torch.cat((a["block_start"], b["block_start"])),
        "simplex": a["simplex"],
        "condition": a["condition"],
        "t": a["t"],
    }
    for name in ("simplex", "condition"):
        both[name] = conditioning.stack([a[name], b[name]])
    both["t"] = torch.cat((a["t"], b["t"]))
    with torch.no_grad():
        together = model(**both).logits
        for i, one in enumerate((a, b)):
            torch.testing.assert_close(together[i], model(**one).logits[0], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("seed", [1, 2])
def test_conditions_follow_the_model_to_its_device(seed):
    """States and estimates are made on the host; the model may lie elsewhere."""
    elsewhere = tiny_model(tiny_vocabulary(), seed=0).to("meta")
    logits = predict(elsewhere, [request(seed, prompt=5)])
    assert logits.device.type == "meta"
    assert logits.shape == (1, 16, elsewhere.config.vocab_size)


# Gradients


def test_no_gradient_through_the_noise_but_to_the_maps(model):
    model.zero_grad()
    given = inputs(model)
    given["input_ids"] = torch.full_like(given["input_ids"], 20)
    # Ids 100 and up stand in the simplex only.
    simplex = given["simplex"]
    given["simplex"] = Bag(simplex.ids % 30 + 100, simplex.weights, simplex.rest)
    given["condition"] = conditioning.from_estimate(torch.full((2, 4, 1), 130))
    model.embed(given["simplex"])
    hidden = model(**given).logits[..., 20].sum()
    hidden.backward()
    table = model.get_input_embeddings().weight.grad
    assert (table[100:] == 0).all()
    assert (table[20] != 0).any()
    for module in (model.state_map, model.condition_map, model.time_map[2]):
        assert (module.weight.grad != 0).any()
    model.zero_grad()


# Files


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
    assert config.fingerprint == tiny_vocabulary().fingerprint.hex()
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


# Backbones

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
