"""The main job on the bundled pair: a Goliath in its own process, three questions asked three ways,
and one whose answer stands only in a private file.

Run `scripts/demo`, or this file with the project installed. Takes a minute or two after set-up.
"""

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from common import David, Goliath, Reply, stream
from common.models import registry
from common.models.registry import LanguageModel

HELD_OUT = registry.BUNDLED / "heldout-recipes.jsonl"
PRIVATE = registry.BUNDLED / "heldout-private.jsonl"
WAYS = (("Goliath alone", 0.0), ("David alone", 1.0), ("together", 0.75))
CONTRAST = 0.5
PRIVATE_NUMBER = 6
"""Which of the private notes is shown."""
SHOWN = (0.0, 0.5, 0.75, 0.9)
"""How far along the drafts are that are printed, as shares of the steps."""


def program(name: str) -> str:
    """A console script beside the interpreter that runs this."""
    return str(Path(sys.executable).with_name(name))


@contextlib.contextmanager
def goliath() -> Iterator[str]:
    """`goliath serve` as a process of its own on loopback; gives its address."""
    command = [program("goliath"), "serve", "--listen", "127.0.0.1:0", "--insecure", "--json"]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                log.seek(0)
                sys.exit(f"goliath serve did not start:\n{log.read()}")
            yield json.loads(line)["address"]
        finally:
            process.terminate()


def questions(count: int) -> list[str]:
    """Held-out cooking questions: recipes that no model was trained on."""
    rows = [json.loads(line) for line in HELD_OUT.read_text(encoding="utf-8").splitlines()]
    return [row["instruction"] for row in rows[:: len(rows) // count][:count]]


def answer(goliath: Goliath, david: David, prompt: str, steps: int, *, shown=()) -> Reply:
    """The answer, with the draft printed at some of the steps as it takes shape."""
    width = shutil.get_terminal_size().columns - 14
    for draft in stream(goliath, [david], prompt, seed=7, steps=steps):
        if draft.answer is None and draft.step in shown:
            print(f"    t = {draft.t:4.2f}  {(draft.text or '(noise)')[:width]}")
    return draft.answer


def ask_three_ways(goliath: Goliath, small: LanguageModel, prompt: str, steps: int) -> list[Reply]:
    """Goliath alone, David alone, and together, over the wire."""
    print(f"\n{prompt}")
    shown = {int(share * steps) for share in SHOWN}
    replies = []
    for name, weight in WAYS:
        print(f"  {name} (weight {weight:g})")
        replies.append(answer(goliath, David(small, weight=weight), prompt, steps, shown=shown))
        print(f"    answer    {replies[-1].text}")
    return replies


def private_note() -> tuple[str, str]:
    """A question and the made-up note that alone answers it; both held out."""
    line = PRIVATE.read_text(encoding="utf-8").splitlines()[PRIVATE_NUMBER]
    row = json.loads(line)
    return row["instruction"], row["context"]


def ask_about_a_note(goliath: Goliath, small: LanguageModel, steps: int) -> list[Reply]:
    """A question whose answer stands only in a file on this machine: without it, with it, and with
    contrast.
    """
    prompt, note = private_note()
    print(f"\nA private file says: {note}")
    print(prompt)
    ways = (
        ("Goliath alone", David(small, weight=0.0)),
        ("with David, who reads the file", David(small, context=note)),
        (f"with David and contrast {CONTRAST:g}", David(small, context=note, contrast=CONTRAST)),
    )
    replies = []
    for name, david in ways:
        replies.append(answer(goliath, david, prompt, steps))
        print(f"  {name + ':':34} {replies[-1].text}")
    print("  (Of the names and numbers in such notes four fifths come back: docs/measurements.md.)")
    return replies


def evaluate(limit: int) -> dict:
    """`goliath evaluate` on a small sample of held-out recipes."""
    command = [program("goliath"), "evaluate", "--david", registry.DEFAULT_DAVID]
    command += ["--data", str(HELD_OUT), "--limit", str(limit), "--weights", "0.5,0.75", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(done.returncode)  # it has said why
    return json.loads(done.stdout)


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=32, help="denoising steps (default 32)")
    parser.add_argument("--sample", type=int, default=12, help="recipes to score (default 12)")
    options = parser.parse_args()
    small = registry.open_model(registry.DEFAULT_DAVID)
    with goliath() as address, Goliath.connect(address, insecure=True) as large:
        print(f"Goliath serves on {address}, in a process of its own.")
        replies = [
            reply
            for prompt in questions(3)
            for reply in ask_three_ways(large, small, prompt, options.steps)
        ]
        replies += ask_about_a_note(large, small, options.steps)
    up, down = (sum(getattr(r, name) for r in replies) for name in ("bytes_up", "bytes_down"))
    print(f"\nOn the wire, {len(replies)} answers: {up:,} bytes up, {down:,} bytes down.")
    scores = evaluate(options.sample)
    print(f"Cross-entropy, {options.sample} held-out recipes, nats a token (less is better):")
    print(f"  Goliath alone {scores['goliath']:.3f}   David alone {scores['david']:.3f}", end="")
    print(f"   together {scores['best']:.3f}")


if __name__ == "__main__":
    main()
