"""How a conversation becomes a prompt: the wire carries one text, and the template is fixed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer, both public."""

    question: str
    answer: str
    how: str = ""
    """What it took, for people: seed, steps, weight."""


def prompt_of(
    turns: Sequence[Turn],
    question: str,
    *,
    memory: int,
    limit: int,
    length: Callable[[str], int],
) -> str:
    """The last turns, oldest first, and the question, one text to a line.

    Turns are left out from the front and whole. The question is never cut: one that is too long is
    the models' to refuse.

    Args:
        turns: the conversation so far, oldest first.
        question: what is asked now.
        memory: turns to keep at most.
        limit: tokens that the prompt may have.
        length: tokens of a text.
    """
    prompt = question
    for turn in reversed(turns[-memory:] if memory else ()):
        longer = "\n".join((turn.question, turn.answer, prompt))
        if length(longer) > limit:
            break
        prompt = longer
    return prompt
