"""A diffusion process of your own, with a model of your own: words settle from left to right.

    python examples/own_process.py "Make pea soup" --text cookbook.txt

The model counts which token follows which in a text. A step of the process settles one token: the
likeliest one after the token before. Any David can help, as with the models of this project.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common import Goliath, stream
from common.denoising.process import NOTHING, Advanced, Scored, View
from common.denoising.streams import Stream
from common.models.predictor import Prefix
from common.models.registry import LanguageModel, find
from common.processes.masked.state import MaskedState
from common.text.templates import PlainText
from common.text.wordpiece import WordPieceVocabulary


@dataclass(frozen=True)
class LeftToRight:
    """A block begins with nothing; each step settles its next position."""

    block_length: int

    name = "left-to-right"
    grid = False
    replays = False
    draw = None

    @property
    def steps(self) -> int:
        """One for each position."""
        return self.block_length

    def start(self, block: int, given: tuple[int, ...], stream: Stream) -> MaskedState:
        """Nothing is settled."""
        return self._state(block, 0, np.full(self.block_length, NOTHING))

    def _state(self, block: int, step: int, ids: np.ndarray) -> MaskedState:
        nothing = np.full(self.block_length, NOTHING)
        return MaskedState(block, step, ids, nothing, np.zeros(self.block_length, np.uint8))

    def open(self, state: MaskedState) -> np.ndarray:
        """The next position."""
        return np.array([state.step])

    def advance(self, state: MaskedState, scored: Scored, stream: Stream) -> Advanced:
        """Settle the likeliest token."""
        ids = state.ids.copy()
        ids[state.step] = int(scored.scores[0, 0].argmax())
        last = state.step + 1 == self.block_length
        return Advanced(ids, None if last else self._state(state.block, state.step + 1, ids))

    def may_end(self, state: MaskedState) -> bool:
        """At its last position."""
        return state.step + 1 == self.block_length

    def follows(self, before: MaskedState, state: MaskedState) -> bool:
        """What was settled stays."""
        return np.array_equal(before.ids[: before.step], state.ids[: before.step])

    def condition(self, state: MaskedState, own: None) -> None:
        """No self-conditioning."""

    def remember(self, rows: Tensor) -> None:
        """Nothing."""

    def needs(self, state: MaskedState) -> None:
        """No certification."""

    def row_temperature(self, step: int) -> float:
        """Logits as they are."""
        return 1.0


class Bigrams:
    """A model: how often a token follows the one before, in a text."""

    max_positions = 2**16
    sees_suffix = False

    def __init__(self, ids: Sequence[int], vocabulary_size: int) -> None:
        """Count."""
        self.vocabulary_size = vocabulary_size
        self._counts = Counter(pairwise(ids))

    def prefix(self, ids: tuple[int, ...]) -> Prefix:
        """Nothing is kept but the ids."""
        return Prefix(ids)

    def extend(self, prefix: Prefix, ids: tuple[int, ...]) -> Prefix:
        """The longer text."""
        return Prefix((*prefix.ids, *ids))

    def predict(self, views: Sequence[View]) -> Sequence[Tensor]:
        """The row of the one open position of each view."""
        return [self._row((*view.prefix, *view.state.draft.best[: view.open[0]])) for view in views]

    def _row(self, text: Sequence[int]) -> Tensor:
        row = torch.zeros(1, 1, self.vocabulary_size)
        for (before, after), count in self._counts.items():
            row[0, 0, after] += count if before == text[-1] else 0.01 * count
        return (row + 1e-3).log()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompt")
    parser.add_argument("--text", type=Path, required=True, help="what the model learns from")
    parser.add_argument("--tokens", type=int, default=16, help="to write (default: %(default)s)")
    options = parser.parse_args()
    vocabulary = WordPieceVocabulary.load(find("goliath-mini").folder)
    ids = vocabulary.encode(options.text.read_text(encoding="utf-8")).ids
    model = LanguageModel(
        "bigrams", Bigrams(ids, vocabulary.size), vocabulary, PlainText(vocabulary)
    )
    with Goliath(model, process=lambda settings: LeftToRight(settings.block_length)) as goliath:
        for draft in stream(
            goliath, [], options.prompt, block_length=options.tokens, max_tokens=options.tokens
        ):
            print(draft.text)


if __name__ == "__main__":
    main()
