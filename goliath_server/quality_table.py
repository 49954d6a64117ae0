"""The quality table and its examples, for people: on a terminal, or as plain text."""

import sys
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.evaluation.quality import Task
from common.evaluation.quality_report import Rows
from common.program.console import clean_line

LEAST_WIDTH = 100
"""Characters of a line, also where the output is no terminal: fewer would cut figures off."""
_COLUMNS = (
    "system", "steps", "perplexity", "median", "repeated", "doubled", "distinct", "words",
    "{known}", "chance", "empty",
)  # fmt: skip
_MEANING = (
    "perplexity: the judge's, of all answers (95 % interval) and the median of one; lower is "
    "likelier text",
    "repeated: share of an answer's 4-grams that are in it before; doubled: share of words that "
    "follow themselves",
    "distinct: share of different 4-grams among the first {runs} of each line",
    "{known}: share of {what}, not in the question, that the answer has; chance: of another "
    "question's",
)
_RARE = {"known": "rare", "what": "the real answer's rarer words"}
_COPIED = {"known": "copied", "what": "the real answer's names and numbers from the context"}
"""Where only a context has the answer, its rare words would say the same again, and less."""


def print_table(records: Sequence[dict[str, Any]], summary: dict[str, Any]) -> None:
    """The lines of one task, what they mean, and 32 steps against 128."""
    console = _console()
    names = _COPIED if "copied" in records[0] else _RARE
    title = _text(f"{summary['data']}: {records[0]['n']} questions")
    table = Table(box=None, title=title, title_justify="left", padding=(0, 1, 0, 0))
    for number, name in enumerate(_COLUMNS):
        table.add_column(name.format(**names), justify="right" if number else "left", no_wrap=True)
    for record in records:
        table.add_row(*map(_text, _line(record)))
    console.print(table)
    for line in _MEANING:
        console.print(_text(line.format(runs=records[0]["distinct_runs"], **names)))
    for system, found in summary["steps_32_vs_128"].items():
        if found["delta"] is not None:
            console.print(
                _text(
                    f"{system}, 32 steps against 128: log-perplexity {found['delta']:+.3f} "
                    f"({found['low']:+.3f} to {found['high']:+.3f})"
                )
            )


def samples(task: Task, rows: Rows, count: int) -> list[dict[str, Any]]:
    """The first questions with what each line of the table says to them."""
    return [
        {
            "data": task.name,
            "question": question.instruction,
            **({"context": question.context} if question.context else {}),
            "answers": [
                {"system": cell.system, "steps": cell.steps or None, "text": found[number].text}
                for cell, found in rows.items()
            ],
        }
        for number, question in enumerate(task.questions[:count])
    ]


def print_examples(found: Sequence[dict[str, Any]]) -> None:
    """Each question with its answers side by side: a column for each system, a row for each number
    of steps.
    """
    console = _console()
    for sample in found:
        answers = sample["answers"]
        texts = {(a["system"], a["steps"]): a["text"] for a in answers}
        systems = dict.fromkeys(a["system"] for a in answers if a["steps"])
        table = Table(box=SIMPLE, title=_text(sample["question"]), show_lines=True)
        table.add_column("steps")
        for system in systems:
            table.add_column(system, ratio=1, overflow="fold")
        for steps in dict.fromkeys(a["steps"] for a in answers if a["steps"]):
            row = [texts.get((system, steps), "") for system in systems]
            table.add_row(str(steps), *map(_text, row))
        console.print(table)
        if "context" in sample:
            console.print(_text(f"context: {sample['context']}"))
        console.print(_text(f"real: {texts.get(('real', None), '')}\n"))


def _line(record: dict[str, Any]) -> list[str]:
    def share(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f}%"

    known = "copied" if "copied" in record else "rare_recall"
    return [
        record["system"],
        str(record["steps"] or "-"),
        _between(record["perplexity"]),
        _figure(record["median_perplexity"]),
        share(record["repetition"]["value"]),
        share(record["doubled"]["value"]),
        share(record["distinct"]),
        _figure(record["words"]["value"]),
        share(record[known]["value"]),
        share(record[f"{known}_control"]),
        str(record["empty"]),
    ]


def _between(found: dict[str, float | None]) -> str:
    low, high = _figure(found["low"]), _figure(found["high"])
    return f"{_figure(found['value'])} ({low}-{high})"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _text(text: str) -> Text:
    """Text from a model or a file: no markup, no control characters."""
    return Text("\n".join(clean_line(line) for line in text.split("\n")))


def _console() -> Console:
    console = Console(file=sys.stdout, markup=False, highlight=False, emoji=False)
    console.width = max(console.width, LEAST_WIDTH) if console.is_terminal else LEAST_WIDTH
    return console
