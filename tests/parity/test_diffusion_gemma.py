"""DiffusionGemma against the `generate` of the installed transformers, on a tiny random model."""

import numpy as np
import pytest
import torch

from common.denoising.plan import Plan
from tests.parity.diffusion_gemma import DiffusionGemmaLM, Uniform, diffusion_gemma
from tests.parity.playing import play
from tests.parity.streams import TorchStream

PROMPT = (131, 268, 112, 212, 35, 189, 239, 17, 54, 171, 88)


def published(model: DiffusionGemmaLM, seed: int, **settings: object) -> tuple[np.ndarray, list]:
    """The answer of transformers' own `generate`, and the canvas and logits of each forward."""
    canvases, logits = [], []

    def before(module: object, args: object, named: dict) -> None:
        canvases.append(named["decoder_input_ids"][0].numpy().copy())

    def after(module: object, args: object, output: torch.Tensor) -> None:
        logits.append(30 * torch.tanh(output / 30))

    hooks = [
        model.model.model.decoder.register_forward_pre_hook(before, with_kwargs=True),
        model.model.lm_head.register_forward_hook(after),
    ]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        answer = model.model.generate(torch.tensor([PROMPT]), **settings)
    for hook in hooks:
        hook.remove()
    return answer.sequences[0, len(PROMPT) :].numpy(), list(zip(canvases, logits, strict=True))


@pytest.mark.parametrize(
    ("stability", "confidence", "early"), [(1, 0.005, False), (1, 0.5, True), (0, 0.5, True)]
)
def test_two_canvases(stability: int, confidence: float, early: bool) -> None:
    model = diffusion_gemma()
    ids, read = published(
        model,
        seed=5,
        max_new_tokens=16,
        max_denoising_steps=16,
        stability_threshold=stability,
        confidence_threshold=confidence,
    )
    process = Uniform(8, 16, model.vocabulary_size, stability=stability, confidence=confidence)
    played = play(Plan(process, PROMPT, 16), TorchStream(5), model)
    assert (len(read) < 2 * process.steps) == early
    for view, rows, (canvas, logits) in zip(played.views, played.rows, read, strict=True):
        assert np.array_equal(view.state.ids, canvas)
        assert torch.equal(rows, logits)
    assert np.array_equal(played.result.ids, ids)
