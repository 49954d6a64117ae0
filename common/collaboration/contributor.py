"""David's computation: a small model looks at each state, beside a text that nobody else sees."""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.collaboration.codec import MOST_ENTRIES, answer_from, encode
from common.collaboration.contrast import contrasted
from common.collaboration.contribution import Answer, Ask, Codec, Contribution
from common.collaboration.room import check_room
from common.collaboration.timing import Timing
from common.denoising.loop import Predict
from common.errors import InvalidFrameError, UsageError
from common.models.predict import predict
from common.models.simplex_lm import SimplexDiffusionLM
from common.processes.simplex import conditioning
from common.processes.simplex.signal import FusedSignal
from common.processes.simplex.state import Bag, SimplexState
from common.processes.simplex.terms import SelfConditioning
from common.text.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Voicing:
    """How a David speaks."""

    contrast: float = 0.0
    """The factor a of `contrasted`. Needs a context; 0 skips the second pass."""
    codec: Codec = Codec.TOPK
    entries: int = MOST_ENTRIES
    """Most entries of a row in the codec topk."""
    reach: float = math.inf
    """How far below the best entry, in logits, entries are sent in the codec topk."""
    certify: bool = False
    """Whether rows are kept until the next step, to answer an ask about them."""


class Contributor:
    """One David in one session. Steps come in order, those that nobody wants are left out; he
    conditions on his prediction for the wanted step before, and after a missed one he starts anew.
    """

    def __init__(
        self,
        model: SimplexDiffusionLM,
        vocabulary: Vocabulary,
        *,
        prompt: str,
        suffix: str = "",
        context: str = "",
        voicing: Voicing,
        self_conditioning: SelfConditioning,
        answer_length: int,
        temperature: float,
        timing: Timing | None = None,
    ):
        """Prepare the texts; without a timing every step is wanted.

        Args:
            model: the small model.
            vocabulary: the pair's vocabulary.
            prompt: public text before the answer.
            suffix: public text after it.
            context: private text.
            voicing: how this David speaks.
            self_conditioning: what the models of the session condition on.
            answer_length: positions of all blocks.
            temperature: the session's; 0, greedy, takes the logits as they are.
            timing: which contributions are wanted; None for all.

        Raises:
            UsageError: a contrast without a context.
            BadDataError: prompt, context, suffix and the longest answer do not fit the model
                together.
        """
        if voicing.contrast and not context:
            raise UsageError(
                f"contrast {voicing.contrast} needs a context to compare with, and there is none",
                remedy="Give --context FILE, or leave --contrast out",
            )
        self._model = model.eval()
        self._voicing = voicing
        self._conditioning = self_conditioning
        self._tempering = temperature or 1.0
        self._timing = timing
        self._suffix = vocabulary.suffix_ids(vocabulary.encode(suffix).ids)
        self.prompt_ids = vocabulary.prompt_ids(vocabulary.encode(prompt).ids)
        private_ids = vocabulary.encode(context).ids
        private = vocabulary.prompt_ids(vocabulary.encode(prompt).ids, private_ids)
        self._prefixes = (private, self.prompt_ids) if voicing.contrast else (private,)
        check_room(
            len(private_ids),
            beside=len(private) - len(private_ids) + answer_length + len(self._suffix),
            positions=model.config.max_positions,
        )
        self._finished: tuple[int, ...] = ()
        self._conditions: list[Bag | None] = [None] * len(self._prefixes)
        self._answered: tuple[int, int] | None = None
        self._rows: Tensor | None = None
        self.entries: Counter[int] = Counter()
        """Rows given so far, by the number of their entries."""

    def contribute(
        self, state: SimplexState, finished: np.ndarray, signal: FusedSignal | None = None
    ) -> Contribution:
        """The contribution to a step.

        Args:
            state: the state to look at.
            finished: (block_length,) int64, the block just ended, else empty.
            signal: what all models condition on, with the self-conditioning fused; None at step 0.
        """
        self._finished = (*self._finished, *finished.tolist())
        if self._conditioning is SelfConditioning.ESTIMATE:
            self._conditions = [self._from_state(state)] * len(self._prefixes)
        elif self._conditioning is SelfConditioning.FUSED:
            condition = None if signal is None else conditioning.from_signal(signal)
            self._conditions = [condition] * len(self._prefixes)
        elif self._answered != (state.block, self._previous(state.step)):
            self._conditions = [None] * len(self._prefixes)
        passes = [self._predict(state, i) for i in range(len(self._prefixes))]
        self._answered = (state.block, state.step)
        rows = self._combine(passes)
        self._rows = rows if self._voicing.certify else None
        made = encode(
            rows,
            block=state.block,
            step=state.step,
            codec=self._voicing.codec,
            entries=self._voicing.entries,
            reach=self._voicing.reach,
        )
        self.entries.update(made.counts.tolist())
        return made

    def answer(self, ask: Ask) -> Answer:
        """What the last contribution left out of the ids that are asked for, in their range.

        Raises:
            InvalidFrameError: the rows of that step are not kept.
        """
        if self._rows is None or self._answered != (ask.block, ask.step):
            raise InvalidFrameError(
                f"ask: expected one about the last contribution, to {self._answered}, with its "
                f"rows kept; got one about {(ask.block, ask.step)}",
                remedy="Agree on certify, and ask before the next step",
            )
        return answer_from(self._rows, ask)

    def _previous(self, step: int) -> int | None:
        """The wanted step before: between fresh contributions the state changes, but what was last
        made of it is still the best guess, and better than none.
        """
        return step - 1 if self._timing is None else self._timing.previous(step)

    def _combine(self, passes: list[Tensor]) -> Tensor:
        """One row of logits for each position, from those with the context and without it."""
        a = self._voicing.contrast
        return contrasted(passes[0], passes[1], a) if a else passes[0]

    def _predict(self, state: SimplexState, branch: int) -> Tensor:
        empty = np.empty(0, np.int64)
        request = Predict(
            state,
            (*self._prefixes[branch], *self._finished),
            self._suffix,
            self._conditions[branch],
            empty,
            empty,
            temperature=self._tempering,
        )
        logits = predict(self._model, [request])
        if self._conditioning is SelfConditioning.OWN:
            self._conditions[branch] = conditioning.from_logits(logits)
        return logits[0]

    @staticmethod
    def _from_state(state: SimplexState) -> Bag | None:
        return (
            conditioning.from_estimate(torch.from_numpy(state.estimate).unsqueeze(0))
            if state.step
            else None
        )
