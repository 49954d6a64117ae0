"""Goliath in this process: the same driver, the same codec, no wire."""

import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from common.collaboration.batcher import Batcher
from common.collaboration.certification import AskCaps
from common.collaboration.compatibility import check_fit, default_settings
from common.collaboration.contributor import Contributor
from common.collaboration.driver import Drive, Local
from common.collaboration.opening import contributor_for, plan_for
from common.collaboration.settings import ContributorSettings, Limits, SessionSettings
from common.collaboration.timing import timing_of
from common.denoising.process import Process, Shown
from common.denoising.streams import Philox
from common.errors import UsageError
from common.guidance.guide import Guide, guided
from common.models.registry import LanguageModel
from david_client.asking import CONTRIBUTOR_ID, David, Question
from david_client.reply import Counts, Draft, OnDraft, Reply


async def ask_embedded(
    question: Question,
    davids: Sequence[David],
    goliath: LanguageModel,
    *,
    on_draft: OnDraft,
    guide: Guide | None = None,
    process: Callable[[SessionSettings], Process] | None = None,
    defaults: SessionSettings | None = None,
) -> Reply:
    """Ask a large model in this process; the late rules mean nothing here, since nothing is late.

    Args:
        question: what is asked.
        davids: the small models; none for the large one alone.
        goliath: the large model.
        on_draft: called as each step begins.
        guide: what steers the large model; None for nothing.
        process: makes the process of a session; None for the one that the model was trained for.
        defaults: what holds where nothing else is requested; None for what suits the model.

    Raises:
        BadDataError: the prompt is empty or does not fit.
        IncompatibleError: the models do not fit together.
        UsageError: weights over 1 in all, or the question has a lag together with an `every`.
    """
    began = time.perf_counter()
    settings = question.settings(defaults or default_settings(goliath))
    mine = [david.requested.contributor(ContributorSettings()) for david in davids]
    weight = sum(one.weight for one in mine)
    if weight > 1 + 1e-9:
        raise UsageError(f"weights: expected at most 1 in all, got {weight:g}")
    made = process and process(settings)
    if made:
        settings = replace(settings, steps=made.steps, block_length=made.block_length)
    plan = plan_for(
        goliath, settings, messages=question.messages, suffix=question.suffix, process=made
    )
    limits = Limits()
    caps = AskCaps(limits.max_ask_ids_per_position, limits.max_ask_ids)
    async with AsyncExitStack() as stack:
        large = Batcher(guided(goliath.predictor.predict, guide))
        await stack.enter_async_context(large)
        contributors: dict[int, Contributor] = {}
        for number, (david, own) in enumerate(zip(davids, mine, strict=True)):
            model = david.model_for(goliath)
            check_fit(goliath, model)
            if own.weight == 0:
                continue
            small = await stack.enter_async_context(Batcher(model.predictor.predict))
            contributors[number] = contributor_for(
                model,
                small.predict,
                plan.process,
                settings,
                own,
                david.prefixes(model, question, settings),
                suffix=question.suffix,
                contrast=david.contrast,
                most_entries=limits.max_entries,
            )
        drive = Drive(
            plan,
            large.predict,
            {
                f"{CONTRIBUTOR_ID}-{number}": Local(one, mine[number].weight, timing_of(settings))
                for number, one in contributors.items()
            },
            stream=Philox(settings.seed),
            caps=caps if settings.certify else None,
        )

        def show(shown: Shown) -> None:
            on_draft(
                Draft.of(
                    settings,
                    shown,
                    goliath=goliath.name,
                    weight=weight,
                    vocabulary=goliath.vocabulary,
                )
            )

        result = await drive.run(show)
    return Reply.of(
        question,
        goliath.vocabulary,
        result,
        began=began,
        goliath=goliath.name,
        settings=settings,
        counts=tuple(
            Counts(
                david.name,
                own,
                david.contrast,
                took_part=result.steps if number in contributors else 0,
                entries=dict(contributors[number].entries) if number in contributors else {},
            )
            for number, (david, own) in enumerate(zip(davids, mine, strict=True))
        ),
        steps_run=result.steps,
        guide=None if guide is None else guide.choice,
        certification=drive.tally,
    )
