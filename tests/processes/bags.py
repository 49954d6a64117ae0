"""Bags and estimates for tests of simplex states."""

import numpy as np
import torch

from common.denoising.streams import Words
from common.processes.simplex.state import (
    Bag,
    NoiseForm,
    model_input,
)

CPU = torch.device("cpu")
K = 5.0
EXTREMES = NoiseForm("extremes", 16, 8)


def stream(rows: int, seed: int = 1) -> Words:
    return Words([seed + i for i in range(rows)], [0] * rows, [1] * rows, CPU)


def times(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def bag_of(
    estimate: torch.Tensor, t: float, *, size: int, form: NoiseForm = EXTREMES, seed: int = 1
):
    rows = len(estimate)
    t_rows = torch.full((rows,), t, dtype=torch.float64)
    return model_input(
        stream(rows, seed), estimate, t_rows, form=form, simplex_value=K, vocabulary_size=size
    )


def density(bag: Bag, size: int) -> torch.Tensor:
    """The bag as dense probabilities, the rest spread evenly."""
    rows = torch.zeros(*bag.rest.shape, size, dtype=torch.float64)
    rows.scatter_add_(-1, bag.ids, bag.weights.double())
    return rows + bag.rest.double().unsqueeze(-1) / size


def random_estimate(rows: int, positions: int, hot: int, size: int, *, seed: int = 0):
    """Unique ids in each row; rows of different widths are padded with -1 at random places."""
    rng = np.random.default_rng(seed)
    ids = np.full((rows, positions, hot), -1, np.int64)
    for r, p in np.ndindex(rows, positions):
        chosen = rng.choice(size, hot, replace=False)
        chosen[rng.random(hot) < 0.4] = -1
        chosen[rng.integers(hot)] = rng.integers(size) if hot == 1 else chosen.max()
        unique = list(dict.fromkeys(chosen.tolist()))
        ids[r, p, : len(unique)] = unique
        rng.shuffle(ids[r, p])
    return torch.from_numpy(ids)
