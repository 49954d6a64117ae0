"""What is benched, and the figures of each row: from replies and counted bytes, pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from statistics import fmean, median
from typing import Any

from common.collaboration.contribution import entries_at
from common.collaboration.timing import Every
from common.processes.simplex.settings import SimplexSettings
from goliath_server.bench.proxy import Chunk, total

_FP16, _FP32 = 2, 4
"""Bytes of a number."""


@dataclass(frozen=True, slots=True)
class WireMode:
    """One row of `bench wire`; `options` are settings of `david ask`, by their names there."""

    codec: str
    projection: str
    temperature: float
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the codec's name stands for."""

    @property
    def asked(self) -> dict[str, Any]:
        """All settings that make the row."""
        return {
            **self.options,
            "projection": self.projection,
            "temperature": self.temperature,
        }

    @property
    def reference(self) -> dict[str, Any]:
        """The settings of the same answer, dense in process."""
        shared = {k: v for k, v in self.options.items() if k not in {"codec", "certify"}}
        return {
            **shared,
            "codec": "dense",
            "projection": self.projection,
            "temperature": self.temperature,
        }


CODECS: Mapping[str, Mapping[str, Any]] = {
    "topk": {"codec": "topk"},
    "topk certified": {"codec": "topk", "certify": True},
    "topk, fused": {"codec": "topk", "self_conditioning": "fused"},
    "dense": {"codec": "dense"},
}
"""Ways of writing a contribution: what a row calls it, and the settings."""
PROJECTIONS = ("sample", "multi-hot")
TEMPERATURES = (0.0, SimplexSettings().temperature)
WIRE_MODES = tuple(
    WireMode(codec, projection, temperature, CODECS[codec])
    for codec, projection, temperature in product(CODECS, PROJECTIONS, TEMPERATURES)
)


@dataclass(frozen=True, slots=True)
class LatencyMode:
    """One way to live with a long way to the server."""

    name: str
    settings: Mapping[str, Any]
    """Settings of the session, by their names there."""

    @property
    def options(self) -> dict[str, Any]:
        """The same as settings of `david ask`, by their names there."""
        return {
            name: f"{value.first}:{value.period}:{value.last}"
            if isinstance(value, Every)
            else value
            for name, value in self.settings.items()
        }


LATENCY_MODES = (
    LatencyMode("lock-step", {}),
    LatencyMode("lag 1", {"lag": 1}),
    LatencyMode("lag 2", {"lag": 2}),
    LatencyMode("lag 4", {"lag": 4}),
    LatencyMode("every 4:4:4", {"every": Every(4, 4, 4)}),
    LatencyMode("goliath alone", {"weight": 0.0}),
)
"""The first one is what the others are compared with; the last one shows what David costs."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer over the wire."""

    reply: Mapping[str, Any]
    """What `david batch --json` printed."""
    chunks: Sequence[Chunk]
    """All that its connection carried."""


