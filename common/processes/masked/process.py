"""Masked diffusion as a process: a step settles the positions that it is surest of.

Sources: LLaDA (confidence of the chosen token, a block's masks divided evenly over its steps),
Dream (margin and entropy), SDAR and LLaDA2 (threshold).
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from common.denoising.process import NOTHING, Advanced, Scored
from common.denoising.sampling import greedy
from common.denoising.streams import Purpose, Stream
from common.processes.masked.settings import Order
from common.processes.masked.state import MaskedState


@dataclass(frozen=True, slots=True)
class Masked:
    """Masked diffusion with its settings, for one session."""

    block_length: int
    """Positions generated together."""
    steps: int
    """The most steps that a block may take; the last one settles what is left."""
    order: Order = Order.LOW_CONFIDENCE
    """Which positions a step settles."""
    temperature: float = 0.0
    """What scores are divided by before a token is drawn; 0 takes the best one."""
    threshold: float = 0.9
    """Probability above which the order `threshold` settles a token, in [0, 1]."""
    grid: bool = False
    """Whether blocks begin at multiples of their length."""

    name = "masked"
    replays = False
    draw = None

    def start(self, block: int, given: tuple[int, ...], stream: Stream) -> MaskedState:
        """Masks behind what is given."""
        nothing = np.full(self.block_length, NOTHING)
        ids = np.concatenate((np.array(given, np.int64), nothing[len(given) :]))
        return MaskedState(block, 0, ids, nothing, np.zeros(self.block_length, np.uint8))

    def open(self, state: MaskedState) -> np.ndarray:
        """The masked positions."""
        return np.flatnonzero(state.ids == NOTHING)

    def condition(self, state: MaskedState, own: None) -> None:
        """Nothing."""

    def remember(self, rows: Tensor) -> None:
        """Nothing."""

    def needs(self, state: MaskedState) -> None:
        """Full rows: how sure a position is depends on all of its scores."""

    def row_temperature(self, step: int) -> float:
        """Models give their logits as they are."""
        return 1.0

    def advance(self, state: MaskedState, scored: Scored, stream: Stream) -> Advanced:
        """Choose a token for each masked position, and settle the surest ones."""
        opened, best = self.open(state), greedy(scored.scores)[0]
        shares = scored.scores[0].double().softmax(-1)
        tokens = self._drawn(state, scored.scores[0], stream) if self.temperature else best
        sure = self._sureness(state, shares, tokens, stream).cpu().numpy()
        surest = np.argsort(-sure, kind="stable")[: self._count(state, sure)]
        ids, guess, probability = (
            one.copy() for one in (state.ids, state.guess, state.probability)
        )
        guess[opened] = best.cpu().numpy()
        probability[opened] = (_token(shares, best).cpu().numpy() * 255).round()
        settled = opened[surest]
        ids[settled] = tokens.cpu().numpy()[surest]
        guess[settled], probability[settled] = NOTHING, 0
        after = MaskedState(state.block, state.step + 1, ids, guess, probability)
        ended = len(surest) == len(opened)
        return Advanced(np.where(ids == NOTHING, guess, ids), None if ended else after)

    def may_end(self, state: MaskedState) -> bool:
        """When the step can settle all that is masked."""
        left = len(self.open(state))
        return self.order is Order.THRESHOLD or -(-left // (self.steps - state.step)) >= left

    def follows(self, before: MaskedState, state: MaskedState) -> bool:
        """Settled ids stay, and at least one more is settled."""
        settled = before.ids != NOTHING
        kept = np.array_equal(before.ids[settled], state.ids[settled])
        return kept and len(self.open(state)) < len(self.open(before))

    def _drawn(self, state: MaskedState, scores: Tensor, stream: Stream) -> Tensor:
        """(open,) int64, a token for each row of scores (open, V): the largest sum of a tempered
        score and a Gumbel.
        """
        shape = (self.block_length, scores.shape[-1])
        uniform = stream.uniform(Purpose.GUMBEL, (state.block, state.step), shape)
        gumbels = -(-uniform[self.open(state)].to(scores.device).log()).log()
        return greedy((scores.double() / self.temperature + gumbels).unsqueeze(0))[0]

    def _sureness(
        self, state: MaskedState, shares: Tensor, tokens: Tensor, stream: Stream
    ) -> Tensor:
        """(open,) float64, by which positions are settled, the largest first."""
        if self.order is not Order.RANDOM:
            return _SURENESS[self.order](shares, tokens)
        shape = (self.block_length, 1)
        drawn = stream.uniform(Purpose.SETTLING_ORDER, (state.block, state.step), shape)
        return drawn[self.open(state), 0]

    def _count(self, state: MaskedState, sure: np.ndarray) -> int:
        """How many of the positions are settled, at least one: the block's positions divided evenly
        over its steps, the remainder going to the first ones.
        """
        left = self.steps - state.step
        if self.order is Order.THRESHOLD and left > 1:
            return max(1, int((sure > self.threshold).sum()))
        return -(-len(sure) // left)


def _token(shares: Tensor, tokens: Tensor) -> Tensor:
    """(open,) the probabilities of tokens (open,) in shares (open, V)."""
    return shares.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)


def _margin(shares: Tensor, tokens: Tensor) -> Tensor:
    """By how much the best probability leads the second one."""
    best = shares.topk(2).values
    return best[:, 0] - best[:, 1]


def _negentropy(shares: Tensor, tokens: Tensor) -> Tensor:
    """The entropy with its sign turned, as Dream has it."""
    return (shares * (shares + 1e-10).log()).sum(-1)


_SURENESS = {
    Order.LOW_CONFIDENCE: _token,
    Order.MARGIN: _margin,
    Order.ENTROPY: _negentropy,
    Order.THRESHOLD: _token,
}
"""How sure a position is, of its probabilities (open, V) and chosen token (open,)."""
