"""Does a David help a Goliath? Denoising cross-entropy of both and of the pair at each weight, on
held-out text.

The weight is cross-fitted: prompts are halved (see `halves_of`), and each half is scored at the
weight that was best on the other one. The same is done for temperature-calibrated models, so that
calibration is not mistaken for help.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.denoising.streams import Words
from common.errors import BadDataError
from common.models.registry import LanguageModel, simplex_model
from common.models.simplex_network import SimplexDiffusionLM
from common.processes.simplex import conditioning
from common.processes.simplex.state import Bag
from common.text.wordpiece import WordPieceVocabulary
from common.training.denoising import noisy, predict, two_passes
from common.training.examples import Batch, Crop, collate

TIMES = (0.15, 0.2, 0.25, 0.3, 0.35)
AVERAGED = (0.2, 0.25, 0.3, 0.35)
TEMPERATURES = tuple(float(f"{x:.3g}") for x in np.geomspace(0.6, 1.67, 11))
CALIBRATION_PROMPTS = 32
"""Prompts of each half that its temperatures are fitted on."""
CALIBRATION_STRIDE = 4
"""One token in so many of these is enough for one number a model."""
BOOTSTRAPS = 2000
BATCH = 16
"""Blocks of a forward pass."""


@dataclass(frozen=True, slots=True)
class Question:
    """One held-out record."""

    instruction: str
    context: str
    """Private text, shown to David alone; empty for none."""
    response: str


LEAST = 4
"""Questions that can be halved: two in each half."""


def halves_of(questions: Sequence[Question]) -> np.ndarray:
    """(questions,) int64, 0 or 1: the half of each, equally large but for an odd one.

    The order is that of hashes, the instruction's first: what is asked in the same words stays
    together, unless that alone is more than a half.
    """
    keys = [
        [hashlib.sha256(part.encode()).digest() for part in (q.instruction, q.context, q.response)]
        for q in questions
    ]
    halves = np.zeros(len(questions), np.int64)
    halves[sorted(range(len(questions)), key=keys.__getitem__)[len(questions) // 2 :]] = 1
    return halves


@dataclass(frozen=True, slots=True)
class _Part:
    """A batch of blocks as both models see it."""

    goliath: Batch
    david: Batch
    prompts: np.ndarray
    """(scored,) int64, the prompt of each scored token."""
    seed: int


@dataclass(frozen=True, slots=True)
class Pair:
    """The two models under test, with one vocabulary."""

    goliath: SimplexDiffusionLM
    david: SimplexDiffusionLM
    vocabulary: WordPieceVocabulary

    @property
    def models(self) -> tuple[LanguageModel, LanguageModel]:
        """Goliath and David as sessions take them."""
        return (
            simplex_model("goliath", self.goliath, self.vocabulary),
            simplex_model("david", self.david, self.vocabulary),
        )

    def logits(self, part: _Part, time: float) -> tuple[Tensor, Tensor]:
        """(scored, V) fp32 of each, on the same noise, conditioned on its own prediction."""
        return (
            two_passes(self.goliath, part.goliath, *_noise(part, time)),
            two_passes(self.david, part.david, *_noise(part, time)),
        )

    def fused_logits(
        self, part: _Part, time: float, weights: Sequence[float]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(scored, V) fp32 of each, both conditioned on their prediction fused at each weight: the
        self-conditioning `fused`, where a session leaves out what is below its min-p.
        """
        t = _noise(part, time)[1]
        views = [
            (model, batch, noisy(model, batch, *_noise(part, time)))
            for model, batch in ((self.goliath, part.goliath), (self.david, part.david))
        ]

        def both(condition: Bag | None, positions: Tensor | None) -> tuple[Tensor, Tensor]:
            core, small = (
                predict(model, batch, simplex, t, condition, positions)
                for model, batch, simplex in views
            )
            return core, small

        first = both(None, None)
        for weight in weights:
            condition = conditioning.from_logits(torch.lerp(first[0], first[1], weight))
            yield both(condition, part.goliath.scored)


