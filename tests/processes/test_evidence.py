"""The reading posterior: what a noisy simplex says about its tokens, against Bayes by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal

from common.denoising.process import View
from common.denoising.streams import Words
from common.processes.simplex import conditioning
from common.processes.simplex.schedule import alpha_bar
from common.processes.simplex.settings import Reading
from common.processes.simplex.state import (
    Evidence,
    NoiseForm,
    SimplexState,
    dense_evidence,
    extremes_evidence,
    model_input,
    separation,
    states_input,
)
from common.training.start import reread
from tests.tiny import predict, tiny_model, tiny_vocabulary, view_at

CPU = torch.device("cpu")
V, K = 400, 5.0


def times(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def normals(rows: int, positions: int, seed: int, size: int = V) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, positions, size, generator=generator, dtype=torch.float64)


def coupled(z: torch.Tensor, token: torch.Tensor, t: torch.Tensor, m: int) -> Evidence:
    """The extremes of the same normals that a dense state has."""
    hot = token.unsqueeze(-1)
    top, ids = z.scatter(-1, hot, -torch.inf).topk(m, dim=-1)
    return extremes_evidence(hot, t, z.gather(-1, hot), top, ids)


@given(t=st.floats(0.05, 1.0), k=st.floats(0.5, 20), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_dense_evidence_is_the_likelihood_of_the_published_state(t, k, seed):
    z, token = normals(1, 3, seed, size=30), torch.tensor([[4, 0, 29]])
    signal = alpha_bar(times(t)).item()
    clean = torch.full_like(z, -k).scatter(-1, token.unsqueeze(-1), k)
    x = signal**0.5 * clean + (1 - signal) ** 0.5 * k * z
    logs = dense_evidence(z, token.unsqueeze(-1), times(t)).logs[0].double()
    scale = (1 - signal) ** 0.5 * k
    for position in range(3):
        joint = torch.stack(
            [
                Normal(signal**0.5 * torch.full((30,), -k).scatter(0, torch.tensor(v), k), scale)
                .log_prob(x[0, position].float())
                .sum()
                for v in range(30)
            ]
        )
        ours, theirs = logs[position].log_softmax(-1), joint.double().log_softmax(-1)
        torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("t", [0.2, 0.3, 0.4, 0.6])
def test_extremes_list_what_dense_says_and_integrate_the_rest(t):
    z, token = normals(4, 16, 1), torch.randint(V, (4, 16))
    at = torch.full((4,), t, dtype=torch.float64)
    dense = dense_evidence(z, token.unsqueeze(-1), at).logs
    short = coupled(z, token, at, m=32)
    full, d = short.dense(V), separation(at).view(-1, 1, 1)
    tau = z.scatter(-1, token.unsqueeze(-1), -torch.inf).topk(32, dim=-1).values[..., -1:]
    y = z.scatter_add(-1, token.unsqueeze(-1), d.expand(4, 16, 1))
    seen = y >= tau
    torch.testing.assert_close(full[seen], dense[seen])
    standard = Normal(torch.zeros((), dtype=torch.float64), 1.0)
    hidden = (standard.cdf(tau - d) / standard.cdf(tau)).log().expand_as(full)
    torch.testing.assert_close(full[~seen].double(), hidden[~seen], atol=1e-5, rtol=1e-5)


def test_a_token_below_the_threshold_cannot_be_told_from_the_others():
    z = normals(1, 64, 2)
    token = torch.randint(V, (1, 64))
    z.scatter_(-1, token.unsqueeze(-1), -9.0)
    short = coupled(z, token, times(0.4), m=16)
    full = short.dense(V)
    hot = full.gather(-1, token.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(hot, short.rest)
    prior = torch.full((V,), -np.log(V))
    weights = short.posterior(prior).weights[..., 0]
    assert (weights == 0).all()


@pytest.mark.parametrize("t", [0.3, 0.4, 0.5])
@pytest.mark.parametrize("m", [16, 64, V])
def test_the_posterior_is_calibrated(t, m):
    """Its mean log-probability of the true token is minus its mean entropy, for any list length."""
    generator = torch.Generator().manual_seed(5)
    log_prior = torch.randn(V, generator=generator).mul(1.5).log_softmax(-1)
    token = torch.multinomial(log_prior.exp(), 4000, replacement=True, generator=generator)
    z, at = normals(1, 4000, 6), times(t)
    evidence = (
        dense_evidence(z, token.view(1, -1, 1), at) if m == V else coupled(z, token[None], at, m)
    )
    log_p = (evidence.dense(V) + log_prior).log_softmax(-1)[0]
    surprise = -log_p.gather(-1, token.unsqueeze(-1)).squeeze(-1)
    entropy = -(log_p.exp() * log_p).sum(-1)
    gap = surprise - entropy
    assert gap.mean().abs() < 4 * gap.std() / 4000**0.5


@given(t=st.floats(1e-3, 1.0), seed=st.integers(0, 2**32), hot=st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_the_bag_is_the_posterior(t, seed, hot):
    estimate = torch.stack([torch.randperm(V)[:hot] for _ in range(6)]).view(2, 3, hot)
    evidence = model_input(
        Words([seed, seed + 1], [0, 0], [1, 1], CPU),
        estimate,
        times(t, 1.0),
        form=NoiseForm("extremes", 24, 0),
        simplex_value=K,
        vocabulary_size=V,
        reading=Reading.POSTERIOR,
    )
    log_prior = torch.randn(V, generator=torch.Generator().manual_seed(seed % 999)).log_softmax(-1)
    bag = evidence.posterior(log_prior)
    assert (bag.weights >= 0).all()
    torch.testing.assert_close(bag.weights.sum(-1) + bag.rest, torch.ones(2, 3))
    ours = bag.rest.unsqueeze(-1) * log_prior.exp()
    ours = ours.scatter_add(-1, bag.ids, bag.weights)
    theirs = (evidence.dense(V) + log_prior).softmax(-1)
    twice = torch.zeros(2, 3, V).scatter_add(-1, bag.ids, torch.ones_like(bag.weights)) > 1
    once = ~twice.any(-1)  # an id that two extremes fell on counts twice in the bag
    torch.testing.assert_close(ours[once], theirs[once], atol=1e-5, rtol=1e-4)


def test_pure_noise_says_nothing():
    evidence = dense_evidence(normals(1, 4, 3), torch.empty(1, 4, 0, dtype=torch.int64), times(1.0))
    assert evidence.logs.abs().max() < 1e-5


def posterior_model(**config: object):
    return tiny_model(tiny_vocabulary(), seed=0, reading="posterior", **config)


def test_the_logits_are_the_networks_and_the_evidence():
    model = posterior_model()
    size = model.config.vocab_size
    token = torch.randint(16, size, (1, 8))
    text, start = torch.randint(16, size, (1, 14)), torch.tensor([4])
    none = conditioning.nothing(1, 8, CPU)
    evidence = dense_evidence(normals(1, 8, 4, size), token.unsqueeze(-1), times(0.3))
    with torch.no_grad():
        whole = model(text, start, evidence, times(0.3), none).logits
        read = evidence.posterior(model.log_prior)
        network = model(text, start, read, times(0.3), none).logits
    torch.testing.assert_close(whole, network + evidence.logs)


def test_the_temperature_leaves_the_evidence_alone():
    model = posterior_model()
    cold, plain = (replace(request(5, 3), temperature=t) for t in (0.5, 1.0))
    form, size = model.config.form, model.config.vocab_size
    evidence = states_input(
        [plain.state],
        form=form,
        simplex_value=5.0,
        vocabulary_size=size,
        reading=Reading.POSTERIOR,
        device=CPU,
    ).dense(size)
    network = predict(model, [plain]) - evidence
    torch.testing.assert_close(predict(model, [cold]), network / 0.5 + evidence)
    # Each row of a batch has its own.
    both = predict(model, [cold, plain])
    torch.testing.assert_close(both[0], predict(model, [cold])[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(both[1], predict(model, [plain])[0], atol=1e-4, rtol=1e-4)


def test_some_positions_are_the_same_positions_of_all():
    model = posterior_model()
    size = model.config.vocab_size
    token = torch.randint(16, size, (2, 8))
    text, start = torch.randint(16, size, (2, 14)), torch.tensor([4, 5])
    at = times(0.3, 0.4)
    evidence = dense_evidence(normals(2, 8, 4, size), token.unsqueeze(-1), at)
    chosen = torch.rand(2, 8) < 0.5
    none = conditioning.nothing(2, 8, CPU)
    with torch.no_grad():
        every = model(text, start, evidence, at, none).logits
        some = model(text, start, evidence, at, none, positions=chosen).logits
    torch.testing.assert_close(some, every[chosen])


def request(seed: int, prompt: int) -> View:
    rng = np.random.default_rng(seed)
    state = SimplexState(seed, 0, 1, 0.4, rng.integers(16, 100, (16, 1)))
    return view_at(state, tuple(rng.integers(16, 100, prompt).tolist()))


def test_rows_of_a_padded_batch_are_those_alone():
    """The convolution must not see the padding."""
    model = posterior_model(local_width=5)
    torch.nn.init.normal_(model.local_map.weight, std=0.2)
    model.get_input_embeddings().weight.data[0] = 1.0  # a trained [PAD] need not be zero
    requests = [request(1, 3), request(2, 12)]
    together = predict(model, requests)
    for row, alone in enumerate(requests):
        torch.testing.assert_close(together[row], predict(model, [alone])[0], atol=1e-4, rtol=1e-4)


def test_neighbours_are_told_apart_by_side():
    model = posterior_model(local_width=3, layers=1)
    torch.nn.init.normal_(model.local_map.weight, std=0.2)
    embeds = torch.zeros(1, 5, 32)
    embeds[0, 2] = 1.0
    seen = model._with_neighbours(embeds, None)[0]
    assert (seen[[0, 4]] == 0).all()
    assert not torch.allclose(seen[1], seen[3])


def test_a_trained_model_begins_as_itself_under_a_local_width():
    model = posterior_model()
    wider = reread(model, local_width=5).eval()
    state = request(3, 4)
    torch.testing.assert_close(predict(wider, [state]), predict(model, [state]))
    assert wider.config.local_width == 5


def test_the_prior_goes_with_the_weights(tmp_path):
    model = posterior_model(local_width=3)
    model.set_prior(torch.randn(model.config.vocab_size).log_softmax(-1))
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again.log_prior, model.log_prior)
    torch.testing.assert_close(predict(again, [request(1, 3)]), predict(model, [request(1, 3)]))
