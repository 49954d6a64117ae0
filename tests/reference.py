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

from common.models.simplex_network import SimplexDiffusionLM

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


def ramped(table: Sequence[float], step: int, ramp: float, positions: int) -> list[float]:
    """Each position's time: it walks down the table at 1 + ramp times the pace, the last position
    after a wait of ramp times the table.
    """
    times, last = [], len(table) - 1
    for i in range(positions):
        place = (1 + ramp) * step - ramp * last * i / (positions - 1)
        place = min(max(place, 0.0), float(last))
        low = min(int(place), last - 1)
        times.append(table[low] + (place - low) * (table[low + 1] - table[low]))
    return times


def levels(t: Sequence[float]) -> Tensor:
    """abar of each position, (positions, 1)."""
    return torch.tensor([[alpha_bar(time)] for time in t], dtype=torch.float64)


def simplex(
    estimate: Sequence[int] | None, normals: Tensor, t: Sequence[float], k: float
) -> Tensor:
    """x = sqrt(abar) * estimate + sqrt(1 - abar) * K * z, the estimate being +K or -K."""
    clean = torch.full_like(normals, -k)
    if estimate is not None:
        clean[torch.arange(len(estimate)), torch.tensor(estimate)] = k
    return levels(t).sqrt() * clean + (1 - levels(t)).sqrt() * k * normals


def evidence(x: Tensor, t: Sequence[float], k: float) -> Tensor:
    """log p(x | token) up to a constant: an entry's density as the token's against as another's."""
    mean, variance = levels(t).sqrt() * k, (1 - levels(t)) * k**2
    return ((x + mean) ** 2 - (x - mean) ** 2) / (2 * variance)


def with_neighbours(model: SimplexDiffusionLM, text: Tensor) -> Tensor:
    """Each position with a linear map of the ones beside it, plain zeros beyond the ends."""
    width = model.config.local_width
    rows = []
    for i in range(len(text)):
        row = text[i].clone()
        for j in range(width):
            if 0 <= i + j - width // 2 < len(text):
                row += model.local_map.weight[:, :, j] @ text[i + j - width // 2]
        rows.append(row)
    return torch.stack(rows)


def forward(
    model: SimplexDiffusionLM,
    before: Sequence[int],
    after: Sequence[int],
    x: Tensor,
    t: Sequence[float],
    q: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """Logits (positions, V): x is the noisy simplex, q the self-conditioning (zeros for none); the
    temperature divides all but the state's likelihood.
    """
    table = model.get_input_embeddings().weight
    p, known = x.softmax(-1).float(), torch.zeros(x.shape)
    if model.config.reading == "posterior":
        known = evidence(x, t, model.config.simplex_value).float()
        p = (known + model.log_prior).softmax(-1)
    angles = torch.tensor(t).unsqueeze(1) * math.pi * torch.arange(1, 33)
    time = model.time_map(torch.cat((angles.sin(), angles.cos()), -1))
    block = model.state_map(p @ table) + model.condition_map(q @ table) + time
    text = torch.cat((table[list(before)], block, table[list(after)]))
    text = with_neighbours(model, text)
    hidden = model.encoder(inputs_embeds=text.unsqueeze(0)).last_hidden_state[0]
    own = hidden[len(before) : len(before) + len(p)]
    return (model.head_map(own) @ table.T + model.head_bias) / temperature + known


def own_condition(model: SimplexDiffusionLM, logits: Tensor) -> Tensor:
    """The 32 likeliest ids keep their probability; what remains is spread over the vocabulary, by
    the model's prior if it has one.
    """
    size = logits.shape[-1]
    prior = torch.full((size,), 1 / size)
    if model.config.reading == "posterior":
        prior = model.log_prior.softmax(-1)
    values, ids = logits.softmax(-1).topk(min(32, size), dim=-1)
    rest = (1 - values.sum(-1, keepdim=True)) * prior
    return rest.scatter_add(-1, ids, values)


def as_sent(logits: Tensor) -> Tensor:
    """What crosses a wire: relative to the best, in half precision."""
    return (logits - logits.amax(-1, keepdim=True)).half().float()


def project(
    scores: Tensor,
    gumbels: Tensor,
    temperature: float,
    min_p: float,
    no_repeat: int = 0,
    end: int = -1,
    top_p: float = 1.0,
) -> list[int]:
    """The best id, or one drawn among those with at least min_p of the best one's probability, and
    of them the fewest that have top_p; if it would say a run of so many tokens again, another of
    those with at least min_p that does not.
    """
    if temperature == 0:
        return [row.tolist().index(row.max().item()) for row in scores]
    p = (scores / temperature).softmax(-1)
    kept = p >= min_p * p.amax(-1, keepdim=True)
    keys = (scores.double() / temperature + gumbels).masked_fill(~kept, -torch.inf)
    drawn = keys.clone()
    for row in range(len(p) if top_p < 1 else 0):
        some = (p[row] * kept[row]).double()
        order = some.argsort(descending=True, stable=True)
        enough = int((some[order].cumsum(0) < top_p * some.sum()).sum()) + 1
        drawn[row, order[enough:]] = -torch.inf
    draft = drawn.argmax(-1).tolist()
    for i in range(len(draft) if no_repeat else 0):
        if end in draft[:i]:
            break
        ranked = [v for v in keys[i].argsort(descending=True).tolist() if kept[i, v]]
        for v in (draft[i], *ranked, draft[i]):
            draft[i] = v
            told = [tuple(draft[j : j + no_repeat]) for j in range(i + 2 - no_repeat)]
            if not told or told[-1] not in told[:-1]:
                break
    return draft


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
    ramp: float = 0.0,
    no_repeat: int = 0,
    top_p: float = 1.0,
) -> list[int]:
    """The answer's ids, cut at the first end token."""
    answer: list[int] = []
    for block in range(blocks):
        estimate: list[int] | None = None
        for member in (core, *davids):
            member.conditions.clear()
        for step in range(len(times)):
            t = ramped(times, step, ramp, len(normals(block, step)))
            x = simplex(estimate, normals(block, step), t, k)

            def read(member: Member, prompt: Sequence[int], branch: str, x=x, t=t) -> Tensor:
                q = member.conditions.get(branch, torch.zeros(x.shape))
                warm = temperature or 1.0
                text = [*prompt, *answer]  # noqa: B023
                logits = forward(member.model, text, suffix, x, t, q, warm)
                if self_conditioning == "own":
                    member.conditions[branch] = own_condition(member.model, logits)
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
            warm = 0.0 if last else float(temperature > 0)
            estimate = project(fused, gumbels(block, step), warm, min_p, no_repeat, end, top_p)
            if self_conditioning == "estimate":
                one_hot = torch.nn.functional.one_hot(torch.tensor(estimate), fused.shape[-1])
                for member in (core, *davids):
                    member.conditions.update({"with": one_hot.float(), "without": one_hot.float()})
        if end in estimate:
            return answer + estimate[: estimate.index(end)]
        answer += estimate
    return answer
