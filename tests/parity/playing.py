"""A generation by the real loop with one model and no contributor; the fixtures it is held to."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from common.denoising.loop import Fused, Predict, Result, denoise
from common.denoising.plan import Plan
from common.denoising.process import View
from common.denoising.streams import Stream
from common.models.predictor import Predictor, Text

FIXTURES = Path(__file__).parent / "fixtures"


@dataclass
class Played:
    """What a generation showed the model, what came of it, and the answer."""

    result: Result
    text: Text
    """What the model kept of the text before the last block."""
    views: list[View]
    rows: list[Tensor]


@torch.inference_mode()
def play(plan: Plan, stream: Stream, predictor: Predictor) -> Played:
    """Run the loop without contributors."""
    loop = denoise(plan, stream)
    text = Text(predictor)
    views: list[View] = []
    rows: list[Tensor] = []
    request = next(loop)
    try:
        while True:
            if isinstance(request, Predict):
                views.append(text.before(request.view))
                rows += predictor.predict(views[-1:])
                request = loop.send(rows[-1])
            else:
                request = loop.send(Fused(rows[-1], None))
    except StopIteration as end:
        return Played(end.value, text, views, rows)


@dataclass(frozen=True)
class Fixture:
    """A family's small random model, and what its published sampler did with it."""

    config: dict[str, Any]
    weights: dict[str, Tensor]
    runs: dict[str, Any]
    trace: dict[str, Tensor]
    columns: list[int]

    def fill(self, model: nn.Module, names: dict[str, str] | None = None) -> Any:
        """The model in eval mode with the weights, whose names are changed piece by piece."""
        weights = {}
        for name, weight in self.weights.items():
            for old, new in (names or {}).items():
                name = name.replace(old, new)
            weights[name] = weight
        model.load_state_dict(weights)
        return model.eval()

    def ids(self, name: str) -> tuple[int, ...]:
        """Ids of the trace, as a prompt."""
        return tuple(self.trace[name].flatten().tolist())

    def states(self, name: str) -> np.ndarray:
        """(forwards, positions) ids of the trace."""
        return self.trace[f"{name}.states"].flatten(1).numpy()


def fixture(family: str) -> Fixture:
    """Read a folder of `fixtures`."""
    folder = FIXTURES / family
    trace = json.loads((folder / "trace.json").read_text())
    return Fixture(
        config=json.loads((folder / "config.json").read_text()),
        weights=load_file(folder / "model.safetensors"),
        runs={run["name"]: run for run in trace["runs"]},
        trace=load_file(folder / "trace.safetensors"),
        columns=trace.get("columns", []),
    )