def _noise(part: _Part, time: float) -> tuple[Words, Tensor]:
    rows = len(part.goliath.target)
    seeds = [part.seed + i for i in range(rows)]
    stream = Words(seeds, [0] * rows, [0] * rows, part.goliath.target.device)
    return stream, torch.full((rows,), time, dtype=torch.float64)


def _parts(pair: Pair, questions: Sequence[Question]) -> list[_Part]:
    vocabulary, length = pair.vocabulary, pair.goliath.config.block_length
    room = min(m.config.max_positions for m in (pair.goliath, pair.david)) - length
    items: list[tuple[int, Crop, Crop]] = []
    for number, question in enumerate(questions):
        prompt, context, response = (
            vocabulary.encode(text).ids
            for text in (question.instruction, question.context, question.response)
        )
        public, private = vocabulary.prompt_ids(prompt), vocabulary.prompt_ids(prompt, context)
        for start in range(0, len(response), length):
            if len(private) + start > room:
                break
            target = (*response[start:], *(vocabulary.end,) * length)[:length]
            scored = min(length, len(response) - start)
            seen = [Crop((*p, *response[:start]), target, scored, ()) for p in (public, private)]
            items.append((number, seen[0], seen[1]))
    items.sort(key=lambda item: len(item[2].prefix))
    parts = []
    for at in range(0, len(items), BATCH):
        chunk = items[at : at + BATCH]
        goliath = collate([item[1] for item in chunk], vocabulary)
        david = collate([item[2] for item in chunk], vocabulary)
        owners = torch.tensor([item[0] for item in chunk]).unsqueeze(1).expand_as(goliath.scored)
        parts.append(_Part(goliath, david, owners[goliath.scored].numpy(), seed=1_000_003 + at))
    return parts


def _losses(logits: Tensor, target: Tensor) -> np.ndarray:
    chosen = logits.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    return (logits.logsumexp(-1) - chosen).double().numpy()


def _fit_temperatures(
    pair: Pair, questions: Sequence[Question], halves: np.ndarray
) -> dict[int, tuple[float, float]]:
    """Best (goliath, david) temperature of each half, on a sample of its prompts."""
    best: dict[int, tuple[float, float]] = {}
    for half in (0, 1):
        sample = [questions[i] for i in np.flatnonzero(halves == half)[:CALIBRATION_PROMPTS]]
        sums = np.zeros((2, len(TEMPERATURES)))
        for part in _parts(pair, sample):
            target = part.goliath.target[part.goliath.scored][::CALIBRATION_STRIDE]
            for time in AVERAGED:
                for side, logits in enumerate(pair.logits(part, time)):
                    some = logits[::CALIBRATION_STRIDE]
                    sums[side] += [_losses(some / t, target).sum() for t in TEMPERATURES]
        goliath, david = (TEMPERATURES[int(i)] for i in sums.argmin(1))
        best[half] = (goliath, david)
    return best


def _systems(weights: Sequence[float]) -> list[str]:
    names = ["goliath", "david", *(f"pair {w:g}" for w in weights)]
    return [*names, *(f"calibrated {name}" for name in names)]


