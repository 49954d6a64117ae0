"""`goliath quality`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.denoising.settings import Panel
from common.errors import UsageError
from common.program.console import note, print_json
from common.program.options import with_requested

if TYPE_CHECKING:
    from common.collaboration.settings import ContributorSettings, SessionSettings
    from common.evaluation.answers import Answers, Cell
    from common.evaluation.quality import Bench, Task
    from common.evaluation.quality_report import Rows

_SYSTEMS = ("goliath", "david", "pair", "contrast")
_MAX_STEPS = 1024
_BUNDLED = {
    "cooking": "heldout-recipes.jsonl",
    "general": "heldout-general.jsonl",
    "private": "heldout-private.jsonl",
}


@with_requested(
    *("max_tokens", "weight", "temperature", "min_p", "top_p", "projection", "self_conditioning"),
    *("ramp", "no_repeat", "lag"),
)
def quality(
    requested: dict[str, Any],
    david: Annotated[
        str,
        typer.Option(
            "--david", help="David's model: name or folder.", rich_help_panel=Panel.MODELS
        ),
    ] = "david-recipes",
    goliath: Annotated[
        str,
        typer.Option(
            "--goliath", help="Goliath's model: name or folder.", rich_help_panel=Panel.MODELS
        ),
    ] = "goliath-mini",
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            help="NAME=FILE of held-out questions, JSONL as for `evaluate`; may be given again "
            "(default: cooking, general and private, the bundled files).",
            rich_help_panel=Panel.MODELS,
        ),
    ] = None,
    judge: Annotated[
        Path,
        typer.Option(
            "--judge",
            help="Folder of the judge's weights, see scripts/judge.",
            rich_help_panel=Panel.MODELS,
        ),
    ] = Path("runs/judge"),
    steps: Annotated[
        str,
        typer.Option(
            "--steps",
            help="Denoising steps of a block, with commas.",
            rich_help_panel=Panel.MEASUREMENT,
        ),
    ] = "16,32,64,128,256",
    systems: Annotated[
        str,
        typer.Option(
            "--systems",
            help="Which of goliath, david, pair and contrast (the pair with contrast, where "
            "questions have a context), with commas.",
            rich_help_panel=Panel.MEASUREMENT,
        ),
    ] = ",".join(_SYSTEMS),
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Questions of each file, spread over it (default: all).",
            rich_help_panel=Panel.MEASUREMENT,
        ),
    ] = None,
    contrast: Annotated[
        float,
        typer.Option(
            "--contrast",
            help="How much the system contrast stresses the context, 0 to 100.",
            rich_help_panel=Panel.COLLABORATION,
        ),
    ] = 0.5,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            help="Seed of the noise of each question.",
            rich_help_panel=Panel.MEASUREMENT,
        ),
    ] = 0,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            help="JSONL file that keeps each answer; a run that was ended goes on (default: none).",
            rich_help_panel=Panel.PROGRAM,
        ),
    ] = None,
    examples: Annotated[
        int,
        typer.Option(
            min=0,
            help="Questions to show with all their answers.",
            rich_help_panel=Panel.MEASUREMENT,
        ),
    ] = 0,
    batch: Annotated[
        int,
        typer.Option(
            min=1, help="Questions that share a forward pass.", rich_help_panel=Panel.MEASUREMENT
        ),
    ] = 16,
    device: Annotated[
        str, typer.Option(help="Torch device.", rich_help_panel=Panel.PROGRAM)
    ] = "cpu",
    threads: Annotated[
        int,
        typer.Option(
            min=0, help="CPU threads; 0 is torch's choice.", rich_help_panel=Panel.PROGRAM
        ),
    ] = 0,
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON object a line on standard output (default: a table).",
            rich_help_panel=Panel.PROGRAM,
        ),
    ] = False,
) -> None:
    """Measure the text: Goliath alone, David alone and the pair answer held-out questions.

    A judge's perplexity, repetition, distinct 4-grams and recall of rare words (of a private
    context: of its facts), beside real and shuffled text, at each number of steps.
    """
    counts, wanted = _steps(steps), _systems(systems)
    files = _files(data)

    from common.collaboration.compatibility import (
        check_process,
        check_vocabulary,
        default_settings,
    )
    from common.collaboration.settings import ContributorSettings, OwnSettings, Requested
    from common.evaluation.answers import Answers
    from common.evaluation.answers import resume as resumed
    from common.evaluation.judge import check_judge, load_judge
    from common.evaluation.pair import Pair
    from common.evaluation.quality import Bench, make_task
    from common.evaluation.questions import read_questions
    from common.models import registry
    from common.program.device import settle_device
    from common.program.values import requested as checked

    contrast = checked([OwnSettings], {"contrast": contrast})["contrast"]
    check_judge(judge)  # before what takes long
    place = settle_device(device, threads=threads or None)
    questions = {name: read_questions(path) for name, path in files.items()}
    big, vocabulary = registry.load(goliath, device=place)
    small, theirs = registry.load(david, device=place)
    check_vocabulary(vocabulary.summary, theirs.summary)
    pair = Pair(big, small, vocabulary)
    large, little = pair.models
    check_process(large.predictor.process, little.predictor.process)
    settings = Requested(requested).session(default_settings(large))
    mine = Requested(requested).contributor(ContributorSettings())
    tasks = [
        make_task(name, found, vocabulary, max_tokens=settings.max_tokens, limit=limit)
        for name, found in questions.items()
    ]
    folders = {"goliath": registry.find(goliath).folder, "david": registry.find(david).folder}
    stated = _stated(settings, mine)
    answers = resumed(resume, _run(folders, stated, seed, contrast)) if resume else Answers()
    note("loading the judge")
    bench = Bench(
        pair,
        load_judge(judge, device=place),
        settings,
        mine,
        seed,
        contrast,
        batch,
    )
    tables = [_measure(bench, task, answers, wanted, counts) for task in tasks]
    _tell(tasks, tables, stated, contrast, examples=examples, json=json)


def _measure(
    bench: Bench, task: Task, answers: Answers, systems: list[str], steps: list[int]
) -> Rows:
    from common.evaluation.quality import cells, fill

    return {
        cell: fill(bench, task, cell, answers, progress=_progress(cell))
        for cell in cells(task, systems, steps)
    }


def _progress(cell: Cell) -> Callable[[int, int], None]:
    """A line for each cell, which grows on a terminal."""
    name = f"{cell.data}, {cell.system}" + (f", {cell.steps} steps" if cell.steps else "")
    begin = time.monotonic()

    def tell(done: int, of: int) -> None:
        line = f"{name}: {done}/{of}, {time.monotonic() - begin:.0f} s"
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[2K")
            if done < of:
                sys.stderr.write(line)
                sys.stderr.flush()
        if done == of:
            note(line)

    return tell


def _tell(
    tasks: list[Task],
    tables: list[Rows],
    stated: dict[str, Any],
    contrast: float,
    *,
    examples: int,
    json: bool,
) -> None:
    from common.evaluation.quality_report import report, summary
    from goliath_server.quality_table import print_examples, print_table, samples

    for task, rows in zip(tasks, tables, strict=True):
        records = report(task, rows)
        end = summary(task, rows, records)
        shown = samples(task, rows, examples)
        if json:
            for record in records:
                print_json(record)
            for sample in shown:
                print_json({"example": sample})
            terms: dict[str, Any] = {"settings": stated}
            terms |= {"contrast": contrast} if task.private else {}
            print_json({"summary": end | terms})
        else:
            print_table(records, end)
            print_examples(shown)


def _stated(settings: SessionSettings, mine: ContributorSettings) -> dict[str, Any]:
    """The settings that hold for every answer: steps differ, and seeds come from `--seed`."""
    from dataclasses import asdict

    flat = asdict(settings) | asdict(settings.process) | asdict(mine)
    return {name: one for name, one in flat.items() if name not in {"steps", "seed", "process"}}


def _run(
    folders: dict[str, Path], stated: dict[str, Any], seed: int, contrast: float
) -> dict[str, Any]:
    """What an answer depends on beside system, steps and question."""
    import json as text

    from common.evaluation.judge import WEIGHTS

    run: dict[str, Any] = {name: _digest(folder) for name, folder in folders.items()}
    run |= {"judge": WEIGHTS, "settings": stated, "seed": seed}
    run["contrast"] = contrast
    plain: dict[str, Any] = text.loads(text.dumps(run))  # as it will be read again
    return plain


def _digest(folder: Path) -> str:
    """SHA-256 of a model: its configuration, tokenizer and weights."""
    import hashlib

    digest = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if path.suffix == ".safetensors" or path.name in {"config.json", "tokenizer.json"}:
            digest.update(path.name.encode() + b"\n")
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _steps(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    fits = all(1 <= count <= _MAX_STEPS for count in counts)
    if not counts or not fits or len(set(counts)) < len(counts):
        raise UsageError(
            f"--steps: expected different numbers of steps, 1 to {_MAX_STEPS}, with commas, got "
            f"{text!r}",
            remedy="For example --steps 16,32,64",
        )
    return counts


def _systems(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= set(_SYSTEMS) or len(set(names)) < len(names):
        raise UsageError(
            f"--systems: expected some of {', '.join(_SYSTEMS)}, with commas, got {text!r}",
            remedy="For example --systems goliath,pair",
        )
    return names


def _files(data: list[str] | None) -> dict[str, Path]:
    if not data:
        from common.models.registry import BUNDLED

        return {name: BUNDLED / file for name, file in _BUNDLED.items()}
    files = {}
    for item in data:
        name, mark, path = item.partition("=")
        if not (name and mark and path) or name in files:
            raise UsageError(
                f"--data: expected NAME=FILE, each name once, got {item!r}",
                remedy="For example --data cooking=recipes.jsonl",
            )
        files[name] = Path(path)
    return files
