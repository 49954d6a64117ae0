"""The simplex state, its noise, and the form in which a model reads it.

The published state is x = sqrt(abar) * projection + sqrt(1 - abar) * K * z with K on the estimate's
ids and -K elsewhere (SSD-LM, section 3.1), and the model reads softmax(x) @ embedding. A state is a
few ids and a seed here; `model_input` rebuilds what the model reads, densely or as a short weighted
bag of embedding rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.denoising.halting import Standstill
from common.denoising.process import Draft
from common.denoising.streams import Purpose, Words, uniform
from common.processes.simplex.schedule import alpha_bar
from common.processes.simplex.settings import Reading


@dataclass(frozen=True, slots=True, eq=False)
class FusedSignal:
    """The top of the fused distribution of the step before, as it is sent."""

    ids: np.ndarray
    """(block_length, entries) int64 token ids, unique in a row."""
    probabilities: np.ndarray
    """(block_length, entries) float16; what is missing to 1 lies on all other ids."""


@dataclass(frozen=True, slots=True)
class SimplexState:
    """One noisy simplex state as it is sent: everything else is rebuilt from these."""

    seed: int
    """Key of the noise, uint64."""
    block: int
    """Block index, 0 first, under 2**16."""
    step: int
    """Step index within the block, 0 first, under 2**16."""
    t: float
    """Time in (0, 1] from the agreed table; 1 is pure noise."""
    estimate: np.ndarray
    """(positions, h) int64 projected token ids: h = 0 at step 0, 1 for greedy and sampling; -1 pads
    multi-hot rows.
    """
    times: np.ndarray | None = None
    """(positions,) float64 times of the positions, with a ramp; None: t for all."""
    signal: FusedSignal | None = None
    """What all models condition on as well, with the self-conditioning fused; else None."""
    still: Standstill | None = None
    """How long the answer has stood still, where a block may halt; does not travel."""

    @property
    def positions(self) -> int:
        """Positions of the block."""
        return len(self.estimate)

    @property
    def draft(self) -> Draft:
        """The estimate: guesses, of which nothing is known but that they are some."""
        size = self.positions
        return Draft(self.estimate, np.zeros(size, np.bool_), np.ones(size, np.float32))

    @property
    def ids_shown(self) -> dict[str, np.ndarray]:
        """Every id that the state shows to models, int64, by what it is for."""
        ids = {"state": self.estimate}
        if self.signal is not None:
            ids["fused"] = self.signal.ids[self.signal.probabilities > 0]
        return ids

    @property
    def noise(self) -> float:
        """The time."""
        return self.t

    @property
    def noisiest(self) -> float:
        """The largest time of a position."""
        return self.t if self.times is None else float(self.times.max())


@dataclass(frozen=True, slots=True)
class NoiseForm:
    """`dense`, or `extremes` with the m largest normals and r rows that stand for the tail."""

    name: str = "extremes"
    m: int = 128
    r: int = 32

    def for_vocabulary(self, size: int) -> "NoiseForm":
        """The form actually used: a small vocabulary (m > size / 8) is cheaper and exact when
        dense.
        """
        return NoiseForm("dense", 0, 0) if self.name == "extremes" and self.m > size / 8 else self


@dataclass(frozen=True, slots=True)
class Bag:
    """A distribution over the vocabulary as a weighted bag of embedding rows."""

    ids: Tensor
    """(batch, positions, rows) int64."""
    weights: Tensor
    """(batch, positions, rows) fp32, >= 0."""
    rest: Tensor
    """(batch, positions) fp32, the mass on the mean embedding; weights and rest sum to 1."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a noisy simplex says about its tokens: log p(x | token), up to a constant at a position.

    The entries of x are independent normals whose means differ at the token alone, so one entry
    tells all that x says about its token; entries that are too small to be listed tell only that.
    """

    ids: Tensor | None
    """(batch, positions, rows) int64, the listed ids; None when all V are listed, in order."""
    logs: Tensor
    """(batch, positions, rows) fp32, none smaller than `rest`."""
    rest: Tensor
    """(batch, positions) fp32, the value of every id that is not listed."""

    def rows(self, positions: Tensor | None) -> "Evidence":
        """The evidence at chosen positions (batch, positions) bool as (chosen, rows); None: all."""
        if positions is None:
            return self
        ids = None if self.ids is None else self.ids[positions]
        return Evidence(ids, self.logs[positions], self.rest[positions])

    def dense(self, vocabulary_size: int) -> Tensor:
        """(..., V) fp32; the best value counts where an id is listed twice."""
        if self.ids is None:
            return self.logs
        full = self.rest.unsqueeze(-1).expand(*self.rest.shape, vocabulary_size).contiguous()
        return full.scatter_reduce_(-1, self.ids, self.logs, "amax")

    def posterior(self, log_prior: Tensor) -> "Bag | Tensor":
        """The distribution of the tokens under a prior (V,) of log-probabilities: a bag of the
        listed ids whose rest is spread by the prior, or (batch, positions, V) fp32 when all are
        listed.
        """
        if self.ids is None:
            return (self.logs + log_prior).softmax(-1)
        prior, rest = log_prior[self.ids], self.rest.unsqueeze(-1)
        # What is not listed has rest's share of the whole prior, so that the listed ids carry only
        # what they have beyond it.
        beyond = self.logs + torch.log1p(-(rest - self.logs).exp().clamp(max=1.0)) + prior
        mass = torch.cat((beyond, rest), -1).softmax(-1)
        return Bag(self.ids, mass[..., :-1], mass[..., -1])


ModelInput = Bag | Tensor | Evidence
"""What a model reads: a bag, dense probabilities (batch, positions, V) fp32, or evidence."""


def embed_bag(bag: Bag, table: Tensor, mean: Tensor) -> Tensor:
    """Mean embedding under a bag, (batch, positions, width).

    Args:
        bag: the distribution.
        table: (V, width) embedding rows.
        mean: (width,) what mass without an id embeds to.
    """
    rows = torch.nn.functional.embedding_bag(
        bag.ids.flatten(0, 1),
        table,
        mode="sum",
        per_sample_weights=bag.weights.flatten(0, 1).to(table.dtype),
    ).view(*bag.ids.shape[:2], -1)
    return rows + bag.rest.unsqueeze(-1).to(table.dtype) * mean


def stack_estimates(states: Sequence[SimplexState], device: torch.device) -> Tensor:
    """Estimates of a batch as (batch, positions, h) int64, padded with -1 to the largest h."""
    width = max(state.estimate.shape[1] for state in states)
    rows = [
        np.pad(s.estimate, ((0, 0), (0, width - s.estimate.shape[1])), constant_values=-1)
        for s in states
    ]
    return torch.from_numpy(np.stack(rows).astype(np.int64)).to(device)


def stack_times(states: Sequence[SimplexState], device: torch.device) -> Tensor:
    """Times of a batch, float64: (batch,), or (batch, positions) where any state has a ramp."""
    if all(state.times is None for state in states):
        return torch.tensor([s.t for s in states], dtype=torch.float64, device=device)
    rows = [np.full(len(s.estimate), s.t) if s.times is None else s.times for s in states]
    return torch.from_numpy(np.stack(rows)).to(device)


def states_input(
    states: Sequence[SimplexState],
    *,
    form: NoiseForm,
    simplex_value: float,
    vocabulary_size: int,
    reading: Reading = Reading.SOFTMAX,
    device: torch.device,
) -> ModelInput:
    """What the model reads for a batch of states of one block length."""
    stream = Words(
        [s.seed for s in states], [s.block for s in states], [s.step for s in states], device
    )
    return model_input(
        stream,
        stack_estimates(states, device),
        stack_times(states, device),
        form=form,
        simplex_value=simplex_value,
        vocabulary_size=vocabulary_size,
        reading=reading,
    )


def model_input(
    stream: Words,
    estimate: Tensor,
    t: Tensor,
    *,
    form: NoiseForm,
    simplex_value: float,
    vocabulary_size: int,
    reading: Reading = Reading.SOFTMAX,
) -> ModelInput:
    """The noisy simplex as a model reads it, from ids and counters.

    Args:
        stream: random words of the batch's rows.
        estimate: (batch, positions, h) int64 ids, -1 for none.
        t: float64 times in (0, 1]; (batch,), or (batch, positions) where training gives each
            position one of its own.
        form: the noise form agreed for the session.
        simplex_value: K.
        vocabulary_size: V.
        reading: how the model reads it.

    Returns:
        `Evidence` for the reading posterior; for softmax a `Bag` for `extremes`, (batch, positions,
        V) fp32 probabilities for `dense`.
    """
    form = form.for_vocabulary(vocabulary_size)
    positions, hot = estimate.shape[1:]
    if form.name == "dense":
        normals = torch.special.ndtri(
            uniform(stream.words(Purpose.DENSE_NORMALS, positions, vocabulary_size))
        )
        if reading is Reading.POSTERIOR:
            return dense_evidence(normals, estimate, t)
        return dense_input(normals, estimate, t, simplex_value=simplex_value)
    if form.name != "extremes":
        raise ValueError(f"expected noise form 'dense' or 'extremes', got {form.name!r}")
    others = vocabulary_size - (estimate >= 0).sum(-1)
    hot_normals = torch.special.ndtri(uniform(stream.words(Purpose.HOT_NORMALS, positions, hot)))
    top = largest_normals(
        uniform(stream.words(Purpose.ORDER_STATISTICS, positions, form.m)), others
    )
    noise_ids = _other_ids(stream.words(Purpose.NOISE_IDS, positions, form.m), estimate, others)
    if reading is Reading.POSTERIOR:
        return extremes_evidence(estimate, t, hot_normals, top, noise_ids)
    tail_ids = _other_ids(stream.words(Purpose.TAIL_ROWS, positions, form.r), estimate, others)
    return extremes_input(
        estimate, t, hot_normals, top, noise_ids, tail_ids, others, simplex_value=simplex_value
    )


def _columns(level: Tensor) -> Tensor:
    """(batch,) or (batch, positions) as (batch, 1 or positions, 1)."""
    return level.view(len(level), -1, 1)


def dense_input(normals: Tensor, estimate: Tensor, t: Tensor, *, simplex_value: float) -> Tensor:
    """The published form: softmax of x with one normal (batch, positions, V) for every vocabulary
    entry.
    """
    signal = _columns(alpha_bar(t))
    clean = torch.full_like(normals, -simplex_value)
    if estimate.shape[-1]:
        # Padding (-1) writes into a spare last column, so that it can never mark an id.
        spare = torch.cat((clean, clean[..., :1]), -1)
        index = torch.where(estimate < 0, normals.shape[-1], estimate)
        clean = spare.scatter(-1, index, simplex_value)[..., :-1]
    x = signal.sqrt() * clean + (1 - signal).sqrt() * simplex_value * normals
    return x.softmax(-1).float()


def separation(t: Tensor) -> Tensor:
    """Distance of a hot entry's mean from the others' in standard deviations, 2 sqrt(abar / (1 -
    abar)), float64; K cancels.
    """
    signal = alpha_bar(t)
    return 2 * (signal / (1 - signal)).sqrt()


def dense_evidence(normals: Tensor, estimate: Tensor, t: Tensor) -> Evidence:
    """Evidence of every entry, from one normal (batch, positions, V) for each.

    An entry y in standard deviations above the others' mean is exp(d y - d^2 / 2) times likelier
    if its id is the token, with d the `separation`.
    """
    d = _columns(separation(t))
    y = torch.cat((normals, normals[..., :1]), -1)  # a spare last column takes the padding (-1)
    index = torch.where(estimate < 0, normals.shape[-1], estimate)
    y = y.scatter_add(-1, index, d.expand(index.shape).to(y.dtype))[..., :-1]
    logs = (d * y - d**2 / 2).float()
    return Evidence(None, logs, torch.full_like(logs[..., 0], -torch.inf))


def extremes_evidence(
    hot_ids: Tensor, t: Tensor, hot_normals: Tensor, top_normals: Tensor, noise_ids: Tensor
) -> Evidence:
    """Evidence of the entries above the m-th largest noise; arguments as in `extremes_input`.

    A hot entry below it is not listed either: else its being listed would tell that it is hot. What
    is not listed is Phi(tau - d) / Phi(tau) times likelier if it is the token.
    """
    d = _columns(separation(t))
    tau = top_normals[..., -1:]
    rest = torch.special.log_ndtr(tau - d) - torch.special.log_ndtr(tau)
    hot = hot_normals + d
    hot_logs = torch.where((hot_ids >= 0) & (hot > tau), d * hot - d**2 / 2, rest)
    logs = torch.cat((hot_logs, d * top_normals - d**2 / 2), -1)
    ids = torch.cat((hot_ids.clamp(min=0), noise_ids), -1)
    return Evidence(ids, logs.float(), rest.squeeze(-1).float())


def largest_normals(u: Tensor, others: Tensor) -> Tensor:
    """The m largest of `others` standard normals, descending, float64 (batch, positions, m).

    Order statistics of uniforms by the ratio method, in logs: L = cumsum(log(u_i) / (N - i)), z =
    -ndtri(-expm1(L)).
    """
    left = others.unsqueeze(-1) - torch.arange(u.shape[-1], device=u.device)
    logs = (u.log() / left).cumsum(-1)
    normals: Tensor = -torch.special.ndtri(-torch.expm1(logs))
    return normals


def _other_ids(words: Tensor, hot: Tensor, others: Tensor) -> Tensor:
    """Words to ids uniform over the ids that are not hot: scale to [0, others), then step past each
    hot id.
    """
    ids = (words * others.unsqueeze(-1)) >> 32
    for hot_id in hot.sort(-1).values.unbind(-1):
        ids = ids + ((hot_id.unsqueeze(-1) >= 0) & (ids >= hot_id.unsqueeze(-1))).long()
    return ids


def extremes_input(
    hot_ids: Tensor,
    t: Tensor,
    hot_normals: Tensor,
    top_normals: Tensor,
    noise_ids: Tensor,
    tail_ids: Tensor,
    others: Tensor,
    *,
    simplex_value: float,
) -> Bag:
    """softmax(x) as hot ids, the largest noise entries, and a tail with the right mean and
    variance.

    Args:
        hot_ids: (batch, positions, h) int64, -1 for none.
        t: (batch,) float64.
        hot_normals: (batch, positions, h) float64.
        top_normals: (batch, positions, m) float64, descending.
        noise_ids: (batch, positions, m) int64, the ids that the largest normals fell on.
        tail_ids: (batch, positions, r) int64, uniform ids that stand for all others.
        others: (batch, positions) int64, vocabulary size less the hot ids.
        simplex_value: K.
    """
    signal = _columns(alpha_bar(t))
    s = simplex_value * (1 - signal).sqrt()
    tau = top_normals[..., -1:]
    n = (others.unsqueeze(-1) - top_normals.shape[-1]).to(torch.float64)
    below = torch.special.log_ndtr(tau)
    log_s1 = n.log() + s**2 / 2 + torch.special.log_ndtr(tau - s) - below
    log_s2 = n.log() + 2 * s**2 + torch.special.log_ndtr(tau - 2 * s) - below
    kappa = ((log_s2 - 2 * log_s1).exp() - 1 / n).clamp(min=0)
    rows = tail_ids.shape[-1]
    spread = (rows * kappa).sqrt().clamp(max=1)

    hot_logits = 2 * simplex_value * signal.sqrt() + s * hot_normals
    hot_logits = hot_logits.masked_fill(hot_ids < 0, -torch.inf)
    mass = torch.cat((hot_logits, s * top_normals, log_s1), -1).softmax(-1)
    tail = mass[..., -1:]
    weights = torch.cat(
        (mass[..., :-1], (tail * spread / max(rows, 1)).expand(*tail.shape[:-1], rows)), -1
    )
    return Bag(
        ids=torch.cat((hot_ids.clamp(min=0), noise_ids, tail_ids), -1),
        weights=weights.float(),
        rest=(tail * (1 - spread)).squeeze(-1).float(),
    )
