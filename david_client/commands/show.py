"""`david show`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.program.options import Json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from david_client.replay import Scene

_DELAY_S = 0.25


def show(
    file: Annotated[Path, typer.Argument(help="A trace that `david ask --trace FILE` wrote.")],
    delay: Annotated[
        float | None,
        typer.Option(min=0, max=60, help="Seconds between two steps (default: 0.25)."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.02, max=1000, help="Steps in a second (default: 4)."),
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(
            min=1, help="Only this one of the steps, counted over all blocks (default: all)."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Replay a trace: animated on a terminal, else a line for each step. Needs no model."""
    from common.program.interrupt import interruptible
    from david_client.replay import read_trace
    from david_client.view.playback import play

    with interruptible():
        pause = _pause(delay, rate)
        scenes = read_trace(file)
        if step is None:
            play(scenes, pause=pause, as_json=json)
        else:
            play(_only(scenes, step), pause=0.0, as_json=json)


def _pause(delay: float | None, rate: float | None) -> float:
    from common.errors import UsageError

    if delay is not None and rate is not None:
        raise UsageError("expected --delay or --rate, got both", remedy="Give one of them")
    if rate is not None:
        return 1 / rate
    return _DELAY_S if delay is None else delay


def _only(scenes: "Iterator[Scene]", number: int) -> "Iterator[Scene]":
    from common.errors import UsageError

    last = 0
    for scene in scenes:
        if scene.number == number:
            yield scene
            return
        last = max(last, scene.number)
    raise UsageError(
        f"--step: expected at most {last}, which are in the trace, got {number}",
        remedy="Give a smaller number",
    )
