"""The conversation itself: lines in, answers and news out."""

from typing import Protocol

from common.denoising.plan import FinishReason
from common.errors import (
    CollaborationError,
    DrainingError,
    OutputError,
    SessionCancelledError,
)
from common.program.interrupt import interruptible
from david_client.chat.answers import Answers
from david_client.chat.conversation import Conversation
from david_client.chat.lines import Asked, Command, parse
from david_client.chat.prompt import Turn
from david_client.chat.show import Show, how


class Lines(Protocol):
    """Where lines come from."""

    @property
    def interactive(self) -> bool:
        """Whether a person types them: Ctrl-C then stops an answer, and else the program."""

    def read(self) -> str | None:
        """The next line, or None at the end.

        Raises:
            BadDataError: it cannot be read; the one after it can.
        """


def chat(lines: Lines, talk: Conversation, answers: Answers, show: Show) -> None:
    """Go on until the lines end or `/quit` comes; a failed answer is reported, and no more.

    Raises:
        CollaborationError: the models cannot be loaded.
        OutputError: an answer cannot be written.
        SessionCancelledError: Ctrl-C where no person types.
    """
    goes_on = True
    while goes_on:
        try:
            with interruptible():
                goes_on = _take(lines.read(), talk, answers, show)
        except SessionCancelledError:
            if not lines.interactive:
                raise
            show.say("stopped; /retry asks again")
        except OutputError:
            raise
        except CollaborationError as error:
            answers.check()
            show.error(error)


def _take(line: str | None, talk: Conversation, answers: Answers, show: Show) -> bool:
    """Do what a line says; whether the conversation goes on."""
    if line is None:
        return False
    match parse(line):
        case Asked(text):
            _ask(text, talk, answers, show)
        case Command("retry"):
            _ask(None, talk, answers, show)
        case Command("quit"):
            return False
        case Command() as command:
            show.say(talk.obey(command))
    return True


def _ask(text: str | None, talk: Conversation, answers: Answers, show: Show) -> None:
    question, before = talk.ask(text)
    with show.view() as view:
        reply = answers.answer(talk, question, before=before, view=view)
    show.reply(reply, view)
    if reply.missed or reply.late:
        show.say(f"warning: David missed {reply.missed} steps and was late for {reply.late}")
    if reply.finish_reason is FinishReason.DRAINING:
        raise DrainingError(
            f"the server is shutting down: this answer is unfinished after {reply.steps_run} steps",
            remedy="/retry asks again",
        )
    talk.keep(Turn(question, reply.text, how(reply)))
