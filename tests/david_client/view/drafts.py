"""Drafts, sketches and terminals for tests of the view."""

import io
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from common.collaboration.settings import ContributorSettings
from common.denoising.plan import Decider, FinishReason
from david_client.reply import Counts, Draft, Reply
from david_client.view.sketch import Sketch, Word, sketch_draft
from tests.serving import VOCABULARY, settings

CORE, DAVIDS, BOTH, NEITHER = Decider


def ids(text: str) -> np.ndarray:
    return np.array(VOCABULARY.encode(text).ids)


def draft(text: str | None, *, block: int = 0, step: int = 2, **fields: Any) -> Draft:
    terms = settings(block_length=8, max_tokens=16, steps=4)
    estimate = None if text is None else ids(text)
    rows = 8 if estimate is None else len(estimate)
    decided = fields.pop("decided", [BOTH] * rows)
    return Draft(
        terms,
        block,
        step,
        0.5,
        fields.pop("finished", ()),
        estimate,
        hot=None if estimate is None else estimate[:, None],
        decided=np.array(decided, np.uint8),
        **fields,
    )


def reply(tokens: np.ndarray, *decided: int) -> Reply:
    return Reply(
        text=VOCABULARY.decode(tokens),
        ids=tuple(tokens.tolist()),
        finish_reason=FinishReason.END_TOKEN,
        goliath="g",
        settings=settings(block_length=8, max_tokens=16, steps=4),
        seconds=1.0,
        steps_run=8,
        counts=(Counts("d", ContributorSettings(), took_part=8),),
        decided=tuple(decided),
    )


def sketched(shown: Draft, *, changed: Any = (), suffix: str = "") -> Sketch:
    origins = shown.decided.tolist()
    return sketch_draft(
        shown, VOCABULARY, origins=origins, changed=changed, seconds=1.0, title="", suffix=suffix
    )


SKETCH = Sketch(
    block=0,
    blocks=2,
    step=1,
    steps=4,
    t=0.75,
    weight=0.5,
    text="Add the hot soup.",
    words=(
        Word(0, 3, CORE, False),
        Word(4, 7, DAVIDS, True),
        Word(8, 11, BOTH, False),
        Word(12, 16, NEITHER, False),
        Word(16, 17, NEITHER, False),
    ),
    seconds=2.0,
    bytes_up=541_864,
    bytes_down=730,
)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def console(width: int = 80, height: int = 24, file: Any = None) -> Console:
    return Console(file=file or Terminal(), width=width, height=height, force_terminal=True)


def drawn(lines: list[Text]) -> str:
    out = console(200)
    for one in lines:
        out.print(one)
    return str(out.file.getvalue())  # type: ignore[attr-defined]
