"""Answers for a conversation: the models, woken once and meanwhile."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from david_client.chat.prompt import prompt_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from david_client.chat.conversation import Conversation
    from david_client.chat.prompt import Turn
    from david_client.conversation import Collaboration
    from david_client.reply import Reply
    from david_client.settings import DavidSettings
    from david_client.view import View

_TEMPLATE_TOKENS = 4
"""What the template puts round context and prompt."""
_ROOM = 8
"""Positions that stay free."""


class Answers:
    """Use as a context manager. The models load in a thread while the first question is typed."""

    def __init__(self, settings: DavidSettings) -> None:
        """Begin to load what the settings name."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="models")
        self._waking: Future[Collaboration] = self._thread.submit(_wake, settings)
        self._told_of = ""

    def __enter__(self) -> Answers:
        """Nothing is waited for."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Loading that goes on cannot be stopped and is waited for."""
        self._thread.shutdown(cancel_futures=True)

    def _awake(self, view: View) -> Collaboration:
        """The models, as soon as they are there; an interrupt stops the waiting, not the loading.

        Raises:
            CollaborationError: they cannot be loaded.
        """
        if not self._waking.done():
            view.say("waking the models ...")
        return self._waking.result()

    def check(self) -> None:
        """Tell if there will be no answers.

        Raises:
            CollaborationError: the models could not be loaded.
        """
        if self._waking.done():
            self._waking.result()

    def answer(
        self, talk: Conversation, question: str, *, before: Sequence[Turn], view: View
    ) -> Reply:
        """The answer to a question after the turns before it.

        Raises:
            CollaborationError: any of its kinds.
        """
        pair = self._awake(view)
        from david_client.conversation import question_of, warn_of_unknown

        vocabulary = pair.model.vocabulary
        warn_of_unknown(vocabulary, question=question)
        if talk.context != self._told_of:
            warn_of_unknown(vocabulary, context=talk.context)
            self._told_of = talk.context
        prompt = prompt_of(
            before,
            question,
            memory=talk.settings.memory,
            limit=_limit(pair, talk),
            length=lambda text: len(vocabulary.encode(text).ids),
        )
        david = pair.david(talk.settings, talk.context)
        return pair.ask(question_of(talk.settings, prompt), david, view)


def _wake(settings: DavidSettings) -> Collaboration:
    from david_client.conversation import collaborate

    return collaborate(settings)


def _limit(pair: Collaboration, talk: Conversation) -> int:
    """Tokens of a prompt that leaves the models room for context and answer."""
    from common.collaboration.compatibility import default_settings
    from david_client.conversation import question_of

    david = pair.model
    # A server does not tell how many positions its model has: those of a pair are alike.
    goliath = pair.goliath.model or david
    terms = question_of(talk.settings, "").settings(default_settings(goliath))
    answer = terms.blocks * terms.block_length
    private = len(david.vocabulary.encode(talk.context).ids)
    positions: int = min(goliath.predictor.max_positions, david.predictor.max_positions - private)
    return positions - answer - _TEMPLATE_TOKENS - _ROOM
