"""The in-process driver: Goliath and its Davids in one process, through the codec of the wire."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from common.collaboration.contribution import Contribution
from common.collaboration.engine import Predictor
from common.collaboration.fusion import Voice, fuse
from common.diffusion.denoise import Plan, Predict, Result, denoise
from common.diffusion.model import SimplexDiffusionLM
from common.diffusion.predict import predict
from common.diffusion.signal import FusedSignal
from common.diffusion.simplex import SimplexState


class Contributes(Protocol):
    """Whatever answers steps: `Contributor`, or one of your own."""

    def contribute(
        self, state: SimplexState, finished: np.ndarray, signal: FusedSignal | None
    ) -> Contribution:
        """Answer a step.

        Args:
            state: the state to look at.
            finished: (block_length,) int64, the block just ended, or empty.
            signal: what to condition on, with the self-conditioning fused; else None.
        """


@dataclass(frozen=True, slots=True)
class LocalDavid:
    """A contributor in this process, and its weight."""

    contributor: Contributes
    weight: float


def run_local(
    plan: Plan,
    model: SimplexDiffusionLM,
    davids: Mapping[str, LocalDavid],
    on_step: Callable[[Predict], None] = lambda _: None,
    *,
    around: Callable[[Predictor], Predictor] = lambda predictor: predictor,
) -> Result:
    """Generate with the large model and the Davids, by contributor id; `on_step` sees each state as
    it begins, and `around` may put something round the model's predictions, such as a guide.
    """
    predictor = around(functools.partial(predict, model))
    loop = denoise(plan, fuse)
    request = next(loop)
    voices: list[Voice] = []
    try:
        while True:
            if isinstance(request, Predict):
                on_step(request)
                voices = [
                    Voice(
                        name,
                        david.weight,
                        david.contributor.contribute(
                            request.state, request.finished, request.signal
                        ),
                    )
                    for name, david in davids.items()
                ]
                request = loop.send(predictor([request]))
            else:
                request = loop.send(voices)
    except StopIteration as done:
        result: Result = done.value
        return result
