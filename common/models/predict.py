"""One forward pass for a batch of requests: the only place where the loop meets a model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from common.denoising.loop import Predict
from common.models.simplex_lm import SimplexDiffusionLM
from common.processes.simplex import conditioning
from common.processes.simplex.state import Bag, stack_times, states_input
from common.processes.simplex.terms import Reading


@torch.inference_mode()
def predict(model: SimplexDiffusionLM, requests: Sequence[Predict]) -> Tensor:
    """Logits of a batch of requests with one block length, (batch, positions, V) fp32 on the
    model's device.
    """
    config, device = model.config, model.device
    positions = len(requests[0].state.estimate)
    simplex = states_input(
        [request.state for request in requests],
        form=config.form,
        simplex_value=config.simplex_value,
        vocabulary_size=config.vocab_size,
        reading=Reading(config.reading),
        device=device,
    )
    none = conditioning.nothing(1, positions, device)
    condition = conditioning.stack(
        [none if r.condition is None else _on(r.condition, device) for r in requests]
    )
    sizes = [len(r.prefix) + positions + len(r.suffix) for r in requests]
    input_ids = torch.zeros(len(requests), max(sizes), dtype=torch.int64)
    for row, request in enumerate(requests):
        start = len(request.prefix)
        input_ids[row, :start] = torch.tensor(request.prefix)
        input_ids[row, start + positions : sizes[row]] = torch.tensor(
            request.suffix, dtype=torch.int64
        )
    padded = min(sizes) < max(sizes)
    mask = torch.arange(max(sizes)) < torch.tensor(sizes).unsqueeze(1) if padded else None
    temperatures = [request.temperature for request in requests]
    tempered = any(temperature != 1 for temperature in temperatures)
    logits: Tensor = model(
        input_ids.to(device),
        torch.tensor([len(r.prefix) for r in requests], device=device),
        simplex,
        stack_times([request.state for request in requests], device),
        condition,
        None if mask is None else mask.to(device),
        temperature=torch.tensor(temperatures, device=device) if tempered else None,
    ).logits
    return logits


def _on(bag: Bag, device: torch.device) -> Bag:
    return Bag(bag.ids.to(device), bag.weights.to(device), bag.rest.to(device))
