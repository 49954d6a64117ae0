"""The in-process driver: Goliath and its Davids in one process, through the codec of the wire."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from common.collaboration.contribution import Contribution
from common.collaboration.engine import Predictor
from common.collaboration.fusion import Voice, fuse
from common.collaboration.timing import Timing
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
        """Answer a step; those whose contribution no step uses are not asked about.

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
    timing: Timing | None = None,
) -> Result:
    """Generate with the large model and the Davids, by contributor id; `on_step` sees each state as
    it begins, and `around` may put something round the model's predictions, such as a guide.

    With a timing a step uses the contributions that it would use over the wire; None is lock-step.
    """
    predictor = around(functools.partial(predict, model))
    timing = Timing(len(plan.times)) if timing is None else timing
    loop = denoise(plan, fuse)
    request = next(loop)
    kept: dict[int, Sequence[Voice]] = {}
    try:
        while True:
            if isinstance(request, Predict):
                on_step(request)
                step = request.state.step
                kept = {one: kept[one] for one in kept if step and timing.awaited(one, step)}
                if timing.wanted(step):
                    kept[step] = _voices(davids, request)
                request = loop.send(predictor([request]))
            else:
                request = loop.send(kept[timing.source(request.step)])
    except StopIteration as done:
        result: Result = done.value
        return result


def _voices(davids: Mapping[str, LocalDavid], request: Predict) -> Sequence[Voice]:
    state, finished, signal = request.state, request.finished, request.signal
    return [
        Voice(name, david.weight, david.contributor.contribute(state, finished, signal))
        for name, david in davids.items()
    ]
