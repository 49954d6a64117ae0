"""The view of answers that take shape: what a program tells it is drawn, and traced."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from david_client.origins import Origins
from david_client.view.sketch import Sketch, Words, sketch_draft, sketch_reply

if TYPE_CHECKING:
    from david_client.asking import David, Question
    from david_client.reply import Draft, Reply
    from david_client.trace import Trace
    from david_client.view.screen import Surface


class View:
    """Shows the drafts of one answer, or of several after each other; a context manager.

    Draws on stderr if that is a terminal, and nothing remains of it there. The order of calls,
    again for each answer, is `begin`, `show` at each step, `finish`; `say` at any time.
    """

    def __init__(
        self,
        *,
        wanted: bool,
        trace: "Trace | None" = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Draw nothing yet.

        Args:
            wanted: whether to draw at all.
            trace: where each step is written, whether drawn or not.
            clock: seconds.
        """
        self.answer: Sketch | None = None
        """The last answer that was finished, and who decided its words."""
        self._wanted = wanted
        self._trace = trace
        self._clock = clock
        self._surface: Surface | None = None
        self._words: Words | None = None
        self._began = 0.0
        self._title = self._suffix = ""
        self._origins = Origins()
        self._block = 0

    def __enter__(self) -> "View":
        """Take the terminal."""
        if self._wanted and sys.stderr.isatty():
            from david_client.view.screen import surface

            self._surface = surface(sys.stderr, keep=False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the terminal back, whatever happened; what went wrong is traced."""
        try:
            if self._surface is not None:
                self._surface.close()
        finally:
            self._surface = None
            if error is not None and self._trace is not None:
                self._trace.fail(error, seconds=self._clock() - self._began)

    def say(self, line: str) -> None:
        """Show a line in the place of the draft."""
        if self._surface is not None:
            self._surface.say(line)

    def begin(self, question: "Question", david: "David", *, title: str = "") -> None:
        """An answer is about to be made.

        Args:
            question: what is asked.
            david: the small model, with whose vocabulary drafts are read; the trace holds nothing
                of its context.
            title: what is made, shown before the step: "gap 2 of 3".
        """
        self.answer, self._origins, self._block = None, Origins(), 0
        self._words, self._began = david.model_for(None).vocabulary, self._clock()
        self._title, self._suffix = title, question.suffix
        if self._trace is not None:
            self._trace.begin(question, david, title=title)

    def show(self, draft: "Draft") -> None:
        """Show the answer as it stands at a step."""
        changed = self._origins.follow(draft)
        self._block = draft.block
        if self._words is None or (self._surface is None and self._trace is None):
            return
        sketch = sketch_draft(
            draft,
            self._words,
            origins=self._origins.block,
            changed=changed,
            seconds=self._clock() - self._began,
            title=self._title,
            suffix=self._suffix,
        )
        if self._trace is not None:
            self._trace.step(sketch, draft, changed)
        if self._surface is not None:
            self._surface.draw(sketch)

    def finish(self, reply: "Reply") -> None:
        """The answer is there."""
        if self._words is None:
            return
        self.answer = sketch_reply(
            reply,
            self._words,
            block=self._block,
            origins=self._origins.conclude(reply),
            seconds=self._clock() - self._began,
            title=self._title,
            suffix=self._suffix,
        )
        if self._trace is not None:
            self._trace.finish(self.answer, reply)
        if self._surface is not None:
            self._surface.draw(self.answer)

    def print_answer(self, text: str) -> None:
        """Print an answer on stdout after the view is closed, with its marks on a terminal."""
        from david_client.view.screen import print_answer

        print_answer(self.answer, text, explained=self._wanted)
