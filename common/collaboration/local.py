"""The in-process driver: Goliath and its Davids in one process, through the codec of the wire."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from common.collaboration.batcher import Predictor
from common.collaboration.certification import AskCaps, Tally, all_answered, as_fused, doubts
from common.collaboration.contribution import Answer, Ask, Contribution
from common.collaboration.fusion import Voice
from common.collaboration.timing import Timing
from common.denoising.loop import Fused, Plan, Predict, Result, denoise
from common.models.predict import predict
from common.models.simplex_lm import SimplexDiffusionLM
from common.processes.simplex.state import FusedSignal, SimplexState


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


@runtime_checkable
class Answers(Protocol):
    """A contributor that can be asked for what he left out; any other one is not asked."""

    def answer(self, ask: Ask) -> Answer:
        """Answer an ask about the last contribution."""


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
    caps: AskCaps | None = None,
    tally: Tally | None = None,
    timing: Timing | None = None,
) -> Result:
    """Generate with the large model and the Davids, by contributor id.

    Args:
        plan: what is generated, and how.
        model: the large model.
        davids: the contributors; their ids are in the order of their voices.
        on_step: sees each state as it begins.
        around: may put something round the model's predictions, such as a guide.
        caps: certify each step, and ask the Davids so much for it; None asks for nothing. Only in
            lock-step.
        tally: where what is left uncertified and what is asked are counted.
        timing: which contributions a step uses, as over the wire; None is lock-step.
    """
    predictor = around(functools.partial(predict, model))
    timing = Timing(len(plan.times)) if timing is None else timing
    tally = Tally() if tally is None else tally
    loop = denoise(plan, as_fused)
    request = next(loop)
    kept: dict[int, Sequence[Voice]] = {}
    try:
        while True:
            assert isinstance(request, Predict)
            on_step(request)
            step = request.state.step
            kept = {one: kept[one] for one in kept if step and timing.awaited(one, step)}
            if timing.wanted(step):
                kept[step] = _voices(request, davids)
            logits = predictor([request])
            loop.send(logits)
            voices = kept[timing.source(step)]
            request = loop.send(_settled(plan, request, logits, voices, davids, caps, tally))
    except StopIteration as done:
        result: Result = done.value
        return result


def _voices(request: Predict, davids: Mapping[str, LocalDavid]) -> list[Voice]:
    return [
        Voice(
            name,
            david.weight,
            david.contributor.contribute(request.state, request.finished, request.signal),
        )
        for name, david in davids.items()
    ]


def _settled(
    plan: Plan,
    request: Predict,
    logits: Tensor,
    voices: Sequence[Voice],
    davids: Mapping[str, LocalDavid],
    caps: AskCaps | None,
    tally: Tally,
) -> Fused:
    """The fused scores of a step, after what was asked is answered."""
    block, step = request.state.block, request.state.step
    doubt = doubts(plan, logits, voices, block=block, step=step, caps=caps)
    answers = {}
    for name, ask in doubt.asks.items():
        contributor = davids[name].contributor
        if isinstance(contributor, Answers):
            tally.count(ask)
            answers[name] = contributor.answer(ask)
    if answers:
        voices = all_answered(voices, doubt.asks, answers)
        doubt = doubts(plan, logits, voices, block=block, step=step)
    tally.uncertified += int(doubt.uncertified.sum())
    return doubt.fused
