"""Is a networked answer the embedded one, token for token? Asks the bundled pair both ways.

Run `scripts/identity --prompts 100`. Results go to runs/identity.jsonl; a second run resumes.
"""

import argparse
import asyncio
import hashlib
import itertools
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from demo import goliath, questions

from common import models
from common.collaboration.contribution import Codec
from common.collaboration.timing import Every
from david_client.asking import David, Question
from david_client.client import ask
from david_client.embedded import ask_embedded
from david_client.place import Place

SETTINGS = [
    {
        "weight": weight,
        "codec": codec,
        "certify": certify,
        "temperature": temperature,
        "max_tokens": tokens,
    }
    for weight, (codec, certify), temperature, tokens in itertools.product(
        (0.5, 0.75),
        ((Codec.TOPK, False), (Codec.TOPK, True), (Codec.DENSE, False)),
        (0.0, 0.55),
        (64, 128),
    )
] + [
    {"max_tokens": tokens, **latency}
    for latency, tokens in itertools.product(
        ({"lag": 1}, {"lag": 4}, {"every": Every(4, 4, 4)}, {"ramp": 1.0}), (64, 128)
    )
]
"""Prompts take these in turn: both codecs, certified, greedy and sampling, one block and two; lag,
reuse and a ramp.
"""


def build() -> str:
    """A hash of the pair's weights: results of other weights do not count."""
    names = (models.DEFAULT_GOLIATH, models.DEFAULT_DAVID)
    files = [models.find(name).folder / models.WEIGHTS for name in names]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def main() -> None:
    """Compare, print one JSON object, and exit 1 on any difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=100, help="prompts (default 100)")
    parser.add_argument("--steps", type=int, default=32, help="denoising steps (default 32)")
    parser.add_argument("--results", type=Path, default=Path("runs/identity.jsonl"))
    options = parser.parse_args()
    run = {"build": build(), "steps": options.steps, "threads": torch.get_num_threads()}
    options.results.parent.mkdir(parents=True, exist_ok=True)
    known = options.results.read_text().splitlines() if options.results.is_file() else []
    rows = [row for row in map(json.loads, known) if row["run"] == run]
    done = {row["prompt"] for row in rows}
    david = David(models.DEFAULT_DAVID, *models.load(models.DEFAULT_DAVID))
    model, vocabulary = models.load(models.DEFAULT_GOLIATH)
    with goliath() as address, options.results.open("a") as results:
        for number, prompt in enumerate(questions(options.prompts)):
            if prompt in done:
                continue
            settings = SETTINGS[number % len(SETTINGS)]
            question = Question(prompt, seed=number, wishes=settings | {"steps": options.steps})
            here = ask_embedded(
                question,
                david,
                goliath=models.DEFAULT_GOLIATH,
                model=model,
                vocabulary=vocabulary,
                on_draft=lambda _: None,
            )
            place = Place(address, insecure=True)
            there = asyncio.run(ask(question, david, place, timeout_s=600, on_draft=lambda _: None))
            row = {
                "run": run,
                "prompt": prompt,
                "settings": settings,
                "tokens": len(here.tokens),
                "same": here.tokens == there.tokens,
            }
            rows.append(row)
            results.write(json.dumps(row, default=asdict) + "\n")
            results.flush()
            print(f"{len(rows)}/{options.prompts} {row['same']} {prompt}", file=sys.stderr)
    same = sum(row["same"] for row in rows)
    tokens = sum(row["tokens"] for row in rows)
    print(json.dumps({"prompts": len(rows), "same": same, "tokens": tokens, **run}))
    sys.exit(0 if same == len(rows) else 1)


if __name__ == "__main__":
    main()
