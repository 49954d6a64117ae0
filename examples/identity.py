"""Is a networked answer the embedded one, token for token? Asks the bundled pair both ways.

Run `scripts/identity --prompts 100`: each prompt takes the next mode; with --all-modes each one
takes all of them. Results go to runs/identity.jsonl; a second run resumes. `--golden FILE` keeps
the token ids of every answer in FILE the first time, and compares with them from then on.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from demo import goliath, questions

from common import David, Goliath, collaborate
from common.collaboration.settings import Codec
from common.collaboration.timing import Every
from common.models import registry
from common.processes.simplex.settings import Projection, SelfConditioning

MODES: dict[str, dict[str, Any]] = {
    "sparse": {},
    "certified": {"certify": True},
    "dense": {},
    "multi-hot": {"projection": Projection.MULTI_HOT},
    "fused": {"self_conditioning": SelfConditioning.FUSED},
    "lag 1": {"lag": 1},
    "lag 4": {"lag": 4},
    "every 2:4:2": {"every": Every(2, 4, 2)},
    "ramp 1": {"ramp": 1.0},
    "repeats": {"no_repeat": 0},
    "no nucleus": {"top_p": 1.0},
    "estimate": {"self_conditioning": SelfConditioning.ESTIMATE},
    "halt": {"halt_patience": 2, "halt_margin": 1.0},
    "suffix": {"suffix": "Serve at once."},
    "contrast": {},
}
"""Settings of the session in each mode."""
DAVIDS: dict[str, dict[str, Any]] = {
    "dense": {"codec": Codec.DENSE},
    "contrast": {"context": "Sara buys flour at the bakery on Tuesday.", "contrast": 0.5},
}
"""How David takes part, where it is not as usual."""


def settings_of(mode: str, number: int) -> dict[str, Any]:
    """The mode, with what prompts take in turn: sampling and greedy, one block and two."""
    return MODES[mode] | {
        "temperature": (0.7, 0.0)[number // 2 % 2],
        "max_tokens": (64, 64, 64, 128)[number // 4 % 4],
    }


def build() -> str:
    """A hash of the pair's weights: results of other weights do not count."""
    names = (registry.DEFAULT_GOLIATH, registry.DEFAULT_DAVID)
    files = [registry.find(name).folder / registry.WEIGHTS for name in names]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def main() -> None:
    """Compare, print one JSON object, and exit 1 on any difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=100, help="prompts (default 100)")
    parser.add_argument("--steps", type=int, default=32, help="denoising steps (default 32)")
    parser.add_argument(
        "--modes", default=",".join(MODES), help="with commas (default %(default)s)"
    )
    parser.add_argument("--all-modes", action="store_true", help="each prompt in every mode")
    parser.add_argument("--results", type=Path, default=Path("runs/identity.jsonl"))
    parser.add_argument(
        "--golden", type=Path, help="token ids to compare with; written where there is none"
    )
    options = parser.parse_args()
    run = {"build": build(), "steps": options.steps, "threads": torch.get_num_threads()}
    options.results.parent.mkdir(parents=True, exist_ok=True)
    known = options.results.read_text().splitlines() if options.results.is_file() else []
    done = {
        (row["prompt"], row["mode"]): row
        for row in map(json.loads, known)
        if row["run"] == run and "networked" in row
    }
    asked = list(plan(options.prompts, options.modes.split(","), every=options.all_modes))
    small = registry.open_model(registry.DEFAULT_DAVID)
    with (
        goliath() as address,
        Goliath.load(device="cpu") as here,
        Goliath.connect(address, insecure=True) as there,
        options.results.open("a") as results,
    ):
        for place, (number, prompt, mode) in enumerate(asked, 1):
            if (prompt, mode) not in done:
                david = David(small, weight=(0.75, 0.5)[number % 2], **DAVIDS.get(mode, {}))
                settings = settings_of(mode, number) | {"steps": options.steps, "seed": number}
                row = {"run": run, "prompt": prompt, "mode": mode}
                row |= compared(here, there, david, prompt, settings)
                done[prompt, mode] = row
                results.write(json.dumps(row) + "\n")
                results.flush()
            same = done[prompt, mode]["same"]
            print(f"{place}/{len(asked)} {same} {mode}: {prompt}", file=sys.stderr)
    rows = [done[prompt, mode] for _, prompt, mode in asked]
    same = sum(row["same"] for row in rows)
    counts = Counter(row["mode"] for row in rows)
    told = {"answers": len(rows), "same": same, "tokens": sum(row["tokens"] for row in rows)}
    if options.golden is not None:
        told["golden"] = as_golden(rows, options.golden)
    print(json.dumps(told | {"modes": counts} | run))
    sys.exit(0 if same == len(rows) == told.get("golden", same) else 1)


def as_golden(rows: Sequence[dict[str, Any]], file: Path) -> int:
    """How many answers have both ways the ids that the file has; a new file gets these."""
    now = {f"{row['mode']}: {row['prompt']}": row["networked"] for row in rows}
    if not file.is_file():
        lines = (json.dumps({"answer": name, "ids": ids}) for name, ids in now.items())
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    golden = {
        line["answer"]: line["ids"]
        for line in map(json.loads, file.read_text(encoding="utf-8").splitlines())
    }
    return sum(
        row["same"] and golden.get(name) == now[name] for name, row in zip(now, rows, strict=True)
    )


def plan(prompts: int, modes: Sequence[str], *, every: bool) -> Iterator[tuple[int, str, str]]:
    """(number, prompt, mode) of each answer."""
    for number, prompt in enumerate(questions(prompts)):
        for mode in modes if every else [modes[number % len(modes)]]:
            yield number, prompt, mode


def compared(
    here: Goliath, there: Goliath, david: David, prompt: str, settings: dict[str, Any]
) -> dict[str, Any]:
    """One question asked both ways: the ids of the answers, and whether they are the same."""
    embedded, networked = (
        list(collaborate(one, [david], prompt, **settings).ids) for one in (here, there)
    )
    return {
        "tokens": len(embedded),
        "same": embedded == networked,
        "embedded": embedded,
        "networked": networked,
    }


if __name__ == "__main__":
    main()
