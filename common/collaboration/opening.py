"""From a large model, texts and settings to a plan: one path for the server, the embedded run and
evaluation.
"""

from collections.abc import Sequence

from common.collaboration.settings import ProcessFacts, SessionSettings
from common.collaboration.timing import Timing, timing_of
from common.denoising.plan import Plan
from common.denoising.process import Process
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
) -> Plan:
    """The plan of a generation with the large model; nothing of the prompt is ever cut.

    Args:
        model: the large model.
        settings: what was agreed.
        messages: the public conversation that the answer follows.
        suffix: public text that follows the answer.

    Raises:
        BadDataError: the prompt is empty, or does not fit the model together with the answer.
        UsageError: the settings have a lag together with an `every`.
    """
    if not any(model.vocabulary.encode(message.content).ids for message in messages):
        raise BadDataError(
            "the prompt is empty: expected some text", remedy="Write a question or an instruction"
        )
    predictor, ends = model.predictor, model.vocabulary.ends
    plan = Plan(
        process=process_for(predictor.process, settings, predictor.times(settings.steps), ends),
        prompt=model.template.ids(messages),
        max_tokens=settings.max_tokens,
        suffix=model.template.after(suffix),
        ends=ends,
        forbidden=model.vocabulary.forbidden,
    )
    answer = plan.blocks * settings.block_length - plan.given
    most = predictor.max_positions
    if len(plan.prompt) + answer + len(plan.suffix) > most:
        raise BadDataError(
            f"prompt, answer and suffix: expected to fit the large model's {most} "
            f"positions, got {len(plan.prompt)} + {answer} + {len(plan.suffix)}",
            remedy="Shorten the texts, or ask for a shorter answer",
        )
    return plan


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
