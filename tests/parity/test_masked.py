"""Published masked samplers, played by the loop: their states, their logits and their ids."""

import numpy as np
import pytest
import torch

from common.denoising.plan import Plan
from common.denoising.streams import Philox, Purpose
from common.processes.masked.process import Masked
from tests.parity import families
from tests.parity.masked import Dream, LLaDA, LLaDA2
from tests.parity.playing import Played, fixture, play
from tests.parity.predictors import canvas
from tests.parity.streams import TorchStream


def whole(played: Played, mask: int) -> np.ndarray:
    """(forwards + 1, prompt + answer) ids before each forward, and at the end."""
    states = [(*view.prefix, *canvas(view, mask)) for view in played.views]
    states.append((*played.views[0].prefix, *played.result.ids.tolist()))
    return np.array(states)


def test_llada_with_guidance() -> None:
    llada, model = fixture("llada"), families.llada()
    process = LLaDA(model.mask, block_length=16, steps=8, sub_length=8)
    plan = Plan(process, llada.ids("prompt"), 16)
    played = play(plan, Philox(0), families.llada_guided())
    assert np.array_equal(whole(played, model.mask), llada.states("cfg"))
    assert np.array_equal(played.result.ids, llada.trace["cfg.final"][0, 7:])


def test_llada_with_noise() -> None:
    llada, model = fixture("llada"), families.llada()
    process = LLaDA(model.mask, block_length=16, steps=8, sub_length=8, temperature=0.7)
    seed = llada.runs["gumbel"]["torch_seed"]
    stream = TorchStream(seed, torch.float64, before=7)
    played = play(Plan(process, llada.ids("prompt"), 16), stream, model)
    assert np.array_equal(whole(played, model.mask), llada.states("gumbel"))
    assert np.array_equal(played.result.ids, llada.trace["gumbel.final"][0, 7:])
    drawn = TorchStream(seed, torch.float64, before=7).uniform(Purpose.GUMBEL, (0, 0), (16, 300))
    assert torch.equal(drawn[-2:], llada.trace["gumbel.noise_step0"][0])


def test_dream_by_entropy() -> None:
    dream, model = fixture("dream"), families.dream()
    plan = Plan(Dream(model.mask, 16, 8), tuple(dream.trace["prompts"][0].tolist()), 16)
    played = play(plan, Philox(0), model)
    assert np.array_equal(whole(played, model.mask), dream.states("entropy_t0"))
    assert np.array_equal(played.result.ids, dream.trace["entropy_t0.final"][0, 7:])
    for n, (view, rows) in enumerate(zip(played.views, played.rows, strict=True)):
        picked = dream.trace["entropy_t0.picked"][n, 0, 7:][view.open]
        assert torch.equal(rows[0].argmax(-1).int(), picked)
        confidence = dream.trace["entropy_t0.confidence"][n, 0, 7:][view.open]
        ours = plan.process.confidence(rows[0], rows[0].argmax(-1))
        assert torch.allclose(ours, confidence, atol=1e-5)


def test_sdar_with_its_cache() -> None:
    sdar, model = fixture("sdar"), families.sdar()
    process = Masked(block_length=4, steps=4, grid=True)
    plan = Plan(process, sdar.ids("prompt"), 19)  # the published sampler returns whole blocks
    played = play(plan, Philox(0), model)
    denoising = sdar.trace["greedy_static.kind"] == 0
    states = np.array([canvas(view, model.mask) for view in played.views])
    starts = [len(view.prefix) for view in played.views]
    assert np.array_equal(states, sdar.states("greedy_static")[denoising])
    assert starts == sdar.trace["greedy_static.start"][denoising].tolist()
    assert np.array_equal(played.result.ids, sdar.trace["greedy_static.final"][0, 9:])
    for n, (view, rows) in enumerate(zip(played.views, played.rows, strict=True)):
        logits = sdar.trace["greedy_static.full_logits"][n, view.open]
        assert torch.allclose(rows[0], logits, atol=1e-3)
    with torch.inference_mode():
        cache = played.text.grow(sdar.ids("greedy_static.final")).cache
    for layer in (0, 1):
        for name in ("keys", "values"):
            stored = sdar.trace[f"greedy_static.cache_{name}_{layer}"]
            assert torch.allclose(getattr(cache.layers[layer], name), stored, atol=1e-4)


def test_llada2_with_editing() -> None:
    llada2, model = fixture("llada2"), families.llada2()
    run = llada2.runs["v21_edit"]["args"]
    process = LLaDA2(
        model.mask,
        block_length=4,
        steps=4 + run["max_post_steps"],
        threshold=run["threshold"],
        editing=run["editing_threshold"],
        post_steps=run["max_post_steps"],
    )
    played = play(Plan(process, llada2.ids("prompt"), 12), Philox(0), model)
    states = np.array([canvas(view, model.mask) for view in played.views])
    assert np.array_equal(states, llada2.states("v21_edit"))
    assert [len(view.prefix) for view in played.views] == llada2.trace["v21_edit.start"].tolist()
    assert np.array_equal(played.result.ids, llada2.trace["v21_edit.final"][0])
    for n, (view, rows) in enumerate(zip(played.views, played.rows, strict=True)):
        logits = llada2.trace["v21_edit.logits_cols"][n, view.open]
        assert torch.allclose(rows[0][:, llada2.columns], logits, atol=1e-3)


@pytest.mark.parametrize("family", ["llada", "dream"])
def test_plain_forward(family: str) -> None:
    trace, model = fixture(family).trace, getattr(families, family)()
    ids = trace["forward_ids"]
    visible = torch.zeros(1, 1, ids.shape[1], ids.shape[1])
    with torch.inference_mode():
        logits = model.model(ids, attention_mask=visible).logits
    assert torch.allclose(logits, trace["forward_logits"], atol=1e-4)
