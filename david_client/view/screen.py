"""Where sketches are drawn: a terminal that can redraw, or one that can only go on."""

import sys
import time
from collections.abc import Callable
from typing import Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from common.program.console import clean_line, print_text
from david_client.view.layout import Pace, line, page
from david_client.view.marks import legend, signed_legend, styled
from david_client.view.sketch import Sketch

REDRAW_S = 0.05
"""Least time between two pictures: more than 20 in a second nobody sees."""
LINE_S = 2.0
"""Least time between two lines on a terminal that cannot redraw."""
_ERASE_BELOW = "\x1b[J"

Clock = Callable[[], float]


class Surface(Protocol):
    """What sketches are drawn on."""

    def say(self, text: str) -> None:
        """A line about what happens."""

    def draw(self, sketch: Sketch) -> None:
        """Show a sketch, unless another one was shown just now: then the newest at the end."""

    def close(self) -> None:
        """Show what is still to be shown, and give the terminal back."""


def surface(stream: TextIO, *, keep: bool, clock: Clock = time.monotonic) -> Surface | None:
    """What can be drawn on; None when the stream is no terminal.

    Args:
        stream: standard output or standard error.
        keep: whether the last picture stays.
        clock: seconds.
    """
    if not stream.isatty():
        return None
    console = Console(file=stream)
    if console.is_dumb_terminal:
        return Lines(stream, clock=clock)
    return Screen(console, keep=keep, clock=clock)


class Screen:
    """Redraws in place: what was above it stays."""

    def __init__(self, console: Console, *, keep: bool, clock: Clock = time.monotonic) -> None:
        """Take the terminal."""
        self._console = console
        self._clock = clock
        self._pace = Pace()
        self._keep = keep
        self._next: tuple[Sketch, float | None] | None = None
        self._shown: tuple[Sketch, float | None] | None = None
        self._drawn = -REDRAW_S
        self._lines: list[Text] = []
        self._width = console.width
        # What others say while a picture stands goes above it, but data goes where it always goes.
        self._live = Live(
            console=console,
            transient=not keep,
            auto_refresh=False,
            redirect_stdout=console.file is sys.stdout,
            redirect_stderr=sys.stderr.isatty(),
        )
        self._live.start()

    def say(self, text: str) -> None:
        """A line about what happens, in the place of the draft."""
        self._put([Text(clean_line(text), style="dim", no_wrap=True, overflow="ellipsis")])

    def draw(self, sketch: Sketch) -> None:
        """Show a sketch, at most every `REDRAW_S` seconds; the answer at once."""
        self._next = (sketch, self._pace.at(sketch.seconds))
        if sketch.finished or self._clock() - self._drawn >= REDRAW_S:
            self._settle()

    def close(self) -> None:
        """Show what is still to be shown, and give the terminal back."""
        try:
            self._settle(whole=self._keep)
        finally:
            self._live.stop()

    def _settle(self, *, whole: bool = False) -> None:
        # A picture that stays shall show all of a long text, however high the terminal is.
        shown = self._next or (self._shown if whole else None)
        if shown is None:
            return
        self._next, self._shown = None, shown
        self._drawn = self._clock()
        sketch, rate = shown
        # What the end draws anyway is not drawn before: there it is not cut to the terminal.
        self._put(page(sketch, self._console, rate=rate, whole=whole), now=not whole)

    def _put(self, lines: list[Text], *, now: bool = True) -> None:
        width = self._console.width
        if width < self._width:
            self._rise(width)
        self._width, self._lines = width, lines
        self._live.update(Group(*lines), refresh=now)

    def _rise(self, width: int) -> None:
        """Terminals break lines anew when they become narrower: then there are more to erase."""
        more = sum(max(0, -(-old.cell_len // width) - 1) for old in self._lines)
        if more:
            self._console.file.write(f"\r\x1b[{more}A{_ERASE_BELOW}")


class Lines:
    """Writes a line now and then: for TERM=dumb, editors' shells and readers of screens."""

    def __init__(self, stream: TextIO, *, clock: Clock = time.monotonic) -> None:
        """Say nothing yet."""
        self._stream = stream
        self._clock = clock
        self._next: Sketch | None = None
        self._said = -LINE_S
        self._explained = False

    def say(self, text: str) -> None:
        """A line about what happens."""
        self._write(text)

    def draw(self, sketch: Sketch) -> None:
        """A line for a sketch, at most every `LINE_S` seconds; the answer at once."""
        self._next = sketch
        if sketch.finished or self._clock() - self._said >= LINE_S:
            self._settle()

    def close(self) -> None:
        """Write the line that is still to be written."""
        self._settle()

    def _settle(self) -> None:
        if self._next is None:
            return
        if not self._explained:
            self._write(signed_legend())
            self._explained = True
        self._write(line(self._next))
        self._said = self._clock()
        self._next = None

    def _write(self, text: str) -> None:
        self._stream.write(clean_line(text) + "\n")
        self._stream.flush()


def print_answer(answer: Sketch | None, text: str, *, explained: bool) -> None:
    """The answer on standard output: with colours and forms on a terminal, else alone.

    Args:
        answer: what is known of it; None, or one of another text, is printed plain.
        text: the answer.
        explained: whether a line on standard error shall say what the marks mean.
    """
    marked = answer is not None and answer.text == text and bool(answer.words)
    console = Console(file=sys.stdout)
    if answer is None or not marked or not console.is_terminal or console.is_dumb_terminal:
        print_text(text)
        return
    console.print(styled(answer))
    if explained and sys.stderr.isatty():
        Console(file=sys.stderr).print(Text("  ").join(legend()[:-1]))
