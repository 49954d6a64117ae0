"""From a choice to a guide that fits the large model."""

import torch

from common.errors import BadModelError, UsageError, VocabularyMismatchError
from common.guidance.choice import GuideChoice
from common.guidance.classifier import SimplexClassifier
from common.guidance.guide import Guide
from common.models.registry import LanguageModel, load_as


def load_guide(choice: GuideChoice, model: LanguageModel, *, longest_block: int) -> Guide:
    """The chosen guide on the large model's device, in fp32 whatever the model's type.

    Args:
        choice: what was asked for.
        model: the large model.
        longest_block: positions of the longest block that may be guided.

    Raises:
        BadModelError: no classifier of this project, or a damaged one.
        UsageError: a label that it does not know, or blocks too long for it.
        VocabularyMismatchError: it reads another vocabulary than the model writes.
    """
    classifier, vocabulary = load_as(
        SimplexClassifier, choice.model, device=str(model.predictor.device)
    )
    labels = classifier.config.labels
    if vocabulary.summary != model.vocabulary.summary:
        raise VocabularyMismatchError(
            f"vocabulary: the guide's has the fingerprint {vocabulary.summary.fingerprint}, "
            f"Goliath's {model.vocabulary.summary.fingerprint}",
            remedy="Train a guide with `david train-guide --start` and a model of this vocabulary",
        )
    if choice.label not in labels:
        raise UsageError(
            f"label: expected one of the guide's, {', '.join(labels)}, got {choice.label!r}",
            remedy="Give --label as it was spelt in the training data",
        )
    if longest_block > classifier.config.max_positions:
        raise UsageError(
            f"the guide reads at most {classifier.config.max_positions} positions, and a block may "
            f"have {longest_block}",
            remedy="Ask for shorter blocks, or train a guide from a model with more positions",
        )
    _check_finite(classifier, choice.model)
    classifier.requires_grad_(False)  # only the logits move
    return Guide(classifier, choice)


@torch.inference_mode()
def _check_finite(classifier: SimplexClassifier, name: str) -> None:
    flat = torch.full((1, 1, classifier.config.vocab_size), 1.0, device=classifier.device)
    if not classifier(flat.softmax(-1)).logits.isfinite().all():
        raise BadModelError(
            f"the guide {name} gives numbers that are not finite", remedy="Train it anew"
        )
