"""The rows of a bench for people: on a terminal, or as plain text."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

LEAST_WIDTH = 110
"""Characters of a line, also where the output is no terminal: fewer would cut figures off."""
_WIRE = {
    "codec": "codec",
    "projection": "projection",
    "temperature": "temp",
    "down_ratio": "down /",
    "up_ratio": "up /",
    "down_bytes_per_step": "B down/step",
    "up_bytes_per_step": "B up/step",
    "entries_p50": "entries",
    "entries_p99": "p99",
    "certified_share": "certified",
    "asks_per_step": "asks/step",
    "same": "same tokens",
    "wall_ratio": "time x",
}
_LATENCY = {
    "rtt_ms": "added ms",
    "mode": "mode",
    "step_ms": "ms/step",
    "added_rtts_per_step": "round trips/step",
    "wall_ratio": "time x",
    "cross_entropy": "nats",
    "judge_perplexity": "perplexity",
    "repetition": "repeated",
}
_MEANING = {
    "wire": (
        "down /, up /: how many times fewer bytes an answer takes, its connection included, than "
        "positions x vocabulary in fp16 each step",
        "entries: of David's rows, the median, and what 99 % do not pass; certified: share of "
        "positions that are at once",
        "same tokens: as dense in process; time x: an answer's seconds against dense in process",
    ),
    "latency": (
        "added ms: what the proxy adds to a round trip; ms/step: the median of the answers, "
        "without connecting",
        "round trips/step: what a step takes more, in added round trips; time x: a step's time "
        "against one in process",
        "nats: cross-entropy along the path of the true text, a token; perplexity, repeated: of "
        "the answers, by the judge, and share of repeated 4-grams",
    ),
}


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows of one bench, at least one, and what they mean."""
    console = Console(file=sys.stdout, markup=False, highlight=False, emoji=False)
    console.width = max(console.width, LEAST_WIDTH) if console.is_terminal else LEAST_WIDTH
    first = rows[0]
    title = (
        f"{first['bench']}: {first['prompts']} prompts, {first['steps']} steps, "
        f"{first['threads']} threads each, {first['device']}"
    )
    table = Table(box=None, title=title, title_justify="left", padding=(0, 1, 0, 0))
    columns = _WIRE if first["bench"] == "wire" else _LATENCY
    for name in columns.values():
        left = name in {"codec", "projection", "mode"}
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(_shown(_value(row, key)) for key in columns))
    console.print(table)
    for line in _MEANING[first["bench"]]:
        console.print(line)


def _value(row: Mapping[str, Any], key: str) -> Any:
    if key != "same":
        return row[key]
    identical = row["tokens_identical"]
    return None if identical is None else f"{identical}/{row['tokens_total']}"


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)