def wire_row(
    mode: WireMode, answers: Sequence[Answer], references: Sequence[Mapping[str, Any]] | None
) -> dict[str, Any]:
    """One row of `bench wire`.

    Args:
        mode: what was asked.
        answers: over the wire, at least one.
        references: the same answers dense in process; None where Goliath's model is not here.

    Returns:
        Bytes are means of one answer or step, over all answers. `..._bytes` of an answer are all
        that its connection carried; `opening_...` is what of them came until the first state was
        there, and `..._per_step` the rest by the steps. A ratio is what the published method would
        send, positions x vocabulary numbers a step in each direction, by the answer's bytes.
    """
    replies = [answer.reply for answer in answers]
    sums = [total(answer.chunks) for answer in answers]
    begun = [total(a.chunks, until=a.reply["moments"]["first_state"]) for a in answers]
    steps = sum(reply["steps_run"] for reply in replies)
    up, down = sum(b.up for b in sums), sum(b.down for b in sums)
    up_open, down_open = sum(b.up for b in begun), sum(b.down for b in begun)
    numbers = sum(r["steps_run"] * r["block_length"] * r["vocabulary_size"] for r in replies)
    rows = _rows(replies)
    known = None if references is None else list(zip(replies, references, strict=True))
    count = len(answers)
    return {
        "bench": "wire",
        "codec": mode.codec,
        "projection": mode.projection,
        "temperature": mode.temperature,
        "down_ratio": _FP16 * numbers / down,
        "up_ratio": _FP16 * numbers / up,
        "down_ratio_fp32": _FP32 * numbers / down,
        "up_ratio_fp32": _FP32 * numbers / up,
        "down_bytes": down / count,
        "up_bytes": up / count,
        "opening_down_bytes": down_open / count,
        "opening_up_bytes": up_open / count,
        "down_bytes_per_step": (down - down_open) / steps,
        "up_bytes_per_step": (up - up_open) / steps,
        "entries_p50": entries_at(rows, 0.5) if rows else None,
        "entries_p99": entries_at(rows, 0.99) if rows else None,
        **_certainty(replies, steps),
        "tokens_identical": None if known is None else sum(_same(a, b) for a, b in known),
        "tokens_total": sum(len(r["tokens"]) for r in replies)
        if known is None
        else sum(max(len(a["tokens"]), len(b["tokens"])) for a, b in known),
        "seconds": fmean(r["seconds"] for r in replies),
        "wall_ratio": None
        if known is None
        else sum(a["seconds"] for a, _ in known) / sum(b["seconds"] for _, b in known),
    }


def _rows(replies: Sequence[Mapping[str, Any]]) -> Counter[int]:
    """David's rows in all answers, by the number of their entries."""
    rows: Counter[int] = Counter()
    for reply in replies:
        found = (reply.get("entries") or {}).get("rows", {})
        rows.update({int(entries): count for entries, count in found.items()})
    return rows


def _certainty(replies: Sequence[Mapping[str, Any]], steps: int) -> dict[str, float | None]:
    """What is certified; None for what replies do not tell."""
    positions = sum(reply["steps_run"] * reply["block_length"] for reply in replies)

    def summed(key: str) -> int | None:
        found = [reply.get(key) for reply in replies]
        return None if None in found else sum(value for value in found if value is not None)

    at_once, asks = summed("certified_at_once"), summed("asks")
    return {
        "certified_share": None if at_once is None else at_once / positions,
        "asks_per_step": None if asks is None else asks / steps,
        "uncertified": summed("uncertified"),
    }


def _same(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> int:
    """Tokens that both have at the same place."""
    return sum(a == b for a, b in zip(ours["tokens"], theirs["tokens"], strict=False))


def step_ms(reply: Mapping[str, Any]) -> float:
    """Milliseconds of a step: from the first state to the last one, so that neither connecting nor
    leaving is in it; needs two steps.
    """
    moments = reply["moments"]
    between = float(moments["last_state"] - moments["first_state"])
    return 1000 * between / (int(reply["steps_run"]) - 1)


def latency_row(
    mode: LatencyMode,
    rtt_ms: float,
    replies: Sequence[Mapping[str, Any]],
    *,
    near: Sequence[Mapping[str, Any]],
    references: Sequence[Mapping[str, Any]] | None,
) -> dict[str, Any]:
    """One row of `bench latency`, but for the quality of the text.

    Args:
        mode: what was asked.
        rtt_ms: what the proxy added to each round trip.
        replies: the answers, each of at least two steps.
        near: the same answers with nothing added, in the same order.
        references: answers in process with a contribution at every step; None where Goliath's
            model is not here.
    """
    took, base = (median(step_ms(reply) for reply in some) for some in (replies, near))
    return {
        "bench": "latency",
        "rtt_ms": rtt_ms,
        "mode": mode.name,
        "steps": replies[0]["steps"],
        "step_ms": took,
        "added_rtts_per_step": (took - base) / rtt_ms if rtt_ms else None,
        "wall_ratio": None if references is None else took / median(map(step_ms, references)),
    }
