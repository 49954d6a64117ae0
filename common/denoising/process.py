"""The seam between the loop and a diffusion process: how a block goes from noise to text.

A process knows no model, no text and no network. States, views and what comes of a step are plain
values; a state is all that travels to a contributor.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from common.denoising.sampling import Draw
from common.denoising.streams import Stream, Words

NOTHING = -1
"""In the place of an id: nothing stands there yet."""


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A block as a person, or a model of another kind, reads it."""

    ids: np.ndarray
    """(positions, h) int64: settled ids and guesses, the best first; `NOTHING` where there is none,
    and h is 0 where there is nothing anywhere.
    """
    settled: np.ndarray
    """(positions,) bool, which ids are decided; for good, but where a process edits."""
    probability: np.ndarray
    """(positions,) fp32 in [0, 1], how sure a guess is; 1 where an id is settled."""

    @property
    def best(self) -> np.ndarray:
        """(positions,) int64, the settled id or best guess; `NOTHING` where there is neither."""
        none = np.full((len(self.ids), 1), NOTHING)
        best: np.ndarray = np.concatenate((self.ids, none), 1)[:, 0]
        return best


class State(Protocol):
    """A block at a step: what travels."""

    @property
    def block(self) -> int:
        """Index of the block, 0 first, below 2**16."""

    @property
    def step(self) -> int:
        """Index of the step within the block, 0 first, below 2**16."""

    @property
    def positions(self) -> int:
        """Positions of the block."""

    @property
    def noise(self) -> float:
        """How much of the block is not known yet, 1 at its start, for people."""

    @property
    def ids_shown(self) -> Mapping[str, np.ndarray]:
        """Every id that the state shows to models, int64, by what it is for."""

    @property
    def draft(self) -> Draft:
        """The block as it is read by others than a model of this process."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What a model looks at."""

    prefix: tuple[int, ...]
    """Ids before the block: the prompt and finished blocks."""
    state: State
    open: np.ndarray
    """(open,) int64 positions of the block whose rows are wanted, rising."""
    suffix: tuple[int, ...] = ()
    """Ids after the block."""
    condition: Any = None
    """Self-conditioning, as the process makes it; None for none."""
    temperature: float = 1.0
    """What the model's logits are divided by, above 0."""
    cache: Any = None
    """What the model keeps of the prefix; None where it keeps nothing, and it reads the prefix."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What a step is decided by."""

    core: Tensor
    """(1, open, V) fp32, the large model's rows."""
    scores: Tensor
    """(1, open, V) fp32, the fused rows; -inf at ids that must not appear."""
    room: int
    """Most tokens that the answer may still have, those of this block included."""


@dataclass(frozen=True, slots=True, eq=False)
class Advanced:
    """What came of a step."""

    ids: np.ndarray
    """(positions,) int64, the best guess of each position, `NOTHING` where there was none yet; the
    block's ids when it ended.
    """
    state: State | None
    """The next state; None when the block ended."""
    condition: Any = None
    """What the large model conditions on next in place of what it remembers, where that is made of
    the fused rows.
    """


@dataclass(frozen=True, slots=True)
class Needs:
    """What a sparse result must prove to be called exact, where a process reads candidates.

    The candidates of a position are A = {v : s_v >= max s + T log(min_p)}.
    """

    draw: Draw
    """How candidates are chosen, and tokens drawn from them: the process's own."""
    candidates: bool
    """Whether anything depends on all candidates, and not on the best one alone."""
    words: Callable[[torch.device], Words] | None = None
    """The random words of the draw, where nothing is read of the candidates but the tokens drawn
    from them.
    """


class Process(Protocol):
    """How a block goes from noise to text. Each takes the states that it made: `State` by name."""

    @property
    def name(self) -> str:
        """simplex, masked or uniform."""

    @property
    def block_length(self) -> int:
        """Positions of a block."""

    @property
    def steps(self) -> int:
        """The most steps that a block may take."""

    @property
    def grid(self) -> bool:
        """Whether blocks begin at multiples of their length, counted from the prompt's first id,
        and not behind the prompt.
        """

    @property
    def replays(self) -> bool:
        """Whether a session that resumes must replay its block, for want of a condition."""

    @property
    def draw(self) -> Draw | None:
        """How candidates are chosen, and tokens drawn from them; None where full rows are read."""

    def start(self, block: int, given: tuple[int, ...], stream: Stream) -> State:
        """The first state of a block, of which the first ids are given."""

    def open(self, state: Any) -> np.ndarray:
        """(open,) int64, the positions whose rows a state needs, rising; at least one."""

    def condition(self, state: Any, own: Any) -> Any:
        """What a model conditions on at a state; None for nothing.

        Args:
            state: the state.
            own: what `remember` made of its own rows at the step before, or the `condition` of
                `Advanced`, which is of the same kind; None where it has none.
        """

    def remember(self, rows: Tensor) -> Any:
        """What a model keeps of its own rows (1, open, V) for the next step."""

    def advance(self, state: Any, scored: Scored, stream: Stream) -> Advanced:
        """Decide a step."""

    def may_end(self, state: Any) -> bool:
        """Whether a block may end with the step that decides a state."""

    def follows(self, before: Any, state: Any) -> bool:
        """Whether a state can be the next one in its block."""

    def needs(self, state: Any) -> Needs | None:
        """What certification must prove of a step; None where full rows are read."""

    def row_temperature(self, step: int) -> float:
        """What models divide their logits by at a step, above 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What a contributor sees of a step."""

    state: State
    open: np.ndarray
    """(open,) int64 positions whose rows are wanted."""
    answer: tuple[int, ...] = ()
    """Ids of the answer in the blocks before."""
    finished: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """(positions,) int64 ids of the block just ended, at step 0 of a later one; else empty."""
    decided: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))
    """(positions,) uint8 who decided the step before; empty at the first step."""
