"""Denoising cross-entropy: how well a model restores text at a noise level (a held-out loss, not a
likelihood).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from common.denoising.streams import Words
from common.models.simplex_network import SimplexDiffusionLM
from common.processes.simplex import conditioning
from common.processes.simplex.settings import Reading, SelfConditioning
from common.processes.simplex.state import Bag, ModelInput, model_input
from common.training.examples import Batch


def noisy(model: SimplexDiffusionLM, batch: Batch, stream: Words, t: Tensor) -> ModelInput:
    """The state of the batch's true text at the times, as the model reads it.

    Args:
        model: its config says how.
        batch: the crops.
        stream: the noise; give every system the same one.
        t: (batch,) float64, or (batch, block) for times of their own.
    """
    config = model.config
    return model_input(
        stream,
        batch.target.unsqueeze(-1),
        t,
        form=config.form,
        simplex_value=config.simplex_value,
        vocabulary_size=config.vocab_size,
        reading=Reading(config.reading),
    )


def predict(
    model: SimplexDiffusionLM,
    batch: Batch,
    simplex: ModelInput,
    t: Tensor,
    condition: Bag | None = None,
    positions: Tensor | None = None,
) -> Tensor:
    """fp32 logits of one pass: (batch, block, V), or (chosen, V) at chosen positions.

    Args:
        model: of either mode.
        batch: the crops.
        simplex: from `noisy`.
        t: float64, its times.
        condition: what the model sees of the last prediction; None: nothing.
        positions: (batch, block) bool.
    """
    if condition is None:
        rows, block = batch.target.shape
        condition = conditioning.nothing(rows, block, batch.target.device)
    logits: Tensor = model(
        batch.input_ids,
        batch.block_start,
        simplex,
        t,
        condition,
        batch.attention_mask,
        positions=positions,
    ).logits
    return logits


def two_passes(model: SimplexDiffusionLM, batch: Batch, stream: Words, t: Tensor) -> Tensor:
    """Logits (scored, V) fp32 at the scored positions, with one extra pass from "none" for self-
    conditioning; for the arguments see `noisy`.
    """
    simplex = noisy(model, batch, stream, t)
    first = predict(model, batch, simplex, t)
    if model.config.self_conditioning == SelfConditioning.ESTIMATE:
        condition = conditioning.from_estimate(first.argmax(-1, keepdim=True))
    else:
        condition = conditioning.from_logits(first)
    return predict(model, batch, simplex, t, condition, batch.scored)


@torch.inference_mode()
def loss_curve(
    model: SimplexDiffusionLM, batches: Sequence[Batch], times: Sequence[float], *, seed: int
) -> list[tuple[float, float]]:
    """Mean cross-entropy a scored token at each time: (t, nats) pairs; the same noise draws at
    every time.
    """
    was_training = model.training
    model.eval()
    curve = []
    for time in times:
        total, count = 0.0, 0
        for number, batch in enumerate(batches):
            rows = len(batch.target)
            stream = Words(
                [seed + number * 1000 + i for i in range(rows)],
                [0] * rows,
                [0] * rows,
                batch.target.device,
            )
            t = torch.full((rows,), time, dtype=torch.float64)
            logits = two_passes(model, batch, stream, t)
            total += torch.nn.functional.cross_entropy(
                logits, batch.target[batch.scored], reduction="sum"
            ).item()
            count += len(logits)
        curve.append((float(time), total / count))
    model.train(was_training)
    return curve
