"""From settings and texts to a reply: loads what is needed, and asks here or over the wire."""

import secrets
from asyncio import Runner
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.collaboration.compatibility import default_settings
from common.errors import UsageError
from common.models.registry import LanguageModel, open_model
from common.program.console import note
from common.program.device import settle_device
from common.program.interrupt import run_interruptible
from common.program.tls import tls_files
from common.text.templates import asked
from common.text.vocabulary import Vocabulary
from david_client.asking import OnDraft, Question, Reply
from david_client.place import Place
from david_client.settings import DavidSettings
from david_client.texts import unknown_note
from david_client.view import View

if TYPE_CHECKING:
    from common.guidance.guide import Guide


@dataclass(frozen=True, slots=True)
class Here:
    """A large model in this process."""

    model: LanguageModel
    guide: "Guide | None" = None
    """What steers it."""


@dataclass(frozen=True, slots=True)
class Collaboration:
    """The small model, ready, and the large one or the way to it: one question or many."""

    david: LanguageModel
    goliath: Here | Place
    timeout_s: float
    """Longest time for one answer of a server."""

    def ask(
        self, question: Question, view: View, *, title: str = "", runner: Runner | None = None
    ) -> Reply:
        """Ask, with the draft in the view.

        Args:
            question: what is asked.
            view: where the draft is shown.
            title: what the view calls this answer, where there are several: "gap 2 of 3".
            runner: the event loop to use for a server. A program that asks more than once keeps
                one: gRPC dislikes a second loop in a process.

        Raises:
            CollaborationError: any of its kinds; `SessionCancelledError` for Ctrl-C while a server
                answers.
        """
        view.begin(question, self.david, title=title)
        if isinstance(self.goliath, Place):
            view.say(f"asking {self.goliath.address} ...")
        reply = self.answer(question, view.show, runner=runner)
        view.finish(reply)
        return reply

    def answer(
        self, question: Question, on_draft: OnDraft, *, runner: Runner | None = None
    ) -> Reply:
        """Ask without a view; `on_draft` is called as each step begins.

        Raises:
            CollaborationError: as `ask`.
        """
        if isinstance(self.goliath, Here):
            from david_client.embedded import ask_embedded

            here = self.goliath
            asking = ask_embedded(
                question, self.david, here.model, on_draft=on_draft, guide=here.guide
            )
        else:
            from david_client.client import ask

            asking = ask(
                question, self.david, self.goliath, timeout_s=self.timeout_s, on_draft=on_draft
            )
        return run_interruptible(asking, runner=runner)


def converse(
    settings: DavidSettings, prompt: str, context: str, view: View, *, suffix: str = ""
) -> Reply:
    """Ask one question, with the draft in the view.

    Raises:
        CollaborationError: any of its kinds.
    """
    question = question_of(settings, prompt, context, suffix=suffix)
    pair = collaborate(settings, question)
    warn_of_unknown(pair.david.vocabulary, prompt=prompt, suffix=suffix, context=context)
    return pair.ask(question, view)


def collaborate(settings: DavidSettings, question: Question | None = None) -> Collaboration:
    """Load what these settings name.

    Args:
        settings: what to load.
        question: what will be asked, if it is known: a context that is too long in any case is
            refused before the large model is loaded.

    Raises:
        BadDataError: it is.
        UsageError: an address that is none, or TLS files that do not go together, or a guide
            without a label, with one that it does not know, or for a server.
        BadModelError: a model cannot be loaded.
        VocabularyMismatchError: the guide's is not the large model's.
    """
    choice = settings.guidance
    if choice is not None and not settings.embedded:
        raise UsageError(
            f"a guide works on the large model's logits, and that model runs at {settings.goliath}",
            remedy="Leave --guide out, or have it given to `goliath serve` by who runs that server",
        )
    place = None if settings.embedded else place_of(settings)
    david = load_david(settings)
    if question is not None and settings.weight != 0:
        _check_context(question, david)
    if place is not None:
        return Collaboration(david, place, settings.timeout)
    model = open_model(settings.goliath_model, device=_device(settings), dtype=settings.dtype)
    guide = None
    if choice is not None:
        from common.guidance.loading import load_guide

        guide = load_guide(choice, model, longest_block=model.predictor.max_positions)
    return Collaboration(david, Here(model, guide), settings.timeout)


def question_of(
    settings: DavidSettings, prompt: str, context: str, *, suffix: str = ""
) -> Question:
    """The question that these settings and texts make; an unset seed is drawn."""
    return Question(
        messages=asked(prompt),
        seed=secrets.randbits(32) if settings.seed is None else settings.seed,
        suffix=suffix,
        context=context,
        contrast=settings.contrast,
        requested=settings.requested(),
    )


def warn_of_unknown(vocabulary: Vocabulary, **texts: str) -> None:
    """Tell, for each named text, what of it the vocabulary cannot write."""
    for name, text in texts.items():
        warning = unknown_note(name, vocabulary.encode(text).unknown)
        if warning is not None:
            note(warning)


def _check_context(question: Question, david: LanguageModel) -> None:
    if len(david.vocabulary.encode(question.context).ids) > david.predictor.max_positions:
        question.prefixes(david, question.settings(default_settings(david)))


def load_david(settings: DavidSettings) -> LanguageModel:
    """The small model.

    Raises:
        BadModelError: it cannot be loaded.
    """
    return open_model(settings.model, device=_device(settings), dtype=settings.dtype)


def place_of(settings: DavidSettings) -> Place:
    """Where the server is, checked as far as it can be without calling it.

    Raises:
        UsageError: an address that is none, or TLS files that do not go together.
    """
    from common.wire.channels import split_address

    split_address(settings.goliath)
    tls = tls_files(
        settings.tls_cert, settings.tls_key, settings.server_ca, authority_option="--server-ca"
    )
    return Place(
        settings.goliath, tls=tls, insecure=settings.insecure, server_name=settings.server_name
    )


def _device(settings: DavidSettings) -> str:
    return settle_device(settings.device, threads=settings.threads)