@torch.inference_mode()
def evaluate_pair(
    pair: Pair,
    questions: Sequence[Question],
    *,
    weights: Sequence[float],
    fused: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """Measure; the keys are those that `goliath evaluate --json` prints.

    Args:
        pair: the models, in eval mode.
        questions: held-out records, at least `LEAST`.
        weights: David's weights to try, each in (0, 1).
        fused: whether the two of a pair see the fused prediction, and not each its own.
        progress: called with (parts done, parts in all).

    Raises:
        BadDataError: nothing of a half can be scored.
    """
    halves = halves_of(questions)
    parts = _parts(pair, questions)
    scored = {int(halves[prompt]) for part in parts for prompt in part.prompts}
    if len(scored) < 2:
        raise BadDataError(
            "expected questions with a response, short enough for the models, in each half of them",
            remedy="Give more questions, or shorter ones",
        )
    temperatures = _fit_temperatures(pair, questions, halves)
    names = _systems(weights)
    sums = np.zeros((len(names), len(TIMES), len(questions)))
    counts = np.zeros(len(questions))
    for done, part in enumerate(parts):
        progress(done, len(parts))
        target = part.goliath.target[part.goliath.scored]
        np.add.at(counts, part.prompts, 1)
        # The temperatures that a token's prompt is scored at were fitted on the other half.
        scales = np.array([temperatures[1 - half] for half in halves[part.prompts]])
        scale = torch.from_numpy(scales).float()
        for level, time in enumerate(TIMES):
            alone = pair.logits(part, time)
            paired = pair.fused_logits(part, time, weights) if fused else repeat(alone)
            shown = chain(((w, alone) for w in (0.0, 1.0)), zip(weights, paired, strict=False))
            for row, (weight, (core, small)) in enumerate(shown):
                versions = ((core, small), (core / scale[:, :1], small / scale[:, 1:]))
                for version, (one, other) in enumerate(versions):
                    losses = _losses(torch.lerp(one, other, weight), target)
                    place = row + version * len(names) // 2
                    np.add.at(sums[place, level], part.prompts, losses)
    progress(len(parts), len(parts))
    table = dict(zip(names, sums, strict=True))
    report = _report(table, counts, halves, weights)
    calibrated = {
        n.removeprefix("calibrated "): v for n, v in table.items() if n.startswith("calibrated ")
    }
    report["calibrated"] = _report(calibrated, counts, halves, weights)
    report["calibrated"]["temperatures"] = {f"half {h}": list(t) for h, t in temperatures.items()}
    levels = [TIMES.index(t) for t in AVERAGED]
    best = _cross_fitted(table, counts, halves, weights, levels)[0]
    for name in ("goliath", "david"):
        other = calibrated[name][levels].mean(0)
        report[f"best_vs_calibrated_{name}"] = _difference(best, other, counts)
    report["n"] = len(questions)
    report["tokens"] = int(counts.sum())
    return report


def _cross_fitted(
    table: dict[str, np.ndarray],
    counts: np.ndarray,
    halves: np.ndarray,
    weights: Sequence[float],
    levels: list[int],
) -> tuple[np.ndarray, dict[str, float]]:
    """Per-prompt sums with each half at the other half's best weight, and those weights."""
    by_weight = np.stack([table[f"pair {w:g}"][levels].mean(0) for w in weights])
    best = np.zeros(len(counts))
    chosen = {}
    for half in (0, 1):
        there, here = halves != half, halves == half
        index = int(by_weight[:, there].sum(1).argmin())
        chosen[f"half {half}"] = float(weights[index])
        best[here] = by_weight[index, here]
    return best, chosen


def _report(
    table: dict[str, np.ndarray], counts: np.ndarray, halves: np.ndarray, weights: Sequence[float]
) -> dict[str, Any]:
    levels = [TIMES.index(t) for t in AVERAGED]
    total = counts.sum()
    best, chosen = _cross_fitted(table, counts, halves, weights, levels)
    alone = {name: table[name][levels].mean(0) for name in ("goliath", "david")}
    return {
        "goliath": alone["goliath"].sum() / total,
        "david": alone["david"].sum() / total,
        "pair": {f"{w:g}": table[f"pair {w:g}"][levels].mean(0).sum() / total for w in weights},
        "best_weight": chosen,
        "best": best.sum() / total,
        "best_vs_goliath": _difference(best, alone["goliath"], counts),
        "best_vs_david": _difference(best, alone["david"], counts),
        "by_t": {
            f"{time:g}": {
                name: values[level].sum() / total
                for name, values in table.items()
                if "calib" not in name
            }
            for level, time in enumerate(TIMES)
        },
    }


def _difference(ours: np.ndarray, theirs: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    """Mean difference a token (negative: ours is lower) with a 95 % interval, bootstrapped over
    prompts.
    """
    rng = np.random.default_rng(0)
    picks = rng.integers(len(counts), size=(BOOTSTRAPS, len(counts)))
    deltas = (ours - theirs)[picks].sum(1) / counts[picks].sum(1)
    low, high = np.quantile(deltas, (0.025, 0.975))
    return {
        "delta": float((ours - theirs).sum() / counts.sum()),
        "low": float(low),
        "high": float(high),
    }
