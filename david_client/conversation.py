"""From settings and texts to a reply: loads what is needed, and asks here or over the wire."""

import secrets

from common.compute import settle_device
from common.console import note
from common.interrupt import run_interruptible
from common.models import find, load
from common.security import tls_files
from david_client.asking import David, Question, Reply
from david_client.place import Place
from david_client.settings import DavidSettings
from david_client.texts import unknown_note
from david_client.view import View


def converse(settings: DavidSettings, prompt: str, context: str, view: View) -> Reply:
    """Ask, with the draft in the view.

    Raises:
        CollaborationError: any of its kinds.
    """
    place = None if settings.embedded else place_of(settings)
    david = load_david(settings)
    view.read_with(david.vocabulary)
    for name, text in (("prompt", prompt), ("context", context)):
        warning = unknown_note(name, david.vocabulary.encode(text).unknown)
        if warning is not None:
            note(warning)
    question = Question(
        prompt=prompt,
        seed=secrets.randbits(32) if settings.seed is None else settings.seed,
        context=context,
        contrast=settings.contrast,
        wishes=settings.wishes(),
    )
    if place is None:
        from david_client.embedded import ask_embedded

        model, vocabulary = load(
            settings.goliath_model, device=_device(settings), dtype=settings.dtype
        )
        return ask_embedded(
            question,
            david,
            goliath=find(settings.goliath_model).name,
            model=model,
            vocabulary=vocabulary,
            on_draft=view.show,
        )
    from david_client.client import ask

    view.say(f"asking {place.address} ...")
    asking = ask(question, david, place, timeout_s=settings.timeout, on_draft=view.show)
    return run_interruptible(asking)


def load_david(settings: DavidSettings) -> David:
    """The small model.

    Raises:
        BadModelError: it cannot be loaded.
    """
    model, vocabulary = load(settings.model, device=_device(settings), dtype=settings.dtype)
    return David(find(settings.model).name, model, vocabulary)


def place_of(settings: DavidSettings) -> Place:
    """Where the server is, checked as far as it can be without calling it.

    Raises:
        UsageError: an address that is none, or TLS files that do not go together.
    """
    from common.transport import split_address

    split_address(settings.goliath)
    tls = tls_files(
        settings.tls_cert, settings.tls_key, settings.server_ca, authority_option="--server-ca"
    )
    return Place(settings.goliath, tls=tls, insecure=settings.insecure)


def _device(settings: DavidSettings) -> str:
    return settle_device(settings.device, threads=settings.threads)
