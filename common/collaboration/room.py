"""Whether a David's model has room for what it shall read."""

from common.errors import BadDataError


def check_room(context: int, *, beside: int, positions: int) -> None:
    """Refuse texts that do not fit a small model.

    Args:
        context: tokens of the private text; 0 for none.
        beside: positions that prompt, suffix, answer and template take.
        positions: that the model has.

    Raises:
        BadDataError: they do not fit.
    """
    room = positions - beside
    if context <= room:
        return
    if room <= 0:
        raise BadDataError(
            f"prompt, suffix and answer: expected to fit David's {positions} positions, "
            f"got {beside}",
            remedy="Shorten the texts, or ask for a shorter answer",
        )
    raise BadDataError(
        f"the context has {context} tokens, and David has room for {room}: prompt, suffix and "
        f"answer take {beside} of David's {positions} positions",
        remedy="Give the part of the context that matters",
    )
