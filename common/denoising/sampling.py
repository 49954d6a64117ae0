"""Scores to token ids: everything after fusion, and all of it reads only the candidate set.

Candidates of a position are A = {v : s_v >= max s + T log(min_p)}; greedy is T = 0 with the lowest
id on ties. Sources: SSD-LM section 3.4 (projections), Nguyen et al. 2024 (min-p), Gumbel-max.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.denoising.plan import Decider
from common.denoising.streams import Purpose, Words, uniform


def greedy(scores: Tensor) -> Tensor:
    """(batch, positions) int64: the best id, the lowest one on ties, of (batch, positions, V)
    scores.
    """
    best = scores.amax(-1, keepdim=True)
    ids = torch.arange(scores.shape[-1], device=scores.device)
    return torch.where(scores == best, ids, scores.shape[-1]).amin(-1)


@dataclass(frozen=True, slots=True)
class Candidates:
    """The best candidates of each position."""

    ids: Tensor
    """(batch, positions, n) int64, the best first, on ties the lowest; -1 where there are fewer."""
    scores: Tensor
    """(batch, positions, n) fp32; -inf where there are fewer."""
    log_mass: Tensor
    """(batch, positions) fp32, logsumexp over all candidates of the position, listed or not."""

    def leads(self) -> Tensor:
        """(batch, positions) fp32, by how much the best candidate's score leads the second one's;
        infinite where there is no second one.
        """
        if self.scores.shape[-1] == 1:
            return torch.full_like(self.log_mass, torch.inf)
        return self.scores[..., 0] - self.scores[..., 1]

    def hot(self, *, most: int, top_p: float) -> Tensor:
        """(batch, positions, h) int64, the ids that a multi-hot projection sets: of the best ones
        the fewest that have together at least `top_p` of the mass of all candidates, `most` where
        they are more; -1 where there are fewer.
        """
        ids, scores = self.ids[..., :most], self.scores[..., :most]
        mass = (scores - self.log_mass.unsqueeze(-1)).exp()
        before = mass.cumsum(-1) - mass
        kept = (ids >= 0) & (before < top_p)
        return ids.masked_fill(~kept, -1)[..., : int(kept.sum(-1).max())]


def best_candidates(scores: Tensor, *, temperature: float, min_p: float, most: int) -> Candidates:
    """At most `most` candidates of each position, n of them where there are most.

    Args:
        scores: (batch, positions, V) fp32 fused scores, -inf at ids that must not appear.
        temperature: T.
        min_p: least probability of a candidate, as a share of the best one's; in (0, 1].
        most: how many are kept: the best, of equal ones the lowest ids.
    """
    highest = scores.amax(-1, keepdim=True)
    inside = _candidates(scores, temperature, min_p)
    # logsumexp of scores masked with -inf takes ten times as long on a CPU.
    mass = torch.where(inside, (scores - highest).exp(), 0.0).sum(-1)
    # Which of equal scores topk gives is not defined: it only tells where to cut.
    least = scores.topk(min(most, scores.shape[-1]), dim=-1).values[..., -1:]
    listed = inside & (scores >= least)
    rows, positions, ids = listed.nonzero(as_tuple=True)
    values = scores[rows, positions, ids]
    place = rows * scores.shape[1] + positions
    order = _best_first(values, place)  # ids come in ascending order: the lowest first on ties
    place, ids, values = place[order], ids[order], values[order]
    counts = listed.sum(-1).flatten()
    rank = torch.arange(len(place), device=place.device) - (counts.cumsum(0) - counts)[place]
    kept = rank < most
    shape = (len(counts), min(most, int(counts.max())))
    best = torch.full(shape, -1, device=ids.device)
    best[place[kept], rank[kept]] = ids[kept]
    top = scores.new_full(shape, -torch.inf)
    top[place[kept], rank[kept]] = values[kept]
    return Candidates(
        ids=best.view(*scores.shape[:2], -1),
        scores=top.view(*scores.shape[:2], -1),
        log_mass=highest.squeeze(-1) + mass.log(),
    )


def threshold(best: Tensor, *, temperature: float, min_p: float) -> Tensor:
    """The least score of a candidate, where the best one has these."""
    return best + temperature * math.log(min_p)


def _candidates(scores: Tensor, temperature: float, min_p: float) -> Tensor:
    """(batch, positions, V) bool: the set A of each position."""
    best = scores.amax(-1, keepdim=True)
    return scores >= threshold(best, temperature=temperature, min_p=min_p)


def _best_first(values: Tensor, place: Tensor) -> Tensor:
    """(n,) int64, an order of entries (n,): by place, and at each the largest first; equal ones
    keep their order.
    """
    order = values.sort(descending=True, stable=True).indices
    return order[place[order].sort(stable=True).indices]


def _nucleus(logits: Tensor, place: Tensor, places: int, share: float) -> Tensor:
    """(n,) bool, which entries are of the nucleus of their place: those whose better ones, on ties
    the earlier ones, have less than this share of its mass.
    """
    best = logits.new_full((places,), -torch.inf).scatter_reduce(0, place, logits, "amax")
    mass = (logits - best[place]).exp()
    whole = mass.new_zeros(places).index_add(0, place, mass)
    order = _best_first(logits, place)
    sums = mass[order].cumsum(0) - mass[order]
    before = torch.empty_like(sums).scatter(0, order, sums) - (whole.cumsum(0) - whole)[place]
    # The best entry has a mass of 1 and nothing before it, but for rounding: it always stays.
    return before < (share * whole[place]).clamp(min=1e-9)


def project(
    scores: Tensor,
    stream: Words,
    *,
    temperature: float,
    min_p: float,
    top_p: float = 1.0,
    no_repeat: int = 0,
    end: int = -1,
) -> Tensor:
    """Greedy at temperature 0, else one draw from the candidates, or from their nucleus.

    The nucleus is the fewest best candidates that have together at least `top_p` of the mass of all
    candidates of the position (Holtzman et al. 2020, but of the whole vocabulary).

    A draw that would repeat a run of `no_repeat` tokens of the draft before it, up to the first end
    token, is taken back: the position gets the next of all its candidates in the order of their
    draw, those outside the nucleus too, or keeps the first where all of them would repeat (Paulus
    et al. 2018, section 2.5, forbid this in beam search). Positions that are drawn at once say a
    thing twice more often than those drawn in turn. A sharp nucleus in a wide set of candidates
    keeps likely words and still leaves a way out of a repeat.

    Args:
        scores: (batch, positions, V) fp32 fused scores, -inf at ids that must not appear.
        stream: random words of the batch's rows; the token id is the draw, so only candidates
            cost anything.
        temperature: 0 for greedy.
        min_p: least probability of a candidate, as a share of the best one's; in (0, 1].
        top_p: mass of the nucleus, a share in (0, 1]; 1 is every candidate.
        no_repeat: tokens of a run that is not drawn twice, at least 2; 0: all may be. Greedy
            repeats what it likes.
        end: id of the end token.

    Returns:
        (batch, positions) int64.
    """
    if temperature == 0 or min_p == 1:
        return greedy(scores)
    rows, positions, ids = _candidates(scores, temperature, min_p).nonzero(as_tuple=True)
    places = scores.shape[0] * scores.shape[1]
    place = rows * scores.shape[1] + positions
    values = scores[rows, positions, ids]
    logits, keys = keyed(values, stream, rows, positions, ids, temperature=temperature)
    drawn = keys if top_p == 1 else keys.where(_nucleus(logits, place, places, top_p), -torch.inf)
    best = keys.new_full((places,), -torch.inf).scatter_reduce(0, place, drawn, "amax")
    winners = torch.where(drawn == best[place], ids, scores.shape[-1])
    chosen = winners.new_full(best.shape, scores.shape[-1]).scatter_reduce(
        0, place, winners, "amin"
    )
    chosen = chosen.view(scores.shape[:2])
    if not no_repeat:
        return chosen
    ends = place.bincount().cumsum(0).tolist()

    def others(at: int) -> list[int]:
        here = slice(ends[at - 1] if at else 0, ends[at])
        order: list[int] = ids[here][keys[here].sort(descending=True, stable=True).indices].tolist()
        return order

    drafts = [
        _without_repeats(draft, row * len(draft), others, no_repeat, end)
        for row, draft in enumerate(chosen.tolist())
    ]
    return torch.tensor(drafts, device=scores.device)


@dataclass(frozen=True, slots=True)
class Draw:
    """How candidates become tokens; the arguments of `project`."""

    temperature: float
    min_p: float = 1.0
    top_p: float = 1.0
    no_repeat: int = 0
    end: int = -1

    def tokens(self, scores: Tensor, words: Words) -> Tensor:
        """The tokens of scores (batch, positions, V) fp32: (batch, positions) int64."""
        return project(
            scores,
            words,
            temperature=self.temperature,
            min_p=self.min_p,
            top_p=self.top_p,
            no_repeat=self.no_repeat,
            end=self.end,
        )

    def least(self, best: Tensor) -> Tensor:
        """The least score of a candidate, where the best one has these."""
        return threshold(best, temperature=self.temperature, min_p=self.min_p)


def keyed(
    values: Tensor,
    stream: Words,
    rows: Tensor,
    positions: Tensor,
    ids: Tensor,
    *,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """What a draw reads of the scores (n,) fp32 at some rows, positions and ids: their logits at
    the temperature, and these with a Gumbel each, of which the largest is drawn. Both (n,)
    float64, and none falls where its score rises.
    """
    logits = values.double() / temperature
    words = stream.words_at(Purpose.GUMBEL, rows, positions, ids)
    return logits, logits - (-uniform(words).log()).log()


def _without_repeats(
    draft: list[int], first: int, others: Callable[[int], list[int]], length: int, end: int
) -> list[int]:
    """The draft with other candidates where a run would stand twice: `others` gives those of a
    place, the best first, and `first` is the place of the draft's first position.
    """
    for position, taken in enumerate(followers(draft, length, end)):
        if draft[position] in taken:
            fresh = (v for v in others(first + position) if v not in taken)
            draft[position] = next(fresh, draft[position])
    return draft


def followers(draft: Sequence[int], length: int, end: int) -> Iterator[frozenset[int]]:
    """For each position of a draft, up to its first end token: the tokens that would repeat a run
    of `length` there. The draft may be changed at a position before the next one is asked for.
    """
    taken: dict[tuple[int, ...], frozenset[int]] = {}
    for position in range(len(draft)):
        before = tuple(draft[max(0, position - length + 1) : position])
        here = taken.get(before, frozenset())
        yield here
        if len(before) == length - 1:
            taken[before] = here | {draft[position]}
        if draft[position] == end:
            return


def deciders(ids: Tensor, core_choice: Tensor, david_choice: Tensor | None) -> Tensor:
    """Who decided each of the ids (batch, positions): uint8 values of `Decider`.

    Args:
        ids: the projected tokens.
        core_choice: the large model's first choices.
        david_choice: the contributors' first choices; None when none took part.
    """
    core = ids == core_choice
    david = torch.zeros_like(core) if david_choice is None else ids == david_choice
    result = torch.full(ids.shape, int(Decider.NEITHER), dtype=torch.uint8, device=ids.device)
    result[core] = int(Decider.CORE)
    result[david] = int(Decider.DAVID)
    result[core & david] = int(Decider.BOTH)
    return result
