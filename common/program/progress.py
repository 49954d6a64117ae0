"""How far a training run is: JSON lines, a live bar on a terminal, or a line now and then."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from common.program.console import note, print_json

EVERY = 20
"""Steps between lines."""


@contextmanager
def training_progress(
    steps: int, *, as_json: bool
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """What reports a step: a record with `step`, `loss` and, where there are such, `rate` (of
    learning) and `curve` (pairs of a time and the held-out loss there).

    Args:
        steps: of the whole run.
        as_json: write the record on stdout, and nothing on stderr.
    """
    if as_json:
        yield lambda record: print_json({"type": "progress", **record})
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(
        *columns, console=console, disable=not console.is_terminal, speed_estimate_period=600
    ) as bar:
        task = bar.add_task("training", total=steps)

        def report(record: Mapping[str, Any]) -> None:
            step, loss = record["step"], f"loss {record['loss']:.3f}"
            bar.update(task, completed=step, description=loss)
            curve = record.get("curve")
            if bar.disable and (step % EVERY == 0 or curve):
                rate = f"  rate {record['rate']:.1e}" if "rate" in record else ""
                left = (bar.tasks[0].time_remaining or 0) / 60
                note(f"step {step}/{steps}  {loss}{rate}  {left:.0f} min left")
            if curve:
                note("held-out loss by t: " + "  ".join(f"{t:g}: {loss:.2f}" for t, loss in curve))

        yield report
