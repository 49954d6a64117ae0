"""`goliath evaluate`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from common.denoising.settings import Panel
from common.errors import UsageError
from common.program.console import note, print_json


def _weights(text: str) -> tuple[float, ...]:
    try:
        weights = tuple(float(part) for part in text.split(","))
    except ValueError:
        weights = ()
    if not weights or not all(0 < w < 1 for w in weights) or len(set(weights)) < len(weights):
        raise UsageError(
            f"--weights: expected different ones between 0 and 1, with commas, got {text!r}",
            remedy="For example --weights 0.25,0.5,0.75",
        )
    return weights


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[2Kscoring {done}/{of}" + ("\n" if done == of else ""))
        sys.stderr.flush()


def _table(report: dict[str, Any]) -> str:
    def row(name: str, part: dict[str, Any]) -> list[str]:
        lines = [f"{name}denoising cross-entropy, nats a response token, lower is better"]
        lines += [f"  {side:14} {part[side]:.4f}" for side in ("goliath", "david")]
        lines += [f"  pair at {weight:>5}  {value:.4f}" for weight, value in part["pair"].items()]
        lines += [f"  pair, weight cross-fitted  {part['best']:.4f}"]
        for side in ("goliath", "david"):
            d = part[f"best_vs_{side}"]
            lines += [
                f"    against {side}: {d['delta']:+.4f} ({d['low']:+.4f} to {d['high']:+.4f})"
            ]
        return lines

    lines = row("", report) + row("calibrated: ", report["calibrated"])
    return "\n".join([*lines, f"{report['n']} prompts, {report['tokens']} tokens"])


def evaluate(
    david: Annotated[
        str,
        typer.Option(
            "--david", help="David's model: name or folder. Required.", rich_help_panel=Panel.MODELS
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            help='JSONL with "instruction", "response", optional "context". Required.',
            rich_help_panel=Panel.MODELS,
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--goliath", help="Goliath's model: name or folder.", rich_help_panel=Panel.MODELS
        ),
    ] = "goliath-mini",
    weights: Annotated[
        str,
        typer.Option(
            help="David's weights to try, each between 0 and 1, with commas.",
            rich_help_panel=Panel.MEASUREMENT,
        ),
    ] = "0.1,0.25,0.5,0.75,0.9",
    fused: Annotated[
        bool,
        typer.Option(
            "--fused",
            help="Both models of a pair condition on the fused prediction, as with "
            "--self-conditioning fused (default: each on its own).",
            rich_help_panel=Panel.MEASUREMENT,
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=4, help="Records to read (default: all).", rich_help_panel=Panel.MEASUREMENT
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Torch device.", rich_help_panel=Panel.PROGRAM)
    ] = "cpu",
    threads: Annotated[
        int, typer.Option(help="CPU threads; 0 is torch's choice.", rich_help_panel=Panel.PROGRAM)
    ] = 0,
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON object on standard output (default: a table).",
            rich_help_panel=Panel.PROGRAM,
        ),
    ] = False,
) -> None:
    """Measure on held-out text whether a David helps: Goliath, David, and the pair at each weight.

    Denoising cross-entropy at t = .15 to .35, mean per response token, averaged over t = .2 to .35.
    """
    values = _weights(weights)
    import torch

    from common.errors import VocabularyMismatchError
    from common.evaluation.pair import Pair, evaluate_pair
    from common.evaluation.questions import read_questions
    from common.models import registry

    if threads:
        torch.set_num_threads(threads)
    questions = read_questions(data, limit=limit, halved=True)
    big, vocabulary = registry.load(model, device=device)
    small, theirs = registry.load(david, device=device)
    if theirs.fingerprint != vocabulary.fingerprint:
        raise VocabularyMismatchError(
            f"{david} and {model} have different vocabularies",
            remedy="Train David with Goliath's tokenizer: david train --vocabulary",
        )
    pair = Pair(big, small, vocabulary)
    report = evaluate_pair(pair, questions, weights=values, fused=fused, progress=_progress)
    if json:
        print_json(report)
    else:
        note("")
        sys.stdout.write(_table(report) + "\n")
