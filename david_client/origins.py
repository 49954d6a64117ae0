"""Who brought each word in: who decided a token when it last changed.

Who decides at a step says little once a token has settled: both models then read it from the state
and agree on it. So a token keeps the decider of the step that made it what it is.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from david_client.reply import Draft, Reply


class Origins:
    """Follows the drafts of one answer."""

    def __init__(self) -> None:
        """No draft came yet."""
        self.block: list[int] = []
        """Of each position of the block: the `Decider` that brought its token in, 0 for unknown."""
        self._finished: list[int] = []
        self._ids: list[int] = []
        self._last: Draft | None = None

    def follow(self, draft: "Draft") -> list[int]:
        """Take in a draft; positions that hold another token than a step before.

        The first tokens after noise are not said to have changed.
        """
        if self._last is not None and draft.block != self._last.block:
            self._settle(draft.finished[len(self._last.finished) :], draft.decided.tolist())
            self._finished += self.block
            self.block, self._ids = [], []
        self._last = draft
        if draft.estimate is None:
            return []
        return self._settle(draft.estimate.tolist(), draft.decided.tolist())

    def conclude(self, reply: "Reply") -> list[int]:
        """Take in the answer; the origin of each of its tokens."""
        self._settle(reply.ids[len(self._finished) :], reply.decided)
        return [*self._finished, *self.block]

    def _settle(self, ids: Sequence[int], decided: Sequence[int]) -> list[int]:
        """Change the ids of the block; tokens that stay keep their origin."""
        deciders = [*decided, *[0] * (len(ids) - len(decided))]
        if len(ids) > len(self._ids):
            changed: list[int] = []
            self.block = deciders[: len(ids)]
        else:
            pairs = zip(self._ids, ids, strict=False)
            changed = [i for i, (before, now) in enumerate(pairs) if before != now]
            for i in changed:
                self.block[i] = deciders[i]
            self.block = self.block[: len(ids)]
        self._ids = list(ids)
        return changed
