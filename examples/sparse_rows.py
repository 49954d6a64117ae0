"""What is lost, and what is saved, when David sends a part of each row: on the bundled pair.

    python examples/sparse_rows.py --prompts 24

At every step of answers that full rows lead, it compares the tokens that the sparse rows would have
given, counts what is certain of them, and how much Goliath would have to ask.
"""

import argparse
import json
from collections import Counter

import torch
from common.collaboration.plan import plan_for

from common.collaboration.certification import AskCaps, all_answered, doubts
from common.collaboration.codec import answer_from, decode, encode, reach_of
from common.collaboration.compatibility import (
    DEFAULT_STEPS,
    DEFAULT_TEMPERATURE,
    DEFAULT_WEIGHT,
    config_of,
    default_settings,
)
from common.collaboration.fusion import Weighted, fuse
from common.collaboration.settings import Codec, Limits, SessionSettings
from common.denoising.loop import Plan, Predict, allowed, denoise, drawn
from common.denoising.sampling import greedy
from common.models import registry
from common.models.simplex_lm import predict
from common.wire.conversions import client_frame_to_proto, split_contribution
from david_client.asking import David, Question

CPU = torch.device("cpu")
LIMITS = Limits()
CAPS = AskCaps(LIMITS.max_ask_ids_per_position, LIMITS.max_ask_ids)
LIFTED = AskCaps(2**31, 2**31)
"""Caps that no ask reaches."""


def tokens(plan: Plan, request: Predict, scores: torch.Tensor) -> torch.Tensor:
    """The tokens (1, positions) that a step draws from these scores."""
    state = request.state
    scores = allowed(plan, scores, first=state.block == 0)
    if state.step == len(plan.times) - 1:
        return greedy(scores)
    return drawn(plan, scores, state.block, state.step)


def compare(
    plan: Plan,
    terms: SessionSettings,
    request: Predict,
    logits: torch.Tensor,
    full: Weighted,
    found: Counter[str],
) -> None:
    """Count what one step shows."""
    size = logits.shape[-1]
    moment = {"block": request.state.block, "step": request.state.step}
    rows = decode(full.contribution, size, CPU)
    reach = reach_of(temperature=plan.draw, min_p=plan.min_p, weight=terms.weight)
    sparse = encode(rows, **moment, codec=Codec.TOPK, reach=reach)
    contributions = [Weighted("david", terms.weight, sparse)]
    doubt = doubts(plan, logits, contributions, **moment, caps=CAPS)
    expected = tokens(plan, request, fuse(logits, [full]).scores)
    parts = split_contribution(sparse, vocabulary_size=size, max_message_bytes=2**24)
    found["steps"] += 1
    found["positions"] += len(rows)
    found["entries"] += int(sparse.counts.sum())
    found["bytes"] += sum(
        client_frame_to_proto(part, vocabulary_size=size).ByteSize() for part in parts
    )
    found["dense bytes"] += 2 * rows.numel()
    found["uncertified"] += int(doubt.uncertified.sum())
    found["other tokens"] += int((tokens(plan, request, doubt.fused.scores) != expected).sum())
    found["asks"] += len(doubt.asks)
    found["asked ids"] += sum(len(ask.ids) for ask in doubt.asks.values())
    lifted = doubts(plan, logits, contributions, **moment, caps=LIFTED)
    for name, asks in (("asks", doubt.asks), ("lifted caps", lifted.asks)):
        answers = {david: answer_from(rows, ask) for david, ask in asks.items()}
        after = doubts(plan, logits, all_answered(contributions, asks, answers), **moment)
        found[f"uncertified after {name}"] += int(after.uncertified.sum())
        found[f"other tokens after {name}"] += int(
            (tokens(plan, request, after.fused.scores) != expected).sum()
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--goliath", default=registry.DEFAULT_GOLIATH)
    parser.add_argument("--david", default=registry.DEFAULT_DAVID)
    parser.add_argument("--prompts", type=int, default=24, help="held-out recipes (default 24)")
    usual = "(default: %(default)s)"
    parser.add_argument("--steps", type=int, default=DEFAULT_STEPS, help=f"for a block {usual}")
    parser.add_argument("--temperature", type=float, default=DEFAULT_TEMPERATURE, help=usual)
    parser.add_argument(
        "--weight", type=float, default=DEFAULT_WEIGHT, help=f"David's share {usual}"
    )
    options = parser.parse_args()
    goliath, vocabulary = registry.load(options.goliath)
    david = David(options.david, *registry.load(options.david))
    wishes = {name: getattr(options, name) for name in ("steps", "temperature", "weight")}
    wishes["codec"] = Codec.DENSE
    recipes = registry.BUNDLED / "heldout-recipes.jsonl"
    lines = recipes.read_text(encoding="utf-8").splitlines()
    found: Counter[str] = Counter()
    for seed, line in enumerate(lines[:: max(1, len(lines) // options.prompts)][: options.prompts]):
        question = Question(json.loads(line)["instruction"], seed, wishes=wishes)
        terms = question.settings(default_settings(config_of(goliath)))
        plan = plan_for(config_of(goliath), vocabulary, terms, prompt=question.prompt)
        contributor, loop = question.contributor(david, terms), denoise(plan, fuse)
        request = next(loop)
        try:
            while True:
                rows = contributor.contribute(request.state, request.finished, request.signal)
                full = Weighted("david", terms.weight, rows)
                logits = predict(goliath, [request])
                compare(plan, terms, request, logits, full, found)
                loop.send(logits)
                request = loop.send([full])
        except StopIteration:
            pass
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
