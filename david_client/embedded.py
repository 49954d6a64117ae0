"""Goliath in this process: the same driver, the same codec, no wire."""

import time

from common.collaboration.batcher import Batcher
from common.collaboration.certification import AskCaps
from common.collaboration.compatibility import check_fit, default_settings
from common.collaboration.driver import Drive, Local
from common.collaboration.opening import plan_for
from common.collaboration.settings import ContributorSettings, Limits
from common.collaboration.timing import timing_of
from common.denoising.process import Shown
from common.denoising.streams import Philox
from common.guidance.guide import Guide, guided
from common.models.registry import LanguageModel
from david_client.asking import CONTRIBUTOR_ID, Draft, OnDraft, Question, Reply
from david_client.joining import joined


async def ask_embedded(
    question: Question,
    david: LanguageModel,
    goliath: LanguageModel,
    *,
    on_draft: OnDraft,
    guide: Guide | None = None,
) -> Reply:
    """Ask a large model in this process; the late rules mean nothing here, since nothing is late.

    Args:
        question: what is asked.
        david: the small model.
        goliath: the large model.
        on_draft: called as each step begins.
        guide: what steers the large model; None for nothing.

    Raises:
        BadDataError: the prompt is empty or does not fit.
        IncompatibleError: the models do not fit together.
        UsageError: the question has a lag together with an `every`.
    """
    begin = time.perf_counter()
    check_fit(goliath, david)
    settings = question.settings(default_settings(goliath))
    mine = question.requested.contributor(ContributorSettings())
    plan = plan_for(goliath, settings, messages=question.messages, suffix=question.suffix)
    limits = Limits()
    caps = AskCaps(limits.max_ask_ids_per_position, limits.max_ask_ids)
    async with (
        Batcher(guided(goliath.predictor.predict, guide)) as large,
        Batcher(david.predictor.predict) as small,
    ):
        contributor, taking_part = None, {}
        if mine.weight > 0:
            contributor = question.contributor(david, small.predict, plan.process, settings, mine)
            taking_part[CONTRIBUTOR_ID] = Local(contributor, mine.weight, timing_of(settings))
        drive = Drive(
            plan,
            large.predict,
            taking_part,
            stream=Philox(settings.seed),
            caps=caps if settings.certify else None,
        )

        def show(shown: Shown) -> None:
            on_draft(Draft.of(settings, shown, goliath=goliath.name, weight=mine.weight))

        result = await drive.run(show)
    return Reply(
        text=goliath.vocabulary.decode(result.ids),
        tokens=tuple(result.ids.tolist()),
        finish_reason=result.finish_reason,
        goliath=goliath.name,
        david=david.name,
        settings=settings,
        mine=mine,
        contrast=question.contrast,
        seconds=time.perf_counter() - begin,
        suffix=question.suffix,
        full_text=joined(goliath.vocabulary, result.ids.tolist(), after=question.suffix),
        steps_run=result.steps,
        david_steps=result.steps if taking_part else 0,
        decided=tuple(result.decided.tolist()),
        guide=None if guide is None else guide.choice,
        certification=drive.tally,
        entries={} if contributor is None else dict(contributor.entries),
    )
