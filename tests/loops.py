"""The loop for tests: a plan on the tiny vocabulary, logits that want given ids, and a driver."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from common.collaboration.certification import AskCaps
from common.collaboration.contributor import Contributor
from common.collaboration.driver import Drive, Local, TakesPart
from common.collaboration.fusion import fuse
from common.collaboration.timing import Timing
from common.denoising.halting import HaltRule
from common.denoising.loop import Predict, Result, denoise
from common.denoising.plan import Plan
from common.denoising.process import Shown, View
from common.denoising.sampling import best_candidates
from common.denoising.streams import Philox
from common.models.simplex_lm import SimplexPredictor
from common.models.simplex_network import SimplexDiffusionLM
from common.processes.simplex import conditioning
from common.processes.simplex.process import Simplex
from common.processes.simplex.schedule import TimeWarp
from common.processes.simplex.settings import SelfConditioning
from common.processes.simplex.state import FusedSignal
from common.text.templates import TemplateV1, asked
from tests.tiny import tiny_vocabulary

VOCABULARY = tiny_vocabulary()
TEMPLATE = TemplateV1(VOCABULARY)
SIZE, END = VOCABULARY.size, VOCABULARY.end
SOUP = VOCABULARY.encode("soup").ids[0]
BLOCK, STEPS = 8, 4
PROMPT = "how do i make soup?"


def simplex_plan(
    *,
    prompt: tuple[int, ...],
    max_tokens: int,
    suffix: tuple[int, ...] = (),
    forbidden: tuple[int, ...] = (),
    end: int,
    **process: Any,
) -> Plan:
    """A plan of simplex diffusion; the end -1 is none."""
    ends = () if end < 0 else (end,)
    return Plan(Simplex(**process, end=end), prompt, max_tokens, suffix, ends, forbidden)


def plan(**changes: Any) -> Plan:
    given = {
        "prompt": TEMPLATE.ids(asked(PROMPT)),
        "times": TimeWarp.from_curve().table(STEPS),
        "block_length": BLOCK,
        "max_tokens": 2 * BLOCK,
        "temperature": 0.0,
        "min_p": 0.1,
        "seed": 7,
        "end": END,
        "forbidden": VOCABULARY.forbidden,
        "self_conditioning": SelfConditioning.OWN,
    }
    return simplex_plan(**(given | changes))


def with_process(agreed: Plan, **changes: Any) -> Plan:
    """The plan with other settings of its process."""
    return replace(agreed, process=replace(agreed.process, **changes))


def votes(*ids: int) -> torch.Tensor:
    """Logits that want these ids, the last one to the end of the block."""
    rows = torch.zeros(1, BLOCK, SIZE)
    wanted = [*ids, *[ids[-1]] * BLOCK][:BLOCK]
    rows[0, range(BLOCK), wanted] = 20.0
    return rows


def drive(agreed: Plan, logits, fusing=fuse, contributions=()) -> tuple[list, Result]:
    """Run the loop with logits from a function of the view; the requests and the result."""
    loop = denoise(agreed, Philox(agreed.process.seed))
    requests = [next(loop)]
    try:
        while True:
            rows = logits(requests[-1].view)
            requests.append(loop.send(rows))
            requests.append(loop.send(fusing(rows, contributions)))
    except StopIteration as done:
        return requests, done.value


def rows_by(model: SimplexDiffusionLM) -> Callable[[View], Awaitable[torch.Tensor]]:
    """Rows of a view, as a driver and a contributor call for them."""

    async def rows(view: View) -> torch.Tensor:
        return SimplexPredictor(model).predict([view])[0]

    return rows


def local_drive(
    agreed: Plan,
    model: SimplexDiffusionLM,
    davids: Mapping[str, TakesPart | tuple[Contributor, float]],
    *,
    caps: AskCaps | None = None,
    timing: Timing | None = None,
) -> Drive:
    """The driver with all models in this process; a contributor comes with its weight."""
    timing = timing or Timing(agreed.process.steps)
    taking_part = {
        name: Local(*david, timing) if isinstance(david, tuple) else david
        for name, david in davids.items()
    }
    stream = Philox(agreed.process.seed)
    return Drive(agreed, rows_by(model), taking_part, stream=stream, caps=caps)


def run_local(
    agreed: Plan,
    model: SimplexDiffusionLM,
    davids: Mapping[str, TakesPart | tuple[Contributor, float]],
    on_step: Callable[[Shown], None] = lambda _: None,
) -> Result:
    return asyncio.run(local_drive(agreed, model, davids).run(on_step))


def predicts(requests) -> list[Predict]:
    return [r for r in requests if isinstance(r, Predict)]


def states(requests) -> list:
    return [r.view.state for r in predicts(requests)]


def shown_with(state, **known: Any) -> Shown:
    """A step at this state, all positions of which are open."""
    return Shown(state, np.arange(state.positions), **known)


def shown_at(agreed: Plan, block: int, step: int, *, positions: int = BLOCK) -> Shown:
    """A step of these positions, all of them open; what its estimate is does not matter."""
    estimate = np.zeros((positions, 1 if step else 0), np.int64)
    process = replace(agreed.process, block_length=positions)
    return shown_with(process.state(block, step, estimate))


def shares(scores: torch.Tensor, agreed: Plan) -> FusedSignal:
    scores = scores.clone()
    scores[..., list(agreed.forbidden)] = -torch.inf
    draw = agreed.process.draw
    best = best_candidates(scores, temperature=draw.temperature, min_p=draw.min_p, most=32)
    return conditioning.fused_signal(best)


def halting(patience: int, margin: float = 0.0, **changes):
    """A plan that halts, at times at which the state can be read."""
    given = {"times": (0.4, 0.3, 0.25, 0.2)} | changes
    return plan(halting=HaltRule(patience, margin), **given)


def moments(requests) -> list[tuple[int, int]]:
    return [(state.block, state.step) for state in states(requests)]


def leaning(*ids: int, by: float = 0.25) -> torch.Tensor:
    """Logits that want all of these at every position, each less than the one before."""
    rows = torch.zeros(1, BLOCK, SIZE)
    for n, one in enumerate(ids):
        rows[..., one] = 20.0 - n * by
    return rows
