"""Answers to many questions at once: the loop of the product, in lockstep over a batch.

Every session runs the same `denoise`, codec and fusion as an embedded answer; only the forward
passes are shared. One question gives the embedded answer bit for bit. In a larger batch the last
bits of the logits depend on its shape, and now and then a sampled word with them.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from common.collaboration.codec import encode, reach_of
from common.collaboration.compatibility import config_of
from common.collaboration.contrast import contrasted
from common.collaboration.fusion import Voice, fuse
from common.collaboration.plan import plan_for
from common.collaboration.settings import SessionSettings
from common.collaboration.timing import Timing, timing_of
from common.denoising.loop import Plan, Predict, Result, denoise
from common.errors import BadDataError
from common.evaluation.pair import Pair, Question
from common.models.simplex_lm import predict
from common.processes.simplex import conditioning
from common.processes.simplex.settings import SelfConditioning, draw_of
from common.processes.simplex.state import Bag

BATCH = 16
"""Questions of a forward pass."""
_CONTRIBUTOR_ID = "david"


def question_seed(seed: int, question: Question) -> int:
    """A question's own noise, uint64: the same in every system and order, and for every limit."""
    text = f"{seed}\n{question.instruction}\n{question.context}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


@dataclass(slots=True, eq=False)
class _Session:
    """One question on its way."""

    plan: Plan
    prefixes: tuple[tuple[int, ...], ...]
    """What David sees before the answer, for each of his passes: with the private text and, under
    contrast, without it."""
    timing: Timing
    loop: Any = field(init=False)
    request: Predict = field(init=False)
    conditions: list[Bag | None] = field(init=False)
    """David's own last prediction of each pass."""
    heard: dict[int, Tensor] = field(default_factory=dict)
    """David's rows (block, V) for the steps of this block whose contribution is used yet."""
    result: Result | None = None

    def __post_init__(self) -> None:
        self.conditions = [None] * len(self.prefixes)
        self.loop = denoise(self.plan, fuse)
        self.request = next(self.loop)

    def for_david(self, branch: int, own: bool) -> Predict:
        """The same state in front of David, behind the text that he sees in this pass."""
        begun = self.request.state.step > 0
        return replace(
            self.request,
            prefix=(*self.prefixes[branch], *self.request.prefix[len(self.plan.prefix) :]),
            condition=(self.conditions[branch] if begun else None)
            if own
            else self.request.condition,
        )

    @property
    def wants(self) -> bool:
        """Whether David's contribution to this step is used."""
        return self.timing.wanted(self.request.state.step)

    def hear(self, rows: Tensor) -> None:
        """Keep David's rows for this step, and of the others what is used yet."""
        now = self.request.state.step
        kept = {n: one for n, one in self.heard.items() if now and self.timing.awaited(n, now)}
        self.heard = {**kept, now: rows}

    @property
    def rows(self) -> Tensor:
        """David's rows that this step uses."""
        return self.heard[self.timing.source(self.request.state.step)]

    def advance(self, logits: Tensor, voices: Sequence[Voice]) -> None:
        """One step on; the result is there after the last one."""
        try:
            self.loop.send(logits)
            self.request = self.loop.send(voices)
        except StopIteration as done:
            self.result = done.value


def generate(
    pair: Pair,
    questions: Sequence[Question],
    *,
    settings: SessionSettings,
    seed: int,
    contrast: float = 0.0,
    batch: int = BATCH,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Result]:
    """The pair's answers; weight 0 is Goliath alone and weight 1 David alone, which costs no pass
    of the other.

    Args:
        pair: the models, in eval mode.
        questions: what is asked; a context goes to David alone.
        settings: the terms of every answer, but for the seed.
        seed: from it comes each question's own, see `question_seed`.
        contrast: the factor a of `contrasted`, at least 0, for the questions that have a context;
            it costs a second pass of David.
        batch: questions of a forward pass.
        progress: told how many answers are done.

    Raises:
        BadDataError: a question does not fit a model, together with its answer.
    """
    results: list[Result] = []
    for start in range(0, len(questions), batch):
        chunk = questions[start : start + batch]
        sessions = [
            _open(pair, question, replace(settings, seed=question_seed(seed, question)), contrast)
            for question in chunk
        ]
        while live := [session for session in sessions if session.result is None]:
            _step(pair, live, settings, contrast)
        results += [session.result for session in sessions if session.result is not None]
        progress(len(results))
    return results


def _open(pair: Pair, question: Question, settings: SessionSettings, contrast: float) -> _Session:
    vocabulary = pair.vocabulary
    plan = plan_for(config_of(pair.goliath), vocabulary, settings, prompt=question.instruction)
    prompt, context = (vocabulary.encode(t).ids for t in (question.instruction, question.context))
    private, public = vocabulary.prompt_ids(prompt, context), vocabulary.prompt_ids(prompt)
    need = len(private) + settings.blocks * settings.block_length
    room = config_of(pair.david).max_positions
    if settings.weight > 0 and need > room:
        raise BadDataError(
            f"expected prompt, context and answer to fit David's {room} positions, got {need}",
            remedy="Leave the record out, or lower --max-tokens",
        )
    prefixes = (private, public) if contrast and question.context else (private,)
    return _Session(plan, prefixes, timing_of(settings))


def _step(pair: Pair, live: Sequence[_Session], settings: SessionSettings, contrast: float) -> None:
    own = settings.self_conditioning is SelfConditioning.OWN
    helped = settings.weight > 0
    if asked := [session for session in live if helped and session.wants]:
        for session, rows in zip(asked, _david(pair, asked, own, contrast), strict=True):
            session.hear(rows)
    # At weight 1 the scores hold nothing of Goliath: any finite logits do in his place.
    if settings.weight == 1:
        core = torch.stack([session.rows for session in live])
    else:
        core = predict(pair.goliath, [session.request for session in live])
    for row, session in enumerate(live):
        voices = [_voice(session.rows, session.request, settings)] if helped else []
        session.advance(core[row : row + 1], voices)


def _david(pair: Pair, live: Sequence[_Session], own: bool, contrast: float) -> Tensor:
    """(sessions, block, V) David's logits, with the contrast where there is a second pass."""
    rows = list(_look(pair, live, 0, own))
    twice = [row for row, session in enumerate(live) if len(session.prefixes) > 1]
    if twice:
        without = _look(pair, [live[row] for row in twice], 1, own)
        for row, other in zip(twice, without, strict=True):
            rows[row] = contrasted(rows[row], other, contrast)
    return torch.stack(rows)


def _look(pair: Pair, sessions: Sequence[_Session], branch: int, own: bool) -> Tensor:
    """One pass of David; each session keeps its prediction for the next step of that pass."""
    # A pass of its own: together the shorter text would be padded, and no longer bit-equal.
    logits = predict(pair.david, [session.for_david(branch, own) for session in sessions])
    if own:
        for row, session in enumerate(sessions):
            session.conditions[branch] = conditioning.from_logits(logits[row : row + 1])
    return logits


def _voice(rows: Tensor, request: Predict, settings: SessionSettings) -> Voice:
    state = request.state
    contribution = encode(
        rows,
        block=state.block,
        step=state.step,
        codec=settings.codec,
        reach=reach_of(
            temperature=draw_of(settings.temperature), min_p=settings.min_p, weight=settings.weight
        ),
    )
    return Voice(_CONTRIBUTOR_ID, settings.weight, contribution)
