"""Run a Goliath and a David in one process: no server, the same answer.

    python examples/embedded_pair.py "How do I make pancakes?" --weight 0.5

Each model is a folder, or a name that `goliath models` lists. The context is read by David alone.
"""

import argparse
from dataclasses import replace

from common.collaboration.local import LocalDavid, run_local
from common.collaboration.plan import plan_for

from common.collaboration.compatibility import (
    check_process,
    check_vocabulary,
    config_of,
    default_settings,
    process_of,
)
from common.collaboration.contributor import Contributor, Voicing
from common.models.registry import DEFAULT_DAVID, DEFAULT_GOLIATH, load
from common.processes.simplex.settings import SelfConditioning


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompt")
    parser.add_argument("--goliath", default=DEFAULT_GOLIATH, help="model (default: %(default)s)")
    parser.add_argument("--david", default=DEFAULT_DAVID, help="model (default: %(default)s)")
    parser.add_argument("--context", default="", help="private text (default: none)")
    parser.add_argument("--weight", type=float, default=0.5, help="0 to 1 (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=32, help="for a block (default: %(default)s)")
    options = parser.parse_args()

    goliath, vocabulary = load(options.goliath)
    david, david_vocabulary = load(options.david)
    check_vocabulary(vocabulary.summary, david_vocabulary.summary)
    config, david_config = config_of(goliath), config_of(david)
    check_process(process_of(config), process_of(david_config))

    terms = replace(default_settings(config), steps=options.steps)
    plan = plan_for(config, vocabulary, terms, prompt=options.prompt)
    contributor = Contributor(
        david,
        vocabulary,
        prompt=options.prompt,
        context=options.context,
        voicing=Voicing(),
        self_conditioning=SelfConditioning(david_config.self_conditioning),
        answer_length=plan.blocks * plan.block_length,
        temperature=terms.temperature,
    )
    result = run_local(plan, goliath, {"david": LocalDavid(contributor, options.weight)})
    print(vocabulary.decode(result.ids))


if __name__ == "__main__":
    main()
