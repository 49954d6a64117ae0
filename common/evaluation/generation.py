"""Answers to many questions at once: the driver of the product, in lockstep over a batch.

Every session runs the same driver, codec and fusion as an embedded answer; only the forward passes
are shared. One question gives the embedded answer bit for bit. In a larger batch the last bits of
the logits depend on its shape, and now and then a sampled word with them.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import torch
from torch import Tensor

from common.collaboration.batcher import Batcher
from common.collaboration.driver import Drive, Local
from common.collaboration.opening import contributor_for, plan_for
from common.collaboration.settings import ContributorSettings, SessionSettings
from common.collaboration.timing import timing_of
from common.denoising.loop import Result
from common.denoising.process import View
from common.denoising.streams import Philox
from common.errors import BadDataError
from common.evaluation.pair import Pair, Question
from common.models.registry import LanguageModel
from common.text.templates import asked

BATCH = 16
"""Questions of a forward pass."""
_CONTRIBUTOR_ID = "david"


def question_seed(seed: int, question: Question) -> int:
    """A question's own noise, uint64: the same in every system and order, and for every limit."""
    text = f"{seed}\n{question.instruction}\n{question.context}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def generate(
    pair: Pair,
    questions: Sequence[Question],
    *,
    settings: SessionSettings,
    mine: ContributorSettings,
    seed: int,
    contrast: float = 0.0,
    batch: int = BATCH,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Result]:
    """The pair's answers; weight 0 is Goliath alone and weight 1 David alone, which costs no pass
    of the other.

    Args:
        pair: the models, in eval mode.
        questions: what is asked; a context goes to David alone.
        settings: those of every answer, but for the seed.
        mine: David's.
        seed: from it comes each question's own, see `question_seed`.
        contrast: the factor a of `contrasted`, at least 0, for the questions that have a context;
            it costs a second pass of David.
        batch: questions of a forward pass.
        progress: called with how many answers are done.

    Raises:
        BadDataError: a question does not fit a model, together with its answer.
    """
    results: list[Result] = []
    for start in range(0, len(questions), batch):
        chunk = questions[start : start + batch]
        results += asyncio.run(_generate(pair, chunk, settings, mine, seed, contrast))
        progress(len(results))
    return results


async def _generate(
    pair: Pair,
    questions: Sequence[Question],
    settings: SessionSettings,
    mine: ContributorSettings,
    seed: int,
    contrast: float,
) -> list[Result]:
    """A session for each question; all stand at the same step, so that they share their passes."""
    many = len(questions)
    goliath, david = pair.models
    async with AsyncExitStack() as stack:
        large, small = [
            await stack.enter_async_context(Batcher(model.predictor.predict, max_batch=many))
            for model in (goliath, david)
        ]
        drives = []
        for question in questions:
            agreed = replace(settings, seed=question_seed(seed, question))
            messages = asked(question.instruction)
            plan = plan_for(goliath, agreed, messages=messages)
            taking_part = {}
            if mine.weight > 0:
                contributor = contributor_for(
                    david,
                    small.predict,
                    plan.process,
                    agreed,
                    mine,
                    _prefixes(david, question, agreed),
                    contrast=contrast if question.context else 0.0,
                )
                local = Local(contributor, mine.weight, timing_of(agreed))
                taking_part[_CONTRIBUTOR_ID] = local
            drives.append(
                Drive(
                    plan,
                    # At weight 1 the scores hold nothing of Goliath: any finite rows do.
                    _silent(goliath) if mine.weight == 1 else large.predict,
                    taking_part,
                    stream=Philox(agreed.seed),
                )
            )
        return await asyncio.gather(*(drive.run() for drive in drives))


def _silent(goliath: LanguageModel) -> Callable[[View], Awaitable[Tensor]]:
    """A large model that says nothing."""

    async def rows(view: View) -> Tensor:
        predictor = goliath.predictor
        return torch.zeros(1, len(view.open), predictor.vocabulary_size, device=predictor.device)

    return rows


def _prefixes(
    david: LanguageModel, question: Question, settings: SessionSettings
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the small model reads before the answer: with the context, and without it."""
    template, messages = david.template, asked(question.instruction)
    private = template.ids(messages, question.context)
    need = len(private) + settings.blocks * settings.block_length
    room = david.predictor.max_positions
    if need > room:
        raise BadDataError(
            f"expected prompt, context and answer to fit David's {room} positions, got {need}",
            remedy="Leave the record out, or lower --max-tokens",
        )
    return private, template.ids(messages)
