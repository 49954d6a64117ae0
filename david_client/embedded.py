"""Goliath in this process: the same loop, the same codec, no wire."""

import functools
import time

from common.collaboration.certification import AskCaps, Tally
from common.collaboration.compatibility import (
    check_process,
    check_vocabulary,
    config_of,
    default_settings,
    process_of,
)
from common.collaboration.local import LocalDavid, run_local
from common.collaboration.plan import plan_for
from common.collaboration.timing import timing_of
from common.denoising.loop import Predict
from common.guidance.guide import Guide, guided
from common.models.simplex_network import SimplexDiffusionLM
from common.text.wordpiece import WordPieceVocabulary
from common.wire.frames import Limits
from david_client.asking import CONTRIBUTOR_ID, David, Draft, OnDraft, Question, Reply
from david_client.joining import joined


def check_fit(model: SimplexDiffusionLM, vocabulary: WordPieceVocabulary, david: David) -> None:
    """Compare the pair as a server would.

    Raises:
        VocabularyMismatchError, ProcessMismatchError: the models do not fit.
    """
    check_vocabulary(vocabulary.fingerprint, david.vocabulary.fingerprint)
    check_process(process_of(config_of(model)), process_of(config_of(david.model)))


def ask_embedded(
    question: Question,
    david: David,
    *,
    goliath: str,
    model: SimplexDiffusionLM,
    vocabulary: WordPieceVocabulary,
    on_draft: OnDraft,
    guide: Guide | None = None,
) -> Reply:
    """Ask a large model in this process; the late rules mean nothing here, since nothing is late.

    Args:
        question: what is asked.
        david: the small model.
        goliath: the large model's name.
        model: the large model.
        vocabulary: its vocabulary.
        on_draft: called as each step begins.
        guide: what steers the large model; None for nothing.

    Raises:
        BadDataError: the prompt is empty or does not fit.
        IncompatibleError: the models do not fit together.
        UsageError: the question has a lag together with an `every`.
    """
    begin = time.perf_counter()
    check_fit(model, vocabulary, david)
    settings = question.settings(default_settings(config_of(model)))
    plan = plan_for(
        config_of(model), vocabulary, settings, prompt=question.prompt, suffix=question.suffix
    )
    contributor = question.contributor(david, settings) if settings.weight > 0 else None
    helpers = {}
    if contributor is not None:
        helpers[CONTRIBUTOR_ID] = LocalDavid(contributor, settings.weight)

    def show(request: Predict) -> None:
        state = request.state
        finished = request.prefix[len(plan.prefix) :]
        on_draft(
            Draft(
                settings,
                state.block,
                state.step,
                state.t,
                finished,
                estimate=state.estimate[:, 0] if state.step else None,
                hot=state.estimate if state.step else None,
                decided=request.decided,
                goliath=goliath,
            )
        )

    tally, limits = Tally(), Limits()
    caps = AskCaps(limits.max_ask_ids_per_position, limits.max_ask_ids)
    result = run_local(
        plan,
        model,
        helpers,
        show,
        around=functools.partial(guided, guide=guide),
        caps=caps if settings.certify else None,
        tally=tally,
        timing=timing_of(settings),
    )
    return Reply(
        text=vocabulary.decode(result.ids),
        tokens=tuple(result.ids.tolist()),
        finish_reason=result.finish_reason,
        goliath=goliath,
        david=david.name,
        settings=settings,
        contrast=question.contrast,
        seconds=time.perf_counter() - begin,
        suffix=question.suffix,
        full_text=joined(vocabulary, result.ids.tolist(), after=question.suffix),
        steps_run=result.steps,
        david_steps=result.steps if helpers else 0,
        decided=tuple(result.decided.tolist()),
        guide=None if guide is None else guide.choice,
        certification=tally,
        entries={} if contributor is None else dict(contributor.entries),
    )
