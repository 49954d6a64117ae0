"""A sketch as lines that fit a terminal: how far it is, what marks mean, and the text's tail."""

from collections import deque
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from common.program.console import clean_line
from david_client.view.marks import legend, signed, styled
from david_client.view.sketch import Sketch

NOISE = "\u00b7"
PLAIN_NOISE = "."
"""For terminals that cannot write the other."""
END = "[end]"
_GAP = "  "
_SUFFIX = 200
"""Characters of the text after the answer that are shown."""
_LEGEND_ROWS = 8
_STATUS_ROWS = 4
"""A terminal with fewer rows has no room for the legend, or for the status."""
_STEP = 1024
"""Long texts are cut at multiples of this, so that lines do not break anew at every step."""


class Pace:
    """Steps in a second, over the last few of them."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._moments: deque[float] = deque(maxlen=9)

    def at(self, seconds: float) -> float | None:
        """Count a step that began at this time; None before there are two."""
        if self._moments and seconds < self._moments[-1]:
            self._moments.clear()  # another answer
        self._moments.append(seconds)
        passed = seconds - self._moments[0]
        return (len(self._moments) - 1) / passed if passed > 0 else None


def page(
    sketch: Sketch, console: Console, *, rate: float | None, whole: bool = False
) -> list[Text]:
    """The lines to show, at most as many as the terminal has rows, and none too wide for it.

    Args:
        sketch: what is seen of a draft.
        console: its width and height, in cells, and its encoding.
        rate: steps in a second; None for unknown.
        whole: whether there may be as many lines as the text needs.
    """
    width, height = console.size
    head = fold([Text(field, style="dim") for field in status(sketch, rate)], width)[:2]
    if whole or height >= _LEGEND_ROWS:
        head += fold(legend(), width)[:2]
    if whole:
        return [*head, *_wrapped(_body(sketch, console), console)]
    head = head if height >= _STATUS_ROWS else []
    room = max(height - 1 - len(head), 1)
    lines = _wrapped(_tail(_body(sketch, console), 2 * room * width), console)
    if len(lines) > room:
        more = [Text("...", style="dim")] if room > 1 else []
        lines = more + lines[len(lines) - room + len(more) :]
    return [*head, *lines]


def status(sketch: Sketch, rate: float | None) -> list[str]:
    """How far it is, and what it took so far: fields of a line, the most wanted first."""
    fields = [clean_line(sketch.title)] if sketch.title else []
    if sketch.blocks > 1:
        fields.append(f"block {sketch.block + 1}/{sketch.blocks}")
    if sketch.finished:
        fields.append(f"answer after {sketch.seconds:.1f} s")
    else:
        fields += [f"step {sketch.step + 1}/{sketch.steps}", f"t {sketch.t:.2f}"]
    fields.append(f"weight {sketch.weight:g}")
    if sketch.bytes_up or sketch.bytes_down:
        fields += [f"{_bytes(sketch.bytes_up)} up", f"{_bytes(sketch.bytes_down)} down"]
    if rate is not None:
        fields.append(f"{rate:.1f} steps/s" if rate < 100 else f"{rate:.0f} steps/s")
    return fields


def line(sketch: Sketch) -> str:
    """A sketch as one line with signs, for a terminal that cannot redraw."""
    return f"{_GAP.join(status(sketch, None))}{_GAP}{signed(sketch) or '(noise)'}"


def fold(fields: Sequence[Text], width: int) -> list[Text]:
    """Fields side by side on as many lines as they need."""
    lines: list[Text] = []
    for field in fields:
        if lines and lines[-1].cell_len + len(_GAP) + field.cell_len <= width:
            lines[-1].append(_GAP).append_text(field)
        else:
            lines.append(Text().append_text(field))
    for folded in lines:
        folded.truncate(width)
    return lines


def _body(sketch: Sketch, console: Console) -> Text:
    text = styled(sketch)
    for found, more in (
        (sketch.noise, _dot(console) * sketch.noise),
        (sketch.ended, END),
        (sketch.suffix, clean_line(sketch.suffix[:_SUFFIX])),
    ):
        if found:
            text.append(" " if text else "").append(more, style="dim")
    return text


def _dot(console: Console) -> str:
    return NOISE if "utf" in console.encoding.lower() else PLAIN_NOISE


def _tail(text: Text, most: int) -> Text:
    """The end of a text that is much too long to be shown, so that it is not all laid out."""
    surplus = len(text) - most
    return text[surplus // _STEP * _STEP :] if surplus > _STEP else text


def _wrapped(text: Text, console: Console) -> list[Text]:
    lines = list(text.wrap(console, console.width))
    for found in lines:
        found.rstrip()
    return lines


def _bytes(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 10**6 else f"{count / 10**6:.1f} MB"
