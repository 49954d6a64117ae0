"""What a model brings to a session, and whether two models fit together."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from typing import TYPE_CHECKING

from common.collaboration.settings import ProcessFacts, SessionSettings
from common.errors import ProcessMismatchError, VocabularyMismatchError
from common.text.summary import VocabularySummary

if TYPE_CHECKING:
    from common.models.registry import LanguageModel


def default_settings(model: LanguageModel) -> SessionSettings:
    """The settings that suit a large model where nothing else is requested; one block, seed 0."""
    block = model.predictor.block_length
    return SessionSettings(block_length=block, max_tokens=block, process=model.predictor.defaults)


def check_vocabulary(goliath: VocabularySummary, david: VocabularySummary) -> None:
    """Compare the two vocabularies.

    Raises:
        VocabularyMismatchError: they do not fit.
    """
    difference = goliath.difference(david)
    if difference is not None:
        raise VocabularyMismatchError(
            f"vocabulary: Goliath's has the fingerprint {goliath.fingerprint}, "
            f"David's {david.fingerprint}: {difference}",
            remedy="Use a David that was trained with the tokenizer.json of this Goliath",
        )


def check_process(goliath: ProcessFacts | None, david: ProcessFacts | None) -> None:
    """Compare the diffusion processes of the two models; a David that was trained for none fits.

    Raises:
        ProcessMismatchError: they differ.
    """
    if david is None:
        return
    if goliath is not None and goliath.name == david.name:
        ours, theirs = asdict(goliath), asdict(david)
    else:
        ours, theirs = {"process": goliath and goliath.name}, {"process": david.name}
    wrong = [name for name in theirs if ours.get(name) != theirs[name]]
    if wrong:
        listed = "; ".join(
            f"{name}: Goliath {_shown(ours.get(name))}, David {_shown(theirs.get(name))}"
            for name in wrong
        )
        raise ProcessMismatchError(
            f"the models were trained for different diffusion processes ({listed})",
            remedy="Use a David that was trained for this Goliath",
        )


def _shown(value: object) -> str:
    return value.value if isinstance(value, Enum) else str(value)


def check_fit(goliath: LanguageModel, david: LanguageModel) -> None:
    """Compare a pair as a server would.

    Raises:
        VocabularyMismatchError, ProcessMismatchError: the models do not fit.
    """
    check_vocabulary(goliath.vocabulary.summary, david.vocabulary.summary)
    check_process(trained_for(goliath), trained_for(david))


def trained_for(model: LanguageModel) -> ProcessFacts | None:
    """The diffusion process that a model was trained for; None where it was for none."""
    return getattr(model.predictor, "process", None)
