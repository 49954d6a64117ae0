"""From models, texts and settings to a plan, and to a contributor's part: one path for the server,
the embedded run and evaluation.
"""

from collections.abc import Awaitable, Callable, Sequence

from torch import Tensor

from common.collaboration.codec import MOST_ENTRIES, reach_for
from common.collaboration.contributor import Contributor, Encoding
from common.collaboration.settings import ContributorSettings, ProcessFacts, SessionSettings
from common.collaboration.timing import Timing, timing_of
from common.denoising.plan import Plan
from common.denoising.process import Process, View
from common.errors import BadDataError
from common.models.registry import LanguageModel
from common.processes.building import build
from common.text.templates import Message


def plan_for(
    model: LanguageModel,
    settings: SessionSettings,
    *,
    messages: Sequence[Message],
    suffix: str = "",
    process: Process | None = None,
) -> Plan:
    """The plan of a generation with the large model; nothing of the prompt is ever cut.

    Args:
        model: the large model.
        settings: what was agreed.
        messages: the public conversation that the answer follows.
        suffix: public text that follows the answer.
        process: the process; None for the one of the settings, with the model's times.

    Raises:
        BadDataError: the prompt is empty, or does not fit the model together with the answer.
        UsageError: the settings have a lag together with an `every`.
    """
    if not any(model.vocabulary.encode(message.content).ids for message in messages):
        raise BadDataError(
            "the prompt is empty: expected some text", remedy="Write a question or an instruction"
        )
    ends = model.vocabulary.ends
    if process is None:
        times = model.predictor.times(settings.steps)
        process = process_for(model.predictor.process, settings, times, ends)
    plan = Plan(
        process=process,
        prompt=model.template.ids(messages),
        max_tokens=settings.max_tokens,
        suffix=model.template.after(suffix),
        ends=ends,
        forbidden=model.vocabulary.forbidden,
    )
    answer = plan.blocks * settings.block_length - plan.given
    most = model.predictor.max_positions
    if len(plan.prompt) + answer + len(plan.suffix) > most:
        raise BadDataError(
            f"prompt, answer and suffix: expected to fit the large model's {most} "
            f"positions, got {len(plan.prompt)} + {answer} + {len(plan.suffix)}",
            remedy="Shorten the texts, or ask for a shorter answer",
        )
    return plan


def contributor_for(
    david: LanguageModel,
    rows: Callable[[View], Awaitable[Tensor]],
    process: Process,
    settings: SessionSettings,
    mine: ContributorSettings,
    prefixes: Sequence[tuple[int, ...]],
    *,
    suffix: str = "",
    contrast: float = 0.0,
    most_entries: int | None = None,
) -> Contributor:
    """A small model's part in a session.

    Args:
        david: the small model.
        rows: its rows of a view, such as `Batcher.predict`.
        process: the session's process.
        settings: the session's settings.
        mine: the contributor's.
        prefixes: what the model reads before the answer: with its context, and without it.
        suffix: public text that follows the answer.
        contrast: the factor a of `contrasted`; 0 takes the first prefix alone.
        most_entries: most entries of a row that the server takes; None for no limit of its own.

    Raises:
        UsageError: a lag together with an `every`.
    """
    return Contributor(
        rows,
        process,
        prefixes,
        suffix=david.template.after(suffix),
        contrast=contrast,
        encoding=Encoding(
            mine.codec,
            min(MOST_ENTRIES, most_entries or MOST_ENTRIES),
            reach_for(process.draw, mine.weight),
        ),
        certify=settings.certify,
        timing=timing_of(settings),
    )


def process_for(
    facts: ProcessFacts,
    settings: SessionSettings,
    times: tuple[float, ...],
    ends: tuple[int, ...],
) -> Process:
    """The process that was agreed on, as both sides build it."""
    return build(
        facts,
        settings.process,
        block_length=settings.block_length,
        steps=settings.steps,
        times=times,
        seed=settings.seed,
        end=ends[0],
        halting_steps=_halting_steps(timing_of(settings)),
    )


def _halting_steps(timing: Timing) -> frozenset[int] | None:
    if timing.every is None:
        return None
    return frozenset(step for step in range(timing.steps) if timing.may_end(step))
