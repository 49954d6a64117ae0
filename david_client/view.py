"""The live draft on a terminal: redrawn at each step on stderr, gone when the answer is there."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from common.console import clean_line

if TYPE_CHECKING:
    from david_client.asking import Draft

_NOISE = "\u00b7"


class Words(Protocol):
    """What turns ids into text."""

    def decode(self, ids: tuple[int, ...]) -> str:
        """Text for reading."""


class View:
    """Use as a context manager; silent unless stderr is a terminal and it is wanted."""

    def __init__(self, *, wanted: bool) -> None:
        """Draw nothing yet."""
        self._live = None
        if wanted and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), transient=True, auto_refresh=False)
        self._words: Words | None = None

    def __enter__(self) -> "View":
        """Take the terminal."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the terminal back, whatever happened."""
        if self._live is not None:
            self._live.stop()

    def say(self, line: str) -> None:
        """Show a line in the place of the draft."""
        self._draw(line, "")

    def read_with(self, words: Words) -> None:
        """Decode drafts with this vocabulary."""
        self._words = words

    def show(self, draft: "Draft") -> None:
        """Show the answer as it stands at a step."""
        if self._live is None or self._words is None:
            return
        settings = draft.settings
        block = f"block {draft.block + 1}/{settings.blocks}  " if settings.blocks > 1 else ""
        head = (
            f"{block}step {draft.step + 1}/{settings.steps}  t {draft.t:.2f}  "
            f"weight {settings.weight:g}"
        )
        noise = draft.estimate is None
        block_ids = () if draft.estimate is None else tuple(draft.estimate.tolist())
        text = self._words.decode((*draft.finished, *block_ids))
        self._draw(head, f"{text} {_NOISE * settings.block_length}" if noise else text)

    def _draw(self, head: str, text: str) -> None:
        if self._live is None:
            return
        from rich.text import Text

        # Text objects, not strings: what a model says is never markup.
        shown = Text(clean_line(head), style="dim")
        if text:
            shown.append("\n" + clean_line(text), style="not dim")
        self._live.update(shown, refresh=True)
