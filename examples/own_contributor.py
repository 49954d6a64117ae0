"""Steer a Goliath with a David of your own: here, one that likes some words.

    python examples/own_contributor.py "How do I make pancakes?" --words butter sugar --weight 0.3

A David needs no model. It is a function: it looks at a view of the draft, and gives back a row of
logits for each open position.
"""

import argparse

import torch
from torch import Tensor

from common import David, Goliath, collaborate
from common.denoising.process import View
from common.models.registry import open_model
from common.text.vocabulary import Vocabulary


def liking(words: list[str], vocabulary: Vocabulary, weight: float) -> David:
    """A David that gives these words a higher logit than all others, at every position."""
    row = torch.zeros(vocabulary.size)
    row[[one for word in words for one in vocabulary.encode(word).ids]] = 10.0

    def rows(view: View) -> Tensor:
        return row.expand(len(view.open), -1)

    return David(rows, weight=weight)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompt")
    parser.add_argument("--words", nargs="+", required=True, help="what David likes")
    parser.add_argument("--goliath", default="goliath-mini", help="model (default: %(default)s)")
    parser.add_argument("--weight", type=float, default=0.3, help="0 to 1 (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=32, help="for a block (default: %(default)s)")
    options = parser.parse_args()
    model = open_model(options.goliath)
    david = liking(options.words, model.vocabulary, options.weight)
    with Goliath(model) as goliath:
        print(collaborate(goliath, [david], options.prompt, seed=0, steps=options.steps).text)


if __name__ == "__main__":
    main()
