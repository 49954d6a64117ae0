"""The published algorithm, written to be read and not to be fast.

SSD-LM, Algorithm 2 (arXiv 2210.17432), with self-conditioning, and with several models fused before
one projection as in SSD-2: the whole simplex in every step, a softmax and a product as wide as the
vocabulary, one plain loop.
It shares nothing with the code under test but the models' layers.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from common.diffusion.model import SimplexDiffusionLM

Draws = Callable[[int, int], Tensor]
"""(block, step) to (positions, V) float64: normals for the noise, or Gumbels for sampling."""


@dataclass
class Member:
    """A model and what it alone reads before the block; `without` is for the contrast."""

    model: SimplexDiffusionLM
    prompt: Sequence[int]
    weight: float
    without: Sequence[int] | None = None
    contrast: float = 0.0
    conditions: dict[str, Tensor] = field(default_factory=dict)


def torch_normals(positions: int, size: int, seed: int) -> Draws:
    generator = torch.Generator().manual_seed(seed)
    return lambda _block, _step: torch.randn(
        positions, size, generator=generator, dtype=torch.float64
    )


def alpha_bar(t: float) -> float:
    def r(time: float) -> float:
        return math.cos((time + 1e-4) / (1 + 1e-4) * math.pi / 2) ** 2

    return r(t) / r(0)


def simplex(estimate: Sequence[int] | None, normals: Tensor, t: float, k: float) -> Tensor:
    """softmax(sqrt(abar) * estimate + sqrt(1 - abar) * K * z), the estimate being +K or -K."""
    clean = torch.full_like(normals, -k)
    if estimate is not None:
        clean[torch.arange(len(estimate)), torch.tensor(estimate)] = k
    x = math.sqrt(alpha_bar(t)) * clean + math.sqrt(1 - alpha_bar(t)) * k * normals
    return x.softmax(-1).float()


def forward(
    model: SimplexDiffusionLM,
    before: Sequence[int],
    after: Sequence[int],
    p: Tensor,
    t: float,
    q: Tensor,
) -> Tensor:
    """Logits (positions, V): p is the noisy simplex, q the self-conditioning (zeros for none)."""
    table = model.get_input_embeddings().weight
    angles = t * math.pi * torch.arange(1, 33)
    time = model.time_map(torch.cat((angles.sin(), angles.cos())))
    block = model.state_map(p @ table) + model.condition_map(q @ table) + time
    text = torch.cat((table[list(before)], block, table[list(after)]))
    hidden = model.encoder(inputs_embeds=text.unsqueeze(0)).last_hidden_state[0]
    return model.head_map(hidden[len(before) : len(before) + len(p)]) @ table.T + model.head_bias


def own_condition(logits: Tensor) -> Tensor:
    """The 32 likeliest ids keep their probability; what remains is spread over the vocabulary."""
    values, ids = logits.softmax(-1).topk(min(32, logits.shape[-1]), dim=-1)
    rest = (1 - values.sum(-1, keepdim=True)) / logits.shape[-1]
    return rest.expand_as(logits).scatter_add(-1, ids, values)


def as_sent(logits: Tensor) -> Tensor:
    """What crosses a wire: relative to the best, in half precision."""
    return (logits - logits.amax(-1, keepdim=True)).half().float()


def project(scores: Tensor, gumbels: Tensor, temperature: float, min_p: float) -> list[int]:
    """The best id, or one drawn among those with at least min_p of the best one's probability."""
    if temperature == 0:
        return [row.tolist().index(row.max().item()) for row in scores]
    p = (scores / temperature).softmax(-1)
    kept = p >= min_p * p.amax(-1, keepdim=True)
    keys = (scores.double() / temperature + gumbels).masked_fill(~kept, -torch.inf)
    return keys.argmax(-1).tolist()


def stressed(given: Tensor, other: Tensor, factor: float) -> Tensor:
    """(1 + a) log p - a log q; a token under a tenth of the best one's p is never raised."""
    rows = []
    for p, q in zip(given.softmax(-1), other.softmax(-1), strict=True):
        ratio = p.log() - q.log()
        for v in range(len(p)):
            if p[v] < 0.1 * p.max() and ratio[v] > 0:
                ratio[v] = 0
        rows.append(p.log() + factor * ratio)
    return torch.stack(rows)


@torch.no_grad()
def generate(
    core: Member,
    davids: Sequence[Member],
    *,
    normals: Draws,
    gumbels: Draws,
    times: Sequence[float],
    blocks: int,
    k: float,
    temperature: float,
    min_p: float,
    forbidden: Sequence[int],
    end: int,
    self_conditioning: str,
    suffix: Sequence[int] = (),
) -> list[int]:
    """The answer's ids, cut at the first end token."""
    answer: list[int] = []
    for block in range(blocks):
        estimate: list[int] | None = None
        for member in (core, *davids):
            member.conditions.clear()
        for step, t in enumerate(times):
            p = simplex(estimate, normals(block, step), t, k)

            def read(member: Member, prompt: Sequence[int], branch: str, p=p, t=t) -> Tensor:
                q = member.conditions.get(branch, torch.zeros_like(p))
                logits = forward(member.model, [*prompt, *answer], suffix, p, t, q)  # noqa: B023
                if self_conditioning == "own":
                    member.conditions[branch] = own_condition(logits)
                return logits

            fused = (1 - sum(d.weight for d in davids)) * read(core, core.prompt, "with")
            for david in davids:
                logits = read(david, david.prompt, "with")
                if david.contrast:
                    other = read(david, david.without or (), "without")
                    logits = stressed(logits, other, david.contrast)
                fused = fused + david.weight * as_sent(logits)
            fused[:, list(forbidden)] = -torch.inf
            if block == 0:
                fused[0, end] = -torch.inf  # an answer has at least one token
            last = step == len(times) - 1
            estimate = project(fused, gumbels(block, step), 0.0 if last else temperature, min_p)
            if self_conditioning == "estimate":
                one_hot = torch.nn.functional.one_hot(torch.tensor(estimate), fused.shape[-1])
                for member in (core, *davids):
                    member.conditions.update({"with": one_hot.float(), "without": one_hot.float()})
        if end in estimate:
            return answer + estimate[: estimate.index(end)]
        answer += estimate
    return answer
