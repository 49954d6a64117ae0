"""What a client holds a server to: the terms that it wished for, and states that follow."""

import numpy as np

from common.errors import InvalidFrameError, ModelMismatchError
from common.frames import Open, Opened, Step
from common.vocabulary import Vocabulary


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
    steps = opened.settings.steps
    expected = 0 if before is None else before.block * steps + before.step + 1
    if frame.block * steps + frame.step != expected:
        raise InvalidFrameError(
            f"step: expected step {expected % steps} of block {expected // steps}, "
            f"got step {frame.step} of block {frame.block}"
        )
    for name, ids in (("state", frame.estimate), ("finished", frame.finished_ids)):
        wrong = ids[np.isin(ids, vocabulary.forbidden)]
        if wrong.size:
            raise InvalidFrameError(f"{name} ids: expected none of the template's, got {wrong[0]}")
