"""Run a Goliath and a David in one process: no server, the same answer.

    python examples/embedded_pair.py "How do I make pancakes?" --weight 0.5

Each model is a folder, or a name that `goliath models` lists. The context is read by David alone.
"""

import argparse

from common import David, Goliath, collaborate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompt")
    parser.add_argument("--goliath", default="goliath-mini", help="(default: %(default)s)")
    parser.add_argument("--david", default="david-recipes", help="(default: %(default)s)")
    parser.add_argument("--context", default="", help="private text (default: none)")
    parser.add_argument("--weight", type=float, default=0.5, help="0 to 1 (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=32, help="for a block (default: %(default)s)")
    options = parser.parse_args()
    david = David.load(options.david, context=options.context, weight=options.weight)
    with Goliath.load(options.goliath) as goliath:
        print(collaborate(goliath, [david], options.prompt, seed=0, steps=options.steps).text)


if __name__ == "__main__":
    main()
