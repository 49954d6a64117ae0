"""Simplex diffusion as a process: every position noisy at a known level, projected and re-noised.

Sources: SSD-LM section 3.4 and Algorithm 2 (re-noising), SSD-2 section 3 (one projection after
fusion). The answer is the greedy projection of the last fused scores: nothing is re-noised after.
"""

from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from common.denoising.halting import HaltRule, counted, follow, halts
from common.denoising.process import Advanced, Needs, Scored
from common.denoising.sampling import Candidates, Draw, best_candidates, greedy
from common.denoising.streams import Stream, Words
from common.processes.simplex import conditioning
from common.processes.simplex.schedule import times_at
from common.processes.simplex.settings import MAX_HOT, Projection, SelfConditioning, draw_of
from common.processes.simplex.state import Bag, FusedSignal, SimplexState


@dataclass(frozen=True, slots=True)
class Simplex:
    """Simplex diffusion with its settings, for one session."""

    times: tuple[float, ...]
    """Time of each step, 1 first, falling, all above 0."""
    block_length: int
    """Positions generated together."""
    seed: int
    """Key of all noise, uint64."""
    temperature: float
    """What the models' logits are divided by, but for the state's likelihood; 0 takes them as they
    are and projects greedily.
    """
    min_p: float
    """In (0, 1]."""
    self_conditioning: SelfConditioning
    """What the models condition on."""
    projection: Projection = Projection.SAMPLE
    """How scores become the next estimate; the answer is greedy in any case."""
    halting: HaltRule = field(default_factory=HaltRule)
    """When a block ends before its last step."""
    halting_steps: frozenset[int] | None = None
    """Steps at which it may; None for all."""
    ramp: float = 0.0
    """Steepness of the ramp of times from the first position to the last; 0 for none."""
    top_p: float = 1.0
    """Share of the candidates' mass that is drawn from, or hot, the best first, in (0, 1]."""
    no_repeat: int = 0
    """Tokens of a run that is not drawn twice in a block; 0: all may be."""
    end: int = -1
    """Id that ends an answer: what follows it in a draft does not count."""

    name = "simplex"
    grid = False
    replays = True

    @property
    def steps(self) -> int:
        """The most steps that a block may take."""
        return len(self.times)

    @property
    def draw(self) -> Draw:
        """How tokens are drawn; the scores are tempered already."""
        temperature = draw_of(self.temperature)
        return Draw(temperature, self.min_p, self.top_p, self.no_repeat, self.end)

    def start(self, block: int, given: tuple[int, ...], stream: Stream) -> SimplexState:
        """Pure noise."""
        return self.state(block, 0, np.empty((self.block_length, 0), np.int64))

    def state(
        self, block: int, step: int, estimate: np.ndarray, signal: FusedSignal | None = None
    ) -> SimplexState:
        """The state of a step, from the estimate (block_length, h) of the one before."""
        times = times_at(self.times, step, steepness=self.ramp, positions=self.block_length)
        return SimplexState(self.seed, block, step, self.times[step], estimate, times, signal)

    def open(self, state: SimplexState) -> np.ndarray:
        """Every position is read at every step."""
        return np.arange(self.block_length)

    def row_temperature(self, step: int) -> float:
        """Models divide by the temperature; the state's likelihood is added after."""
        return self.temperature or 1.0

    def condition(self, state: SimplexState, own: Bag | None) -> Bag | None:
        """What a model conditions on, with batch 1: its own last rows, the estimate, or the fused
        signal.
        """
        if state.step == 0:
            return None
        if self.self_conditioning is SelfConditioning.ESTIMATE:
            return conditioning.from_estimate(torch.from_numpy(state.estimate).unsqueeze(0))
        if state.signal is not None:
            return conditioning.from_signal(state.signal)
        return own

    def remember(self, rows: Tensor) -> Bag | None:
        """The top of a model's own rows, where it conditions on them."""
        own = self.self_conditioning is SelfConditioning.OWN
        return conditioning.from_logits(rows) if own else None

    def needs(self, state: SimplexState) -> Needs:
        """A step reads candidates; the last one only the best."""
        if state.step == self.steps - 1 or not (
            self._reads_best or (self.temperature > 0 and self.min_p < 1)
        ):
            return Needs(self.draw, candidates=False)
        words = None if self._reads_best else partial(self._words, state)
        return Needs(self.draw, candidates=True, words=words)

    def advance(self, state: SimplexState, scored: Scored, stream: Stream) -> Advanced:
        """Project the fused scores; the last ones greedily."""
        scores, best = scored.scores, self._best(scored.scores)
        still, ended = None, state.step == self.steps - 1
        if best is not None and self.halting.patience:
            choices = best.ids[0, :, 0].cpu().numpy()
            still = follow(
                state.still, counted(choices, end=self.end, room=scored.room), state.noisiest
            )
            may_end = self.halting_steps is None or state.step in self.halting_steps
            ended |= may_end and halts(self.halting, still, best.leads()[0].cpu().numpy())
        if ended:
            return Advanced(greedy(scores)[0].cpu().numpy(), None)
        estimate = self._project(state, scores, best)[0].cpu().numpy()
        signal = None
        if best is not None and self.self_conditioning is SelfConditioning.FUSED:
            signal = conditioning.fused_signal(best)
        after = self.state(state.block, state.step + 1, estimate, signal)
        return Advanced(estimate[:, 0], replace(after, still=still))

    def may_end(self, state: SimplexState) -> bool:
        """At the last step, or when the answer can have stood still for long enough."""
        allowed = self.halting_steps is None or state.step in self.halting_steps
        # At its first step a block has no unchanged step yet.
        halts = 0 < self.halting.patience <= state.step and allowed
        return halts or state.step == self.steps - 1

    def follows(self, before: SimplexState, state: SimplexState) -> bool:
        """Any estimate may follow any other."""
        return True

    @property
    def _reads_best(self) -> bool:
        """Whether anything reads the best candidates and their scores."""
        return (
            self.projection is Projection.MULTI_HOT
            or self.self_conditioning is SelfConditioning.FUSED
            or self.halting.patience > 0
        )

    def _best(self, scores: Tensor) -> Candidates | None:
        """The best candidates; None where nothing reads them."""
        if not self._reads_best:
            return None
        most = max(MAX_HOT, conditioning.TOP)
        draw = self.draw
        return best_candidates(scores, temperature=draw.temperature, min_p=draw.min_p, most=most)

    def _project(self, state: SimplexState, scores: Tensor, best: Candidates | None) -> Tensor:
        """The estimate, (1, block_length, h) int64."""
        if best is not None and self.projection is Projection.MULTI_HOT:
            return best.hot(most=MAX_HOT, top_p=self.top_p)
        words = self._words(state, scores.device)
        return self.draw.tokens(scores, words).unsqueeze(-1)

    def _words(self, state: SimplexState, device: torch.device) -> Words:
        """The random words of a step."""
        return Words([self.seed], [state.block], [state.step], device)
