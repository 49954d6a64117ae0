"""What is lost, and what is saved, when David sends a part of each row: on the bundled pair.

    python examples/sparse_rows.py --prompts 24

At every step of answers that full rows lead, it compares the tokens that the sparse rows would have
given, counts what is certain of them, and how much Goliath would have to ask.
"""

import argparse
import asyncio
import json
from collections import Counter

import torch

from common.collaboration.certification import AskCaps, all_answered, doubts
from common.collaboration.codec import answer_from, decode, encode, reach_for
from common.collaboration.compatibility import default_settings
from common.collaboration.contributor import Contributor, Encoding
from common.collaboration.fusion import Weighted, fuse
from common.collaboration.opening import plan_for
from common.collaboration.settings import Codec, Limits, Requested
from common.denoising.loop import Predict, Result, allowed, denoise
from common.denoising.plan import Plan
from common.denoising.process import Shown
from common.denoising.sampling import greedy
from common.denoising.streams import Philox
from common.models import registry
from common.text.templates import asked
from common.wire.contribution import chunk_to_proto, split_contribution

CPU = torch.device("cpu")
LIMITS = Limits()
CAPS = AskCaps(LIMITS.max_ask_ids_per_position, LIMITS.max_ask_ids)
LIFTED = AskCaps(2**31, 2**31)
"""Caps that no ask reaches."""


def tokens(plan: Plan, shown: Shown, scores: torch.Tensor) -> torch.Tensor:
    """The tokens (1, positions) that a step draws from these scores."""
    scores = allowed(plan, scores, shown.open, first=None if shown.state.block else plan.given)
    needs = plan.process.needs(shown.state)
    if needs.words is None:
        return greedy(scores)
    return needs.draw.tokens(scores, needs.words(CPU))


def compare(
    plan: Plan,
    shown: Shown,
    logits: torch.Tensor,
    full: Weighted,
    found: Counter[str],
) -> None:
    """Count what one step shows."""
    size = logits.shape[-1]
    moment = {"block": shown.state.block, "step": shown.state.step}
    rows = decode(full.contribution, size, CPU)
    reach = reach_for(plan.process.draw, full.weight)
    sparse = encode(rows, **moment, codec=Codec.TOPK, reach=reach)
    contributions = [Weighted("david", full.weight, sparse)]
    doubt = doubts(plan, logits, contributions, shown=shown, caps=CAPS)
    expected = tokens(plan, shown, fuse(logits, [full]).scores)
    found["steps"] += 1
    found["positions"] += len(rows)
    found["entries"] += int(sparse.counts.sum())
    parts = split_contribution(sparse, vocabulary_size=size, max_message_bytes=2**24)
    messages = (chunk_to_proto(part, vocabulary_size=size) for part in parts)
    found["bytes"] += sum(message.ByteSize() for message in messages)
    found["dense bytes"] += 2 * rows.numel()
    found["uncertified"] += int(doubt.uncertified.sum())
    found["other tokens"] += int((tokens(plan, shown, doubt.fused.scores) != expected).sum())
    found["asks"] += len(doubt.asks)
    found["asked ids"] += sum(len(ask.ids) for ask in doubt.asks.values())
    lifted = doubts(plan, logits, contributions, shown=shown, caps=LIFTED)
    for name, asks in (("asks", doubt.asks), ("lifted caps", lifted.asks)):
        answers = {david: answer_from(rows, ask) for david, ask in asks.items()}
        after = doubts(plan, logits, all_answered(contributions, asks, answers), shown=shown)
        found[f"uncertified after {name}"] += int(after.uncertified.sum())
        found[f"other tokens after {name}"] += int(
            (tokens(plan, shown, after.fused.scores) != expected).sum()
        )


async def answer(goliath, david, plan: Plan, seed: int, weight: float, found) -> None:
    """One answer that full rows lead."""

    async def small(view):
        return david.predictor.predict([view])[0]

    contributor = Contributor(small, plan.process, [plan.prompt], encoding=Encoding(Codec.DENSE))
    loop = denoise(plan, Philox(seed))
    request: Predict | Result = next(loop)
    while isinstance(request, Predict):
        full = Weighted("david", weight, await contributor.contribute(request.shown))
        (logits,) = goliath.predictor.predict([request.view])
        compare(plan, request.shown, logits, full, found)
        loop.send(logits)
        try:
            request = loop.send(fuse(logits, [full]))
        except StopIteration as done:
            request = done.value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--goliath", default=registry.DEFAULT_GOLIATH)
    parser.add_argument("--david", default=registry.DEFAULT_DAVID)
    parser.add_argument("--prompts", type=int, default=24, help="held-out recipes (default 24)")
    usual = "(default: %(default)s)"
    parser.add_argument("--steps", type=int, default=32, help=f"for a block {usual}")
    parser.add_argument("--temperature", type=float, default=0.7, help=usual)
    parser.add_argument("--weight", type=float, default=0.75, help=f"David's share {usual}")
    options = parser.parse_args()
    goliath, david = (registry.open_model(name) for name in (options.goliath, options.david))
    requested = {"steps": options.steps, "temperature": options.temperature}
    recipes = registry.BUNDLED / "heldout-recipes.jsonl"
    lines = recipes.read_text(encoding="utf-8").splitlines()
    found: Counter[str] = Counter()
    for seed, line in enumerate(lines[:: max(1, len(lines) // options.prompts)][: options.prompts]):
        messages = asked(json.loads(line)["instruction"])
        settings = Requested(requested | {"seed": seed}).session(default_settings(goliath))
        plan = plan_for(goliath, settings, messages=messages)
        asyncio.run(answer(goliath, david, plan, seed, options.weight, found))
    steps, positions = found["steps"], found["positions"]

    def share(without: str) -> float:
        return round(1 - found[without] / positions, 6)

    report = {
        "prompts": options.prompts,
        "tokens": positions,
        "entries_of_a_row": round(found["entries"] / positions, 1),
        "bytes_a_step": round(found["bytes"] / steps),
        "dense_over_sparse_bytes": round(found["dense bytes"] / found["bytes"], 1),
        "same_tokens": share("other tokens"),
        "certified": share("uncertified"),
        "asks_a_step": round(found["asks"] / steps, 4),
        "asked_ids_a_step": round(found["asked ids"] / steps, 1),
        "certified_after_asks": share("uncertified after asks"),
        "same_tokens_after_asks": share("other tokens after asks"),
        "certified_with_lifted_caps": share("uncertified after lifted caps"),
        "same_tokens_with_lifted_caps": share("other tokens after lifted caps"),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
