"""Filling the gaps of a text: one session each, from left to right."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from typing import Any

from common.collaboration.contribution import Tally
from common.collaboration.settings import Requested
from common.denoising.plan import FinishReason
from common.text.templates import asked
from common.text.vocabulary import Vocabulary
from david_client.asking import Question
from david_client.conversation import collaborate, question_of, warn_of_unknown
from david_client.gaps import Gapped, join_gaps
from david_client.joining import join
from david_client.reply import Reply
from david_client.settings import DavidSettings
from david_client.view import View

_TOTALS = (
    *("seed", "seconds", "bytes_up", "bytes_down", "steps_run"),
    *("david_steps", "missed", "late", "uncertified", "asks", "asked_ids"),
)
"""What of a reply's record is said of the whole text too."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A text whose gaps are filled, and what it took in all."""

    texts: tuple[str, ...]
    """What was written; one text more than there are replies. Gaps that were not reached stay in
    the last one.
    """
    replies: tuple[Reply, ...]
    """The filling of each gap; its `text` as it stands in the whole."""

    @property
    def parts(self) -> tuple[tuple[str, bool], ...]:
        """The text in parts, each with whether it is a filling."""
        written = ((text, False) for text in self.texts)
        fillings = ((reply.text, True) for reply in self.replies)
        pairs = chain.from_iterable(zip_longest(written, fillings))
        return tuple(part for part in pairs if part is not None)

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(text for text, _ in self.parts)

    @property
    def total(self) -> Reply:
        """What all sessions took, as one reply; its text is the whole, its settings are the first
        one's.
        """
        first = self.replies[0]
        every = [reply.certification for reply in self.replies]
        return replace(
            first,
            text=self.text,
            finish_reason=self.replies[-1].finish_reason,
            counts=(
                replace(
                    first.counts[0],
                    took_part=self._sum("david_steps"),
                    late=self._sum("late"),
                    missed=self._sum("missed"),
                ),
            ),
            seconds=self._sum("seconds"),
            steps_run=self._sum("steps_run"),
            bytes_up=self._sum("bytes_up"),
            bytes_down=self._sum("bytes_down"),
            certification=Tally(
                sum(one.uncertified for one in every),
                sum(one.asks for one in every),
                sum(one.asked_ids for one in every),
            ),
        )

    def _sum(self, name: str) -> Any:
        return sum(getattr(reply, name) for reply in self.replies)

    def record(self) -> dict[str, Any]:
        """The text as a JSON object: the whole, totals, and a reply's record for each gap with its
        `span` in the whole, in characters.
        """
        gaps, place = [], 0
        for text, reply in zip_longest(self.texts, self.replies):
            place += len(text)
            if reply is not None:
                span = [place, place + len(reply.text)]
                gaps.append(reply.record() | {"span": span})
                place = span[1]
        total = self.total.record()
        return {"text": self.text, "gaps": gaps} | {name: total[name] for name in _TOTALS}


def infill(
    settings: DavidSettings, gapped: Gapped, suffix: str, context: str, view: View
) -> Filled:
    """Load what the settings name and fill all gaps, with the drafts in the view.

    Args:
        settings: how, for each gap alike; its first seed is that of the settings or drawn.
        gapped: the text.
        suffix: text that follows it; empty for none.
        context: the private text.
        view: where drafts are shown.

    Raises:
        CollaborationError: any of its kinds.
    """
    question = question_of(settings, "")
    pair = collaborate(settings, question, context)
    vocabulary, david = pair.model.vocabulary, pair.david(settings, context)
    warn_of_unknown(vocabulary, prompt=" ".join(gapped.texts), suffix=suffix, context=context)
    gapped = followed_by(gapped, suffix, vocabulary)

    def ask(question: Question, title: str) -> Reply:
        return pair.ask(question, david, view, title=title)

    return fill_gaps(gapped, question, vocabulary, ask)


def followed_by(gapped: Gapped, suffix: str, vocabulary: Vocabulary) -> Gapped:
    """The text with the suffix after its last part."""
    *texts, last = gapped.texts
    seam = join(vocabulary, (), before=last, after=suffix).right if suffix else ""
    end = last.rstrip() + seam + suffix.lstrip() if last.strip() and suffix else last + suffix
    return Gapped((*texts, end), gapped.gaps)


def fill_gaps(
    gapped: Gapped,
    question: Question,
    vocabulary: Vocabulary,
    ask: Callable[[Question, str], Reply],
) -> Filled:
    """Fill gap after gap; each sees what stands before it, filled, and what follows up to the next.

    Args:
        gapped: a text with at least one gap, and some text before it.
        question: what all gaps share; gap n has its seed plus n, the first being 0.
        vocabulary: the pair's vocabulary.
        ask: gives the reply to the question of one gap; called with a title for people.

    Raises:
        CollaborationError: any that `ask` raises.
    """
    texts, replies = list(gapped.texts), list[Reply]()
    for number, gap in enumerate(gapped.gaps):
        before = Filled(tuple(texts[: number + 1]), tuple(replies)).text
        after = texts[number + 1]
        cap = {} if gap.most_tokens is None else {"max_tokens": gap.most_tokens}
        requested = Requested({**question.requested.values, **cap})
        reply = ask(
            replace(
                question,
                messages=asked(before.strip()),
                suffix=after.strip(),
                seed=(question.seed + number) % 2**64,
                requested=requested,
            ),
            f"gap {number + 1} of {len(gapped.gaps)}",
        )
        joint = join(vocabulary, reply.ids, before=before, after=after)
        texts[number] = texts[number].rstrip() + joint.left
        texts[number + 1] = joint.right + after.lstrip()
        replies.append(
            replace(reply, text=joint.text, full_text=joint.text + texts[number + 1].rstrip())
        )
        if reply.finish_reason is FinishReason.DRAINING:
            rest = join_gaps(Gapped(tuple(texts[number + 1 :]), gapped.gaps[number + 1 :]))
            return Filled((*texts[: number + 1], rest), tuple(replies))
    return Filled(tuple(texts), tuple(replies))
