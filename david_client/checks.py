"""What a client holds a server to: the settings that it asked for, and states that follow."""

from typing import Any

import numpy as np

from common.collaboration.contribution import Ask
from common.collaboration.settings import ContributorSettings, Limits, SessionSettings
from common.denoising.plan import FinishReason
from common.denoising.process import Process
from common.errors import (
    InvalidFrameError,
    LimitExceededError,
    ModelMismatchError,
    StepOutOfRangeError,
)
from common.models.registry import LanguageModel
from common.text.vocabulary import Vocabulary
from common.wire.frames import Completed, Open, Opened, Step


def check_limits(settings: SessionSettings, mine: ContributorSettings, limits: Limits) -> None:
    """Refuse what the server would, by the names that people gave it.

    Raises:
        LimitExceededError: the server does not go so far.
    """
    for option, value, most in (
        ("--steps", settings.steps, limits.max_steps),
        ("--block", settings.block_length, limits.max_block_length),
        ("--max-tokens", settings.max_tokens, limits.max_tokens),
        ("--weight", mine.weight, limits.max_weight),
        ("--budget", mine.budget_ms / 1000, limits.max_budget_ms / 1000),
    ):
        if value > most:
            raise LimitExceededError(
                f"{option}: this server takes at most {most:g}, got {value:g}",
                remedy="Give no more, or ask another server",
            )


def check_opened(
    opened: Opened, asked: Open, david: LanguageModel, prompt: tuple[int, ...]
) -> None:
    """Refuse settings that are not those of the first frame.

    Raises:
        ModelMismatchError: the server writes the prompt with other token ids.
        InvalidFrameError: it changed something else.
    """
    mine = [one for one in opened.contributors if one.contributor_id == asked.contributor_id]
    for name, came, expected in (
        ("settings", opened.settings, asked.settings),
        ("contributor", [one.settings for one in mine], [asked.contributor]),
        ("process", opened.process, asked.process),
        ("messages", opened.messages, asked.messages),
        ("end ids", opened.end_ids, david.vocabulary.ends),
        ("vocabulary size", opened.vocabulary_size, david.vocabulary.size),
    ):
        if came != expected:
            raise InvalidFrameError(
                f"opened: expected the {name} {expected}, got {came}",
                remedy="Install the same release on both sides",
            )
    missing = set(asked.required_features) - set(opened.features)
    if missing:
        raise InvalidFrameError(f"opened: expected the features {', '.join(sorted(missing))}")
    agrees = david.template.agrees(opened.prompt_ids.tolist(), prompt, asked.messages)
    suffix = opened.suffix_ids.tolist() == list(david.template.after(asked.suffix))
    for name, same, came_ids in (
        ("prompt", agrees, opened.prompt_ids),
        ("suffix", suffix, opened.suffix_ids),
    ):
        if not same:
            raise ModelMismatchError(
                f"{name}: Goliath writes it with {len(came_ids)} token ids that David would not",
                remedy="Use models with the same tokenizer.json and template",
            )


def check_step(frame: Step, before: Step | None, process: Process, vocabulary: Vocabulary) -> None:
    """Refuse a step that does not follow the one before, or a state with ids that no answer has.

    Raises:
        InvalidFrameError: it is so.
    """
    expected = _next(before, process)
    if (frame.block, frame.step) not in expected:
        listed = " or ".join(f"step {step} of block {block}" for block, step in expected)
        raise InvalidFrameError(
            f"step: expected {listed or 'none'}, got step {frame.step} of block {frame.block}"
        )
    if before is not None and frame.step and not process.follows(before.state, frame.state):
        raise InvalidFrameError("state: expected settled tokens to stay, and more of them")
    for name, ids in (frame.state.ids_shown | {"finished": frame.finished_ids}).items():
        wrong = ids[np.isin(ids, vocabulary.forbidden)]
        if wrong.size:
            raise InvalidFrameError(f"{name} ids: expected none of the template's, got {wrong[0]}")


def check_ask(ask: Ask, last: Step | None, answered: Any, opened: Opened) -> None:
    """Refuse an ask that was not agreed to, or about anything but the step in flight after the
    contribution to it; that it is within the caps, the wire has checked.

    Args:
        ask: what came.
        last: the last step that came.
        answered: the state of the last step that was answered, unless it was asked about before.
        opened: what was agreed.

    Raises:
        InvalidFrameError: it is so.
    """
    if not opened.settings.certify:
        raise InvalidFrameError("frame: expected no ask, since none was agreed")
    if last is None or (ask.block, ask.step) != (last.block, last.step):
        sent = (
            "before the first step" if last is None else f"step {last.step} of block {last.block}"
        )
        raise StepOutOfRangeError(
            f"ask: expected one about the step in flight, {sent}, "
            f"got step {ask.step} of block {ask.block}"
        )
    if answered is not last.state:
        raise InvalidFrameError("ask: expected one for a step, after its contribution")


def check_completed(frame: Completed, last: Step | None, process: Process) -> None:
    """Refuse an answer that counts as whole before the last step of a block was.

    Raises:
        InvalidFrameError: it is so.
    """
    if frame.finish_reason not in (FinishReason.END_TOKEN, FinishReason.MAX_TOKENS):
        return
    if last is None or (frame.block, frame.step) != (last.block, last.step):
        sent = "before the first" if last is None else f"step {last.step} of block {last.block}"
        raise InvalidFrameError(
            f"completed: expected the last step sent, {sent}, "
            f"got step {frame.step} of block {frame.block}"
        )
    if not process.may_end(last.state):
        raise InvalidFrameError(
            f"completed: expected an end after {process.steps} steps of a block, "
            f"got one after {last.step + 1}"
        )


def _next(before: Step | None, process: Process) -> list[tuple[int, int]]:
    """Blocks and steps that may follow a step."""
    if before is None:
        return [(0, 0)]
    follows = []
    if before.step + 1 < process.steps:
        follows.append((before.block, before.step + 1))
    if process.may_end(before.state):
        follows.append((before.block + 1, 0))
    return follows
