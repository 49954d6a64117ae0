"""Cross-entropy along the path of an answer: what contributions to other states are worth.

A session's steps in order, but that its states are made of the true text, with the noise that was
agreed: every timing of contributions is scored on the same states, and none can lead the draft
astray. A step's scores fuse Goliath's logits for its own state with David's for the state of the
step that the timing says, written and read as on the wire; they are scored against the true tokens.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.collaboration.batcher import Batcher
from common.collaboration.contribution import Contribution
from common.collaboration.contributor import Contributor, Encoding
from common.collaboration.fusion import Weighted, fuse
from common.collaboration.opening import plan_for
from common.collaboration.settings import Codec, ContributorSettings, SessionSettings
from common.collaboration.timing import timing_of
from common.denoising.process import Shown, View
from common.errors import UsageError
from common.evaluation.generation import question_seed
from common.evaluation.pair import Pair, Question
from common.processes.simplex.settings import SelfConditioning
from common.text.templates import asked


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
    mine: ContributorSettings,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> PathLoss:
    """Score the first block of each question's response.

    Args:
        pair: the models, in eval mode.
        questions: held-out records; a context goes to David alone.
        mine: David's settings, with weight 0 none.
        settings: as agreed, but for the seed; their lag or `every` says whose contribution a step
            uses. The temperature is 1 in any case: this is a loss. And rows
            are whole: floors stand for entries that nothing in a session reads, but a loss does.
        seed: from it comes each question's own, see `question_seed`.
        progress: called with (questions done, questions in all).

    Raises:
        UsageError: the models condition on what a session made of its scores: along the path of
            the truth there is nothing of that kind.
        BadDataError: a question does not fit a model.
    """
    conditioning = getattr(settings.process, "self_conditioning", None)
    if conditioning is not SelfConditioning.OWN:
        raise UsageError(
            f"expected models that condition on their own predictions, got {conditioning}",
            remedy="Measure with self-conditioning own",
        )
    nats, scored, tokens = 0.0, 0, 0
    for number, question in enumerate(questions):
        progress(number, len(questions))
        agreed = replace(
            settings,
            seed=question_seed(seed, question),
            max_tokens=settings.block_length,
            process=replace(settings.process, temperature=1.0),
        )
        losses = asyncio.run(_losses(pair, question, agreed, mine))
        nats += losses.sum().item()
        scored += losses.numel()
        tokens += losses.shape[1]
    progress(len(questions), len(questions))
    return PathLoss(nats / scored, tokens)


async def _losses(
    pair: Pair, question: Question, settings: SessionSettings, mine: ContributorSettings
) -> Tensor:
    """(steps, scored) fp32 nats of one question."""
    goliath, david = pair.models
    messages = asked(question.instruction)
    plan = plan_for(goliath, settings, messages=messages)
    process: Any = plan.process
    ids = pair.vocabulary.encode(question.response).ids[: process.block_length]
    target = np.full(process.block_length, plan.ends[0], np.int64)
    target[: len(ids)] = ids
    timing = timing_of(settings)
    given: dict[int, Contribution] = {}
    own, losses = None, []
    async with Batcher(david.predictor.predict) as small:
        contributor = Contributor(
            small.predict,
            process,
            [david.template.ids(messages, question.context)],
            encoding=Encoding(Codec.DENSE),
            timing=timing,
        )
        for step in range(settings.steps):
            # The state of a step if all before it had found the truth; the first is noise alone.
            estimate = target[:, None] if step else np.empty((len(target), 0), np.int64)
            state = process.state(0, step, estimate)
            everywhere = process.open(state)
            if mine.weight > 0 and timing.wanted(step):
                given[step] = await contributor.contribute(Shown(state, everywhere))
            view = View(plan.prompt, state, everywhere, condition=process.condition(state, own))
            (core,) = goliath.predictor.predict([view])
            own = process.remember(core)
            source = given.get(timing.source(step))
            contributions = [] if source is None else [Weighted("david", mine.weight, source)]
            scores = fuse(core, contributions).scores[0, : len(ids)]
            truth = torch.from_numpy(target[: len(ids)]).to(scores.device)
            losses.append(torch.nn.functional.cross_entropy(scores, truth, reduction="none"))
    return torch.stack(losses).cpu()
