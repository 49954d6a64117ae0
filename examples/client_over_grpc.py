"""Ask a running Goliath over gRPC, with a small model and a context that stay on this machine.

    goliath serve --listen 127.0.0.1:7600 --insecure
    python examples/client_over_grpc.py "How do I make pancakes?" --context "2 eggs, no milk"

Plain text goes over loopback only; elsewhere give `connect` the files of mutual TLS.
"""

import argparse
import sys

from common import CollaborationError, David, Goliath, stream
from common.errors import spec_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompt")
    parser.add_argument("--goliath", default="127.0.0.1:7600", help="(default: %(default)s)")
    parser.add_argument("--david", default="david-recipes", help="model (default: %(default)s)")
    parser.add_argument("--context", default="", help="private text (default: none)")
    parser.add_argument("--weight", type=float, default=0.5, help="0 to 1 (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=32, help="for a block (default: %(default)s)")
    options = parser.parse_args()
    david = David.load(options.david, context=options.context, weight=options.weight)
    try:
        with Goliath.connect(options.goliath, insecure=True) as goliath:
            for draft in stream(goliath, [david], options.prompt, steps=options.steps):
                print(f"step {draft.step}: {draft.text or '...'}", file=sys.stderr)
    except CollaborationError as error:
        print(error, file=sys.stderr)
        sys.exit(spec_of(error).exit_code)
    print(draft.text)
    print(f"{draft.bytes_up} bytes up, {draft.bytes_down} down", file=sys.stderr)


if __name__ == "__main__":
    main()
