"""How a conversation looks: to a person at a terminal, or to a program at the end of a pipe."""

from typing import TYPE_CHECKING, Protocol

from common.errors import CollaborationError, clean_text, spec_of
from common.program.console import clean_line, note, print_json, print_text
from david_client.view import View
from david_client.view.screen import print_answer

if TYPE_CHECKING:
    from david_client.reply import Reply


class Show(Protocol):
    """Where answers and news go."""

    def view(self) -> View:
        """A view for the next draft."""

    def say(self, text: str) -> None:
        """Lines for people, on stderr."""

    def reply(self, reply: "Reply", view: View) -> None:
        """An answer, after its view was closed."""

    def error(self, error: CollaborationError) -> None:
        """What went wrong, in one line."""


def how(reply: "Reply") -> str:
    """What an answer took, for people."""
    settings = reply.settings
    told = f", {reply.certification.uncertified} positions uncertified" if settings.certify else ""
    return (
        f"seed {settings.seed}, {reply.steps_run} steps, weight {reply.weight:g}, "
        f"{reply.seconds:.1f} s{told}"
    )


class OnTerminal:
    """For a person: drafts take shape, answers are marked."""

    def __init__(self) -> None:
        """Nothing was shown yet."""
        self._explained = False

    def view(self) -> View:
        """A view that draws."""
        return View(wanted=True)

    def say(self, text: str) -> None:
        """Lines for people, on stderr."""
        _say(text)

    def reply(self, reply: "Reply", view: View) -> None:
        """The answer on stdout; what it took, and once what the marks mean, on stderr."""
        print_answer(view.answer, reply.text, explained=not self._explained)
        self._explained = True
        note(f"  ({how(reply)})")

    def error(self, error: CollaborationError) -> None:
        """What went wrong, in one line on stderr."""
        note(f"error: {clean_text(str(error))}")


class OnPipe:
    """For a program: a line of stdout for each reply."""

    def __init__(self, *, as_json: bool) -> None:
        """Write texts, or JSON objects: of type reply, and of type error in place of a reply."""
        self._as_json = as_json

    def view(self) -> View:
        """A view that draws nothing."""
        return View(wanted=False)

    def say(self, text: str) -> None:
        """Lines for people, on stderr."""
        _say(text)

    def reply(self, reply: "Reply", view: View) -> None:
        """The answer on one line of stdout."""
        if self._as_json:
            print_json({"type": "reply"} | reply.record())
        else:
            print_text(clean_line(reply.text))

    def error(self, error: CollaborationError) -> None:
        """What went wrong: an object on stdout, or a line on stderr."""
        if self._as_json:
            print_json(
                {
                    "type": "error",
                    "reason": spec_of(error).reason,
                    "message": clean_text(error.message),
                    "remedy": clean_text(error.remedy),
                }
            )
        else:
            note(f"error: {clean_text(str(error))}")


def _say(text: str) -> None:
    for line in text.splitlines():
        note(line)
