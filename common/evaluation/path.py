"""Cross-entropy along the path of an answer: what contributions to other states are worth.

A session's steps in order, but that its states are made of the true text, with the noise that was
agreed: every timing of contributions is scored on the same states, and none can lead the draft
astray. A step's scores fuse Goliath's logits for its own state with David's for the state of the
step that the timing says, written and read as on the wire; they are scored against the true tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from common.collaboration.compatibility import config_of
from common.collaboration.contribution import Codec, Contribution
from common.collaboration.contributor import Contributor, Voicing
from common.collaboration.fusion import Voice, fuse
from common.collaboration.plan import plan_for
from common.collaboration.settings import SessionSettings
from common.collaboration.timing import timing_of
from common.denoising.loop import Plan, Predict
from common.errors import UsageError
from common.evaluation.generation import question_seed
from common.evaluation.pair import Pair, Question
from common.models.simplex_lm import predict
from common.processes.simplex import conditioning
from common.processes.simplex.settings import SelfConditioning
from common.processes.simplex.state import Bag, SimplexState

_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class PathLoss:
    """The loss of one timing."""

    nats: float
    """Mean a token, over all steps of all paths."""
    tokens: int
    """True tokens that were scored, each once a step."""


@torch.inference_mode()
def path_loss(
    pair: Pair,
    questions: Sequence[Question],
    *,
    settings: SessionSettings,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> PathLoss:
    """Score the first block of each question's response.

    Args:
        pair: the models, in eval mode.
        questions: held-out records; a context goes to David alone.
        settings: the terms, but for the seed; their lag or `every` says whose contribution a step
            uses, with weight 0 none. The temperature is 1 in any case: this is a loss. And rows
            are whole: floors stand for entries that nothing in a session reads, but a loss does.
        seed: from it comes each question's own, see `question_seed`.
        progress: told (questions done, questions in all).

    Raises:
        UsageError: the models condition on what a session made of its scores: along the path of
            the truth there is nothing of that kind.
        BadDataError: a question does not fit a model.
    """
    if settings.self_conditioning is not SelfConditioning.OWN:
        raise UsageError(
            "expected models that condition on their own predictions, got "
            f"{settings.self_conditioning.value}",
            remedy="Measure with self-conditioning own",
        )
    nats, scored, tokens = 0.0, 0, 0
    for number, question in enumerate(questions):
        progress(number, len(questions))
        terms = replace(
            settings,
            seed=question_seed(seed, question),
            max_tokens=settings.block_length,
            temperature=1.0,
        )
        losses = _losses(pair, question, terms)
        nats += losses.sum().item()
        scored += losses.numel()
        tokens += losses.shape[1]
    progress(len(questions), len(questions))
    return PathLoss(nats / scored, tokens)


def _losses(pair: Pair, question: Question, terms: SessionSettings) -> Tensor:
    """(steps, scored) fp32 nats of one question."""
    plan = plan_for(config_of(pair.goliath), pair.vocabulary, terms, prompt=question.instruction)
    ids = pair.vocabulary.encode(question.response).ids[: plan.block_length]
    target = np.full(plan.block_length, plan.end, np.int64)
    target[: len(ids)] = ids
    timing = timing_of(terms)
    david = _contributor(pair, question, terms)
    given: dict[int, Contribution] = {}
    condition: Bag | None = None
    losses = []
    for step in range(terms.steps):
        state = _state(plan, step, target)
        if terms.weight > 0 and timing.wanted(step):
            given[step] = david.contribute(state, _NONE)
        core = predict(
            pair.goliath,
            [Predict(state, plan.prefix, plan.suffix, condition, _NONE, _NONE)],
        )
        condition = conditioning.from_logits(core)
        source = given.get(timing.source(step))
        voices = [] if source is None else [Voice("david", terms.weight, source)]
        scores = fuse(core, voices).scores[0, : len(ids)]
        truth = torch.from_numpy(target[: len(ids)]).to(scores.device)
        losses.append(torch.nn.functional.cross_entropy(scores, truth, reduction="none"))
    return torch.stack(losses).cpu()


def _contributor(pair: Pair, question: Question, terms: SessionSettings) -> Contributor:
    return Contributor(
        pair.david,
        pair.vocabulary,
        prompt=question.instruction,
        context=question.context,
        voicing=Voicing(codec=Codec.DENSE),
        self_conditioning=terms.self_conditioning,
        answer_length=terms.block_length,
        temperature=terms.temperature,
        timing=timing_of(terms),
    )


def _state(plan: Plan, step: int, target: np.ndarray) -> SimplexState:
    """The state of a step if all before it had found the truth; the first one is noise alone."""
    estimate = target[:, None] if step else np.empty((len(target), 0), np.int64)
    return plan.state(0, step, estimate)
