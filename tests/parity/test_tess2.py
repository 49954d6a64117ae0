"""TESS 2's published sampler, played by the loop."""

import numpy as np
import torch

from common.denoising.plan import Plan
from tests.parity.playing import fixture, play
from tests.parity.streams import Recorded
from tests.parity.tess2 import Tess2, tess2


def test_tess2_with_self_conditioning() -> None:
    family, model = fixture("tess-2"), tess2()
    trace = family.trace
    noise = [normals.double() / 5 for normals in trace["noise_span"]]
    process = Tess2(block_length=16, steps=8, vocabulary_size=model.vocabulary_size)
    played = play(Plan(process, family.ids("prompt"), 16), Recorded(noise), model)

    def of(name: str, step: int) -> torch.Tensor:
        return trace[f"argmax_sc_8.{name}"][step, 5:]

    for n, (view, rows) in enumerate(zip(played.views, played.rows, strict=True)):
        simplex = view.state.simplex[:, family.columns]
        assert torch.allclose(simplex, of("simplex_cols", n), atol=1e-3)
        condition = view.condition[0, :, family.columns]
        assert torch.allclose(condition, of("previous_pred_cols", n), atol=1e-3)
        assert torch.allclose(rows[0][:, family.columns], of("logits_cols", n), atol=1e-3)
        assert torch.equal(rows[0].argmax(-1), of("argmax_ids", n))
        assert view.state.t == trace["argmax_sc_8.time"][n]
    for name, rows in (("0", played.rows[0]), ("last", played.rows[-1])):
        full = trace[f"argmax_sc_8.full_logits_{name}"][5:]
        assert torch.allclose(rows[0], full, atol=1e-3)
    assert np.array_equal(played.result.ids, trace["argmax_sc_8.final"][0, 5:])
    causal = trace["negative_control.causal_logits_cols"][5:]
    assert not torch.allclose(played.rows[0][0][:, family.columns], causal, atol=0.1)
