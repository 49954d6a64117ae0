"""Ask a running Goliath over gRPC, with a small model and a context that stay on this machine.

    goliath serve --listen 127.0.0.1:7600 --insecure
    python examples/client_over_grpc.py "How do I make pancakes?" --context "2 eggs, no milk"

Plain text goes over loopback only; elsewhere give `Place` the files of mutual TLS.
"""

import argparse
import asyncio
import secrets
import sys

from common.errors import CollaborationError, spec_of
from common.models.registry import DEFAULT_DAVID, load
from david_client.asking import David, Draft, Question, Reply
from david_client.client import ask
from david_client.place import Place


async def answer(options: argparse.Namespace) -> Reply:
    """One question, one session."""
    model, vocabulary = load(options.david)
    question = Question(
        options.prompt,
        seed=secrets.randbits(64),
        context=options.context,
        wishes={"steps": options.steps, "weight": options.weight},
    )

    def show(draft: Draft) -> None:
        text = "..." if draft.estimate is None else vocabulary.decode(draft.estimate)
        print(f"step {draft.step}: {text}", file=sys.stderr)

    david = David(options.david, model, vocabulary)
    place = Place(options.goliath, insecure=True)
    return await ask(question, david, place, timeout_s=120, on_draft=show)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompt")
    parser.add_argument("--goliath", default="127.0.0.1:7600", help="(default: %(default)s)")
    parser.add_argument("--david", default=DEFAULT_DAVID, help="model (default: %(default)s)")
    parser.add_argument("--context", default="", help="private text (default: none)")
    parser.add_argument("--weight", type=float, default=0.5, help="0 to 1 (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=32, help="for a block (default: %(default)s)")
    try:
        reply = asyncio.run(answer(parser.parse_args()))
    except CollaborationError as error:
        print(error, file=sys.stderr)
        sys.exit(spec_of(error).exit_code)
    print(reply.text)
    print(f"{reply.bytes_up} bytes up, {reply.bytes_down} down", file=sys.stderr)


if __name__ == "__main__":
    main()
