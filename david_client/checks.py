"""What a client holds a server to: the terms that it wished for, and states that follow."""

import numpy as np

from common.collaboration.contribution import Ask
from common.collaboration.timing import timing_of
from common.errors import (
    InvalidFrameError,
    LimitExceededError,
    ModelMismatchError,
    StepOutOfRangeError,
)
from common.processes.simplex.terms import FinishReason
from common.text.vocabulary import Vocabulary
from common.wire.frames import Completed, Limits, Open, Opened, SessionSettings, Step


def check_limits(settings: SessionSettings, limits: Limits) -> None:
    """Refuse what the server would, by the names that people gave it.

    Raises:
        LimitExceededError: the server does not go so far.
    """
    for option, value, most in (
        ("--steps", settings.steps, limits.max_steps),
        ("--block", settings.block_length, limits.max_block_length),
        ("--max-tokens", settings.max_tokens, limits.max_tokens),
        ("--weight", settings.weight, limits.max_weight),
        ("--budget", settings.budget_ms / 1000, limits.max_budget_ms / 1000),
    ):
        if value > most:
            raise LimitExceededError(
                f"{option}: this server takes at most {most:g}, got {value:g}",
                remedy="Give no more, or ask another server",
            )


def check_opened(opened: Opened, wished: Open, vocabulary: Vocabulary) -> None:
    """Refuse terms that are not those of the first frame.

    Raises:
        ModelMismatchError: the server writes the prompt with other token ids.
        InvalidFrameError: it changed something else.
    """
    for name, came, expected in (
        ("settings", opened.settings, wished.settings),
        ("process", opened.process, wished.process),
        ("vocabulary size", opened.vocabulary_size, vocabulary.size),
    ):
        if came != expected:
            raise InvalidFrameError(
                f"opened: expected the {name} {expected}, got {came}",
                remedy="Install the same release on both sides",
            )
    missing = set(wished.required_features) - set(opened.features)
    if missing:
        raise InvalidFrameError(f"opened: expected the features {', '.join(sorted(missing))}")
    texts = (
        ("prompt", opened.prompt_ids, vocabulary.prompt_ids(vocabulary.encode(wished.prompt).ids)),
        ("suffix", opened.suffix_ids, vocabulary.suffix_ids(vocabulary.encode(wished.suffix).ids)),
    )
    for name, came_ids, ours in texts:
        if came_ids.tolist() != list(ours):
            raise ModelMismatchError(
                f"{name}: Goliath writes it with {len(came_ids)} token ids, David with "
                f"{len(ours)} or other ones",
                remedy="Use models with the same tokenizer.json and template",
            )


def check_step(frame: Step, before: Step | None, opened: Opened, vocabulary: Vocabulary) -> None:
    """Refuse a step that does not follow the one before, or a state with ids that no answer has.

    Raises:
        InvalidFrameError: it is so.
    """
    expected = _next(before, opened)
    if (frame.block, frame.step) not in expected:
        listed = " or ".join(f"step {step} of block {block}" for block, step in expected)
        raise InvalidFrameError(
            f"step: expected {listed or 'none'}, got step {frame.step} of block {frame.block}"
        )
    told = np.empty(0) if frame.fused is None else frame.fused.ids[frame.fused.probabilities > 0]
    for name, ids in (
        ("state", frame.estimate),
        ("finished", frame.finished_ids),
        ("fused", told),
    ):
        wrong = ids[np.isin(ids, vocabulary.forbidden)]
        if wrong.size:
            raise InvalidFrameError(f"{name} ids: expected none of the template's, got {wrong[0]}")


def check_ask(ask: Ask, last: Step | None, spoken: Step | None, opened: Opened) -> None:
    """Refuse an ask that was not agreed to, or about anything but the step in flight after the
    contribution to it; that it is within the caps, the wire has checked.

    Args:
        ask: what came.
        last: the last step that came.
        spoken: the last step that was answered, unless it was asked about before.
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
    if spoken is not last:
        raise InvalidFrameError("ask: expected one for a step, after its contribution")


def check_completed(frame: Completed, last: Step | None, opened: Opened) -> None:
    """Refuse an answer that is said to be whole before the last step of a block was.

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
    if not _may_end(last, opened):
        raise InvalidFrameError(
            f"completed: expected an end after {opened.settings.steps} steps of a block, "
            f"got one after {last.step + 1}"
        )


def _next(before: Step | None, opened: Opened) -> list[tuple[int, int]]:
    """Blocks and steps that may follow a step."""
    if before is None:
        return [(0, 0)]
    follows = []
    if before.step + 1 < opened.settings.steps:
        follows.append((before.block, before.step + 1))
    if _may_end(before, opened):
        follows.append((before.block + 1, 0))
    return follows


def _may_end(step: Step, opened: Opened) -> bool:
    """Whether a block may end with a step: the last one, or one that halting allows."""
    settings = opened.settings
    # At its first step a block has no unchanged step yet.
    halts = 0 < settings.halt_patience <= step.step and timing_of(settings).may_end(step.step)
    return halts or step.step + 1 == settings.steps
