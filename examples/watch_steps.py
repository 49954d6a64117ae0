"""Watch an answer take shape: the draft at every step of the denoising.

    python examples/watch_steps.py "How do I make pancakes?" --steps 16

Every position is there from the first step on; what changes is how sure the model is of it.
"""

import argparse
from dataclasses import replace

from common.collaboration.local import run_local
from common.collaboration.plan import plan_for

from common.collaboration.compatibility import config_of, default_settings
from common.denoising.loop import Predict
from common.models.registry import DEFAULT_GOLIATH, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompt")
    parser.add_argument("--model", default=DEFAULT_GOLIATH, help="model (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=32, help="for a block (default: %(default)s)")
    options = parser.parse_args()

    model, vocabulary = load(options.model)
    config = config_of(model)
    terms = replace(default_settings(config), steps=options.steps)
    plan = plan_for(config, vocabulary, terms, prompt=options.prompt)

    def show(request: Predict) -> None:
        state = request.state
        # The first state of a block is pure noise and has no estimate yet.
        draft = vocabulary.decode(state.estimate[:, 0]) if state.step else "..."
        print(f"step {state.step:3}  t {state.t:.3f}  {draft}")

    result = run_local(plan, model, {}, on_step=show)
    print(f"answer  {vocabulary.decode(result.ids)}")


if __name__ == "__main__":
    main()
