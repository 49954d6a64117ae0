"""Traces as tests write them and read them back."""

import json
from pathlib import Path
from typing import Any

from david_client.reply import Reply
from david_client.trace import open_trace
from david_client.view import View
from david_client.view.sketch import Sketch
from tests.serving import Asked, embedded

CODE = "import sys; from david_client.cli import main; main()"


class Seen:
    """A surface that keeps what is drawn."""

    def __init__(self) -> None:
        self.sketches: list[Sketch] = []

    def say(self, text: str) -> None: ...

    def draw(self, sketch: Sketch) -> None:
        self.sketches.append(sketch)

    def close(self) -> None: ...


def traced(path: Path, *questions: Asked, title: str = "") -> tuple[list[Sketch], list[Reply]]:
    """Ask the tiny pair; what was drawn, and the replies."""
    seen, replies = Seen(), []
    with open_trace(path) as trace, View(wanted=False, trace=trace) as view:
        view._surface = seen
        for asked in questions:
            view.begin(asked.question, asked.david, title=title)
            reply = embedded(asked, on_draft=view.show)
            view.finish(reply)
            replies.append(reply)
    return seen.sketches, replies


def written(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return path
