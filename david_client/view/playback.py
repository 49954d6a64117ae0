"""Replaying a trace: animated on a terminal, else a line for each step."""

import sys
import time
from collections.abc import Callable, Iterator

from common.program.console import note, print_json, print_text
from david_client.replay import FailureLine, Header, ReplyLine, Scene, StepLine
from david_client.view.screen import Surface, surface

Sleep = Callable[[float], None]


def play(
    scenes: Iterator[Scene], *, pause: float, as_json: bool, sleep: Sleep = time.sleep
) -> None:
    """Show a trace on standard output.

    Args:
        scenes: its lines.
        pause: seconds between two steps, on a terminal.
        as_json: whether to print the checked records instead, one a line.
        sleep: waits.

    Raises:
        BadDataError: a line is not what it should be; what came before it was shown.
    """
    ended = True
    for scene in _shown(scenes, pause=pause, as_json=as_json, sleep=sleep):
        ended = isinstance(scene.record, ReplyLine | FailureLine)
    if not ended:
        note("the trace ends before the answer does")


def _shown(
    scenes: Iterator[Scene], *, pause: float, as_json: bool, sleep: Sleep
) -> Iterator[Scene]:
    if as_json:
        for scene in scenes:
            print_json(scene.record.model_dump(mode="json"))
            yield scene
    elif sys.stdout.isatty():
        yield from _animated(scenes, pause, sleep)
    else:
        for scene in scenes:
            _print_line(scene)
            yield scene


def _animated(scenes: Iterator[Scene], pause: float, sleep: Sleep) -> Iterator[Scene]:
    screen: Surface | None = None
    try:
        for scene in scenes:
            if scene.sketch is None and screen is not None:
                screen.close()
                screen = None
            if scene.sketch is None:
                _print_line(scene)
            else:
                screen = screen or surface(sys.stdout, keep=True)
                assert screen is not None
                screen.draw(scene.sketch)
            yield scene
            if isinstance(scene.record, StepLine):
                sleep(pause)
    finally:
        if screen is not None:
            screen.close()


def _print_line(scene: Scene) -> None:
    match scene.record:
        case Header() as header:
            names = f"{header.goliath or '?'} + {header.david}"
            print_text(f"{_titled(header.title)}{header.prompt}  ({names}, seed {header.seed})")
        case StepLine() as step:
            text = step.text if step.estimate else f"{step.text} (noise)".lstrip()
            print_text(f"{scene.number:4}  t {step.t:.3f}  {text}")
        case ReplyLine() as reply:
            print_text(f"answer  {reply.text}")
        case FailureLine() as failure:
            print_text(f"failed  {failure.message}")


def _titled(title: str) -> str:
    return f"{title}: " if title else ""
