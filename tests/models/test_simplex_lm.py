"""The simplex model: its input, batches and gradients."""

import pytest
import torch

from common.processes.simplex import conditioning
from common.processes.simplex.state import Bag
from tests.models.inputs import dense_of, inputs, random_bag, request, spy_on_embeddings
from tests.tiny import predict, tiny_model, tiny_vocabulary

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
