"""Watch an answer take shape: the draft at every step of the denoising.

    python examples/watch_steps.py "How do I make pancakes?" --steps 16

Every position is there from the first step on; what changes is how sure the model is of it.
"""

import argparse

from common import Goliath, stream


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompt")
    parser.add_argument("--model", default="goliath-mini", help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=32, help="for a block (default: %(default)s)")
    options = parser.parse_args()
    with Goliath.load(options.model) as goliath:
        for draft in stream(goliath, [], options.prompt, steps=options.steps):
            if draft.answer is None:
                # The first state of a block is pure noise: there is no draft yet.
                print(f"step {draft.step:3}  t {draft.t:.3f}  {draft.text or '...'}")
            else:
                print(f"answer  {draft.text}")


if __name__ == "__main__":
    main()
