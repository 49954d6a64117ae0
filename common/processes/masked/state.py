"""The state of a masked block."""

from dataclasses import dataclass

import numpy as np

from common.denoising.process import NOTHING, Draft


@dataclass(frozen=True, slots=True, eq=False)
class MaskedState:
    """A block of which some positions are settled."""

    block: int
    """Block index, 0 first, under 2**16."""
    step: int
    """Step index within the block, 0 first, under 2**16."""
    ids: np.ndarray
    """(positions,) int64, the settled ids; `NOTHING` where a position is masked."""
    guess: np.ndarray
    """(positions,) int64, the best id of each masked position after the step before; `NOTHING`
    where it is settled, at step 0, and where guesses do not travel.
    """
    probability: np.ndarray
    """(positions,) uint8, probability of the guess in 255ths; 0 where there is none."""

    @property
    def positions(self) -> int:
        """Positions of the block."""
        return len(self.ids)

    @property
    def draft(self) -> Draft:
        """Settled ids, and guesses where there are none."""
        settled = self.ids >= 0
        ids = np.where(settled, self.ids, self.guess)
        probability = np.where(settled, 1.0, self.probability / 255)
        h = 0 if (ids == NOTHING).all() else 1
        return Draft(ids[:, None][:, :h], settled, probability.astype(np.float32))

    @property
    def ids_shown(self) -> dict[str, np.ndarray]:
        """Every id that the state shows to models, int64, by what it is for."""
        return {"state": self.draft.ids}

    @property
    def noise(self) -> float:
        """The share of masked positions."""
        return float((self.ids == NOTHING).mean())
