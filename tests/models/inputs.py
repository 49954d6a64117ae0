"""Inputs for tests of models."""

import numpy as np
import torch

from common.denoising.process import View
from common.processes.simplex import conditioning
from common.processes.simplex.state import Bag, SimplexState
from tests.tiny import view_at

CPU = torch.device("cpu")


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


def request(seed: int, *, prompt: int, suffix: int = 0, step: int = 1, block: int = 16) -> View:
    rng = np.random.default_rng(seed)
    state = SimplexState(seed, 0, step, 0.4, rng.integers(16, 100, (block, 1)))
    condition = conditioning.from_estimate(torch.from_numpy(state.estimate).unsqueeze(0))
    ids = tuple(rng.integers(16, 100, prompt).tolist())
    after = tuple(rng.integers(16, 100, suffix).tolist())
    return view_at(state, ids, suffix=after, condition=condition if seed % 2 else None)


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
