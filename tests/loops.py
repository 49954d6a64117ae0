"""The loop for tests: a plan on the tiny vocabulary, logits that want given ids, and a driver."""

import numpy as np
import torch

from common.collaboration.fusion import fuse
from common.denoising.halting import HaltRule
from common.denoising.loop import Plan, Predict, Result, denoise
from common.denoising.sampling import best_candidates
from common.processes.simplex import conditioning
from common.processes.simplex.schedule import TimeWarp
from common.processes.simplex.settings import SelfConditioning
from common.processes.simplex.state import FusedSignal
from tests.tiny import tiny_vocabulary

VOCABULARY = tiny_vocabulary()
SIZE, END = VOCABULARY.size, VOCABULARY.end
SOUP = VOCABULARY.encode("soup").ids[0]
BLOCK, STEPS = 8, 4
PROMPT = "how do i make soup?"
NONE = np.empty(0, np.int64)


def plan(**changes) -> Plan:
    given = {
        "prefix": VOCABULARY.prompt_ids(VOCABULARY.encode(PROMPT).ids),
        "suffix": (),
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
    return Plan(**(given | changes))


def votes(*ids: int) -> torch.Tensor:
    """Logits that want these ids, the last one to the end of the block."""
    rows = torch.zeros(1, BLOCK, SIZE)
    wanted = [*ids, *[ids[-1]] * BLOCK][:BLOCK]
    rows[0, range(BLOCK), wanted] = 20.0
    return rows


def drive(agreed: Plan, logits, fusing=fuse, voices=()) -> tuple[list, Result]:
    """Run the loop with logits from a function of the request; the requests and the result."""
    loop = denoise(agreed, fusing)
    requests = [next(loop)]
    try:
        while True:
            last = requests[-1]
            requests.append(loop.send(logits(last) if isinstance(last, Predict) else voices))
    except StopIteration as done:
        return requests, done.value


def predicts(requests) -> list[Predict]:
    return [r for r in requests if isinstance(r, Predict)]


def shares(scores: torch.Tensor, agreed: Plan) -> FusedSignal:
    scores = scores.clone()
    scores[..., list(agreed.forbidden)] = -torch.inf
    best = best_candidates(scores, temperature=agreed.draw, min_p=agreed.min_p, most=32)
    return conditioning.fused_signal(best)


def halting(patience: int, margin: float = 0.0, **changes):
    """A plan that halts, at times at which the state can be read."""
    times = (0.4, 0.3, 0.25, 0.2)
    return plan(halting=HaltRule(patience, margin), times=times, **changes)


def moments(requests) -> list[tuple[int, int]]:
    return [(r.state.block, r.state.step) for r in predicts(requests)]


def leaning(*ids: int, by: float = 0.25) -> torch.Tensor:
    """Logits that want all of these at every position, each less than the one before."""
    rows = torch.zeros(1, BLOCK, SIZE)
    for n, one in enumerate(ids):
        rows[..., one] = 20.0 - n * by
    return rows
