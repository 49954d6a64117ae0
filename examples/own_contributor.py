"""Steer a Goliath with a contributor of your own: here, one that likes some words.

    python examples/own_contributor.py "How do I make pancakes?" --words butter sugar --weight 0.3

A contributor needs no model. It looks at each state and gives back a row of logits for each
position, which `encode` writes as a contribution.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch
from common.collaboration.local import LocalDavid, run_local
from common.collaboration.plan import plan_for

from common.collaboration.codec import encode
from common.collaboration.compatibility import config_of, default_settings
from common.collaboration.contribution import Contribution
from common.collaboration.settings import Codec
from common.models.registry import DEFAULT_GOLIATH, load
from common.processes.simplex.state import SimplexState


class WordVoter:
    """Gives some token ids a higher logit than all others, at every position of every step."""

    def __init__(self, ids: list[int], *, vocabulary_size: int, logit: float = 10.0):
        """Take the ids that it likes; all other ids have the logit 0."""
        self._row = torch.zeros(vocabulary_size)
        self._row[ids] = logit

    def contribute(self, state: SimplexState, finished: np.ndarray, _: object) -> Contribution:
        """Vote on a state; `finished` holds the ids of the block just ended, if one did."""
        rows = self._row.expand(len(state.estimate), -1)
        return encode(rows, block=state.block, step=state.step, codec=Codec.TOPK)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompt")
    parser.add_argument("--words", nargs="+", required=True, help="what the contributor likes")
    parser.add_argument("--goliath", default=DEFAULT_GOLIATH, help="model (default: %(default)s)")
    parser.add_argument("--weight", type=float, default=0.3, help="0 to 1 (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=32, help="for a block (default: %(default)s)")
    options = parser.parse_args()

    goliath, vocabulary = load(options.goliath)
    config = config_of(goliath)
    terms = replace(default_settings(config), steps=options.steps)
    plan = plan_for(config, vocabulary, terms, prompt=options.prompt)
    liked = [i for word in options.words for i in vocabulary.encode(word).ids]
    voter = WordVoter(liked, vocabulary_size=vocabulary.size)
    result = run_local(plan, goliath, {"words": LocalDavid(voter, options.weight)})
    print(vocabulary.decode(result.ids))


if __name__ == "__main__":
    main()
