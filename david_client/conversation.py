"""From settings and texts to a reply: loads what is needed, and asks here or over the wire."""

import secrets
from contextlib import closing
from dataclasses import dataclass

from common import David, Goliath, stream
from common.collaboration.compatibility import default_settings
from common.collaboration.settings import Requested
from common.errors import UsageError
from common.models.registry import LanguageModel, open_model
from common.program.console import note
from common.program.device import settle_device
from common.program.tls import tls_files
from common.text.templates import asked
from common.text.vocabulary import Vocabulary
from david_client.asking import Question
from david_client.reply import OnDraft, Reply
from david_client.settings import DavidSettings
from david_client.texts import unknown_note
from david_client.view import View


@dataclass(frozen=True, slots=True)
class Collaboration:
    """The small model, ready, and the large one or the way to it: one question or many."""

    model: LanguageModel
    """The small one."""
    goliath: Goliath

    def david(self, settings: DavidSettings, context: str) -> David:
        """The small model's part, by these settings."""
        return David(self.model, context=context, **settings.contributor())

    def ask(self, question: Question, david: David, view: View, *, title: str = "") -> Reply:
        """Ask, with the draft in the view.

        Args:
            question: what is asked.
            david: the small model's part.
            view: where the draft is shown.
            title: what the view calls this answer, where there are several: "gap 2 of 3".

        Raises:
            CollaborationError: any of its kinds.
        """
        view.begin(question, david, title=title)
        if self.goliath.place is not None:
            view.say(f"asking {self.goliath.place.address} ...")
        reply = self.answer(question, david, view.show)
        view.finish(reply)
        return reply

    def answer(self, question: Question, david: David, on_draft: OnDraft) -> Reply:
        """Ask without a view; `on_draft` is called as each step begins.

        Raises:
            CollaborationError: as `ask`.
        """
        drafts = stream(
            self.goliath,
            [david],
            question.messages,
            seed=question.seed,
            suffix=question.suffix,
            **question.requested.values,
        )
        with closing(drafts):
            for draft in drafts:
                if draft.answer is not None:
                    return draft.answer
                on_draft(draft)
        raise AssertionError("the last draft has the answer")


def converse(
    settings: DavidSettings, prompt: str, context: str, view: View, *, suffix: str = ""
) -> Reply:
    """Ask one question, with the draft in the view.

    Raises:
        CollaborationError: any of its kinds.
    """
    question = question_of(settings, prompt, suffix=suffix)
    pair = collaborate(settings, question, context)
    warn_of_unknown(pair.model.vocabulary, prompt=prompt, suffix=suffix, context=context)
    return pair.ask(question, pair.david(settings, context), view)


def collaborate(
    settings: DavidSettings, question: Question | None = None, context: str = ""
) -> Collaboration:
    """Load what these settings name.

    Args:
        settings: what to load.
        question: what will be asked, if it is known: a context that is too long in any case is
            refused before the large model is loaded.
        context: the private text then.

    Raises:
        BadDataError: it is.
        UsageError: an address that is none, or TLS files that do not go together, or a guide
            without a label, with one that it does not know, or for a server.
        BadModelError: a model cannot be loaded.
        VocabularyMismatchError: the guide's is not the large model's.
    """
    choice = settings.guidance
    if settings.embedded:
        david = load_david(settings)
        _check_context(settings, question, context, david)
        goliath = Goliath.load(
            settings.goliath_model, device=settings.device, dtype=settings.dtype, guide=choice
        )
        return Collaboration(david, goliath)
    if choice is not None:
        raise UsageError(
            f"a guide works on the large model's logits, and that model runs at {settings.goliath}",
            remedy="Leave --guide out, or have it given to `goliath serve` by who runs that server",
        )
    goliath = connect(settings, timeout_s=settings.timeout)
    david = load_david(settings)
    _check_context(settings, question, context, david)
    return Collaboration(david, goliath)


def question_of(settings: DavidSettings, prompt: str, *, suffix: str = "") -> Question:
    """The question that these settings and texts make; an unset seed is drawn."""
    return Question(
        messages=asked(prompt),
        seed=secrets.randbits(32) if settings.seed is None else settings.seed,
        suffix=suffix,
        requested=Requested(settings.requested()),
    )


def warn_of_unknown(vocabulary: Vocabulary, **texts: str) -> None:
    """Tell, for each named text, what of it the vocabulary cannot write."""
    for name, text in texts.items():
        warning = unknown_note(name, vocabulary.encode(text).unknown)
        if warning is not None:
            note(warning)


def _check_context(
    settings: DavidSettings, question: Question | None, context: str, model: LanguageModel
) -> None:
    if question is None or settings.weight == 0:
        return
    if len(model.vocabulary.encode(context).ids) > model.predictor.max_positions:
        david = David(model, context=context, **settings.contributor())
        david.prefixes(model, question, question.settings(default_settings(model)))


def load_david(settings: DavidSettings) -> LanguageModel:
    """The small model.

    Raises:
        BadModelError: it cannot be loaded.
    """
    device = settle_device(settings.device, threads=settings.threads)
    return open_model(settings.model, device=device, dtype=settings.dtype)


def connect(settings: DavidSettings, *, timeout_s: float) -> Goliath:
    """The server, checked as far as it can be without calling it.

    Raises:
        UsageError: an address that is none, or TLS files that do not go together.
    """
    return Goliath.connect(
        settings.goliath,
        tls=tls_files(
            settings.tls_cert, settings.tls_key, settings.server_ca, authority_option="--server-ca"
        ),
        insecure=settings.insecure,
        server_name=settings.server_name,
        timeout_s=timeout_s,
    )
