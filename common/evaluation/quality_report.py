"""From the answers of a quality run to its figures, with 95 % intervals over questions (bootstrap).

Distinct runs have no interval: a question drawn twice repeats its runs, so that resampling would
say that all text repeats itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.evaluation import text
from common.evaluation.answers import Cell, Row
from common.evaluation.quality import Task

BOOTSTRAPS = 2000
COMPARED = (32, 128)
"""Step counts whose difference is tested."""

Rows = Mapping[Cell, Sequence[Row]]


@dataclass(frozen=True, slots=True, eq=False)
class _Shares:
    """A mean as sums over questions: (questions,) float64 each; where `of` is 0, nothing counts."""

    part: np.ndarray
    of: np.ndarray

    @classmethod
    def mean(cls, values: Sequence[float] | np.ndarray) -> "_Shares":
        """The plain mean of the values that are not NaN."""
        array = np.asarray(values, np.float64)
        return cls(np.nan_to_num(array), (~np.isnan(array)).astype(np.float64))

    def value(self) -> float:
        """The mean; NaN of nothing."""
        return float(self.part.sum() / self.of.sum()) if self.of.any() else float("nan")

    def resampled(self, picks: np.ndarray) -> np.ndarray:
        """(resamples,) the mean of each row of `picks`."""
        of = self.of[picks].sum(1)
        means: np.ndarray = np.divide(
            self.part[picks].sum(1), of, out=np.full(len(of), np.nan), where=of > 0
        )
        return means


def report(task: Task, rows: Rows) -> list[dict[str, Any]]:
    """One record for each cell of a task, references first: the lines of the table.

    Numbers that nothing was there to compute from are None; what is copied from contexts is there
    for a task that has some.
    """
    split = {cell: [text.tokens(row.text) for row in found] for cell, found in rows.items()}
    limit = min((text.count_runs(words) for words in split.values()), default=0)
    picks = _picks(len(task.questions))
    records = []
    for cell, found in rows.items():
        words = split[cell]
        nats = _nats(found)
        own, control = text.recall([row.text for row in found], task.wanted)
        each = [row.nats / row.tokens for row in found if row.tokens]
        records.append(
            {
                "data": cell.data,
                "system": cell.system,
                "steps": cell.steps or None,
                "n": len(found),
                "empty": sum(not row.tokens for row in found),
                "judge_tokens": sum(row.tokens for row in found),
                "perplexity": _exp(_interval(nats, picks)),
                "median_perplexity": _number(float(np.exp(np.median(each)))) if each else None,
                "repetition": _interval(_Shares.mean([text.repetition(w) for w in words]), picks),
                "doubled": _interval(_Shares.mean([text.doubled(w) for w in words]), picks),
                "distinct": _number(text.distinct(words, limit)),
                "distinct_runs": limit,
                "words": _interval(_Shares.mean([len(w) for w in words]), picks),
                "rare_recall": _interval(_Shares.mean(own), picks),
                "rare_recall_control": _number(_Shares.mean(control).value()),
                **_copied(task, found, picks),
            }
        )
    return records


def _copied(task: Task, found: Sequence[Row], picks: np.ndarray) -> dict[str, Any]:
    """The share of the facts that the answers have, and the control; {} without any context."""
    if not task.private:
        return {}
    own, control = text.recall([row.text for row in found], task.facts)
    return {
        "copied": _interval(_Shares.mean(own), picks),
        "copied_control": _number(_Shares.mean(control).value()),
    }


def summary(task: Task, rows: Rows, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the table says: each line as a share of real text, and 32 steps against 128."""
    real = next((r for r in records if r["system"] == "real"), None)
    made = [r for r in records if r["steps"]]
    return {
        "data": task.name,
        "against_real": [_against(task, rows, r, real) for r in made if real],
        "steps_32_vs_128": {
            system: difference
            for system in dict.fromkeys(r["system"] for r in made)
            if (difference := _steps(rows, task, system))
        },
    }


def _against(task: Task, rows: Rows, ours: dict[str, Any], real: dict[str, Any]) -> dict[str, Any]:
    """A line as a share of real text; distinct runs among as many as the shorter of the two has."""
    texts = [
        [text.tokens(row.text) for row in rows[Cell(task.name, system, steps)]]
        for system, steps in ((ours["system"], ours["steps"]), (real["system"], 0))
    ]
    limit = min(map(text.count_runs, texts))
    own, other = (_number(text.distinct(words, limit)) for words in texts)
    return {
        "system": ours["system"],
        "steps": ours["steps"],
        "perplexity": _ratio(ours["perplexity"]["value"], real["perplexity"]["value"]),
        "repetition": _ratio(ours["repetition"]["value"], real["repetition"]["value"]),
        "distinct": _ratio(own, other),
        "distinct_runs": limit,
    }


def _steps(rows: Rows, task: Task, system: str) -> dict[str, Any] | None:
    few, many = (rows.get(Cell(task.name, system, steps)) for steps in COMPARED)
    if few is None or many is None:
        return None
    both = np.array([bool(a.tokens and b.tokens) for a, b in zip(few, many, strict=True)])
    ours, theirs = (_nats(found) for found in (few, many))
    ours, theirs = (_Shares(s.part * both, s.of * both) for s in (ours, theirs))
    picks = _picks(len(both))
    deltas = ours.resampled(picks) - theirs.resampled(picks)
    return {
        "delta": _number(ours.value() - theirs.value()),
        **_bounds(deltas),
        "n": int(both.sum()),
    }


def _nats(found: Sequence[Row]) -> _Shares:
    return _Shares(
        np.array([row.nats for row in found], np.float64),
        np.array([row.tokens for row in found], np.float64),
    )


def _picks(questions: int) -> np.ndarray:
    return np.random.default_rng(0).integers(questions, size=(BOOTSTRAPS, questions))


def _interval(shares: _Shares, picks: np.ndarray) -> dict[str, float | None]:
    return {"value": _number(shares.value()), **_bounds(shares.resampled(picks))}


def _bounds(values: np.ndarray) -> dict[str, float | None]:
    kept = values[~np.isnan(values)]
    if not len(kept):
        return {"low": None, "high": None}
    low, high = np.quantile(kept, (0.025, 0.975))
    return {"low": _number(float(low)), "high": _number(float(high))}


def _exp(found: dict[str, float | None]) -> dict[str, float | None]:
    return {name: None if x is None else float(np.exp(x)) for name, x in found.items()}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _ratio(ours: float | None, real: float | None) -> float | None:
    return ours / real if ours is not None and real else None
