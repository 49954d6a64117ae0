"""`goliath bench`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.denoising.settings import Panel
from common.errors import CollaborationError, UsageError
from common.program.console import note, print_json

if TYPE_CHECKING:
    from common.evaluation.pair import Question
    from goliath_server.bench.figures import LatencyMode
    from goliath_server.bench.runs import Remote, Setup

_MOST_RTT_MS = 10_000


class What(StrEnum):
    """What is benched."""

    WIRE = "wire"
    LATENCY = "latency"


def bench(
    what: Annotated[
        What,
        typer.Argument(
            help="wire: bytes of answers, and whether they are the dense ones; latency: time of a "
            "step when the server is far away."
        ),
    ],
    goliath: Annotated[
        str | None,
        typer.Option(
            "--goliath",
            help="HOST:PORT of a running server (default: one is started here).",
            rich_help_panel=Panel.CONNECTION,
        ),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            help="Plain text to that server; on loopback only (default: off).",
            rich_help_panel=Panel.CONNECTION,
        ),
    ] = False,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            "--tls-cert",
            help="Certificate of the client, a PEM file (default: none).",
            rich_help_panel=Panel.CONNECTION,
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(
            "--tls-key",
            help="Private key of the certificate, a PEM file (default: none).",
            rich_help_panel=Panel.CONNECTION,
        ),
    ] = None,
    server_ca: Annotated[
        Path | None,
        typer.Option(
            "--server-ca",
            help="Certificate of the authority that signs servers, a PEM file (default: none).",
            rich_help_panel=Panel.CONNECTION,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="Goliath's model, name or folder; also runs in process.",
            rich_help_panel=Panel.MODELS,
        ),
    ] = "goliath-mini",
    david: Annotated[
        str,
        typer.Option(
            "--david", help="David's model: name or folder.", rich_help_panel=Panel.MODELS
        ),
    ] = "david-recipes",
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Held-out questions, JSONL as for `evaluate` (default: the bundled recipes).",
            rich_help_panel=Panel.MODELS,
        ),
    ] = None,
    prompts: Annotated[
        int,
        typer.Option(
            min=1, help="Questions, spread over the file.", rich_help_panel=Panel.MEASUREMENT
        ),
    ] = 8,
    steps: Annotated[
        int,
        typer.Option(
            min=2, max=1024, help="Denoising steps of a block.", rich_help_panel=Panel.MEASUREMENT
        ),
    ] = 32,
    rtts: Annotated[
        str,
        typer.Option(
            "--rtts",
            help="latency: milliseconds that are added to a round trip, 0 to 10000, with commas.",
            rich_help_panel=Panel.MEASUREMENT,
        ),
    ] = "0,20,50,100",
    judge: Annotated[
        Path,
        typer.Option(
            "--judge",
            help="latency: folder of the judge's weights, see scripts/judge.",
            rich_help_panel=Panel.MODELS,
        ),
    ] = Path("runs/judge"),
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            help="Seed of the noise of each question.",
            rich_help_panel=Panel.MEASUREMENT,
        ),
    ] = 0,
    threads: Annotated[
        int,
        typer.Option(
            min=1, max=1024, help="CPU threads of each program.", rich_help_panel=Panel.PROGRAM
        ),
    ] = 1,
    device: Annotated[
        str, typer.Option(help="Torch device of each program.", rich_help_panel=Panel.PROGRAM)
    ] = "cpu",
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON object a row on standard output (default: a table).",
            rich_help_panel=Panel.PROGRAM,
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "-v",
            "--verbose",
            help="Show the log of the other programs (default: off).",
            rich_help_panel=Panel.PROGRAM,
        ),
    ] = False,
) -> None:
    """Measure the wire: server and client in processes of their own, TLS, a proxy that counts.

    Every answer has a connection of its own. Bytes are those of its TCP connection; what they are
    compared with is the published state and logits, positions x vocabulary numbers a step.
    """
    added = _rtts(rtts)
    from common.program.interrupt import interruptible

    with interruptible():
        remote = _remote(goliath, insecure, tls_cert, tls_key, server_ca)
        from goliath_server.bench.runs import Setup

        setup = Setup(
            _questions(data, prompts), steps, seed, model, david, threads, device, remote, verbose
        )
        rows: list[dict[str, Any]] = []

        def take(row: dict[str, Any]) -> None:
            rows.append(row)
            if json:
                print_json(row)

        if what is What.WIRE:
            _wire(setup, take)
        else:
            _latency(setup, added, judge, take)
        if not json:
            from goliath_server.bench.table import print_rows

            print_rows(rows)


def _wire(setup: Setup, take: Callable[[dict[str, Any]], None]) -> None:
    from common.program.interrupt import run_interruptible
    from goliath_server.bench.figures import WIRE_MODES
    from goliath_server.bench.runs import wire

    async def rows() -> None:
        async for row in wire(setup, WIRE_MODES, progress=_progress):
            take(row)

    run_interruptible(rows())


def _latency(
    setup: Setup,
    rtts_ms: Sequence[float],
    judge: Path,
    take: Callable[[dict[str, Any]], None],
) -> None:
    from common.program.interrupt import run_interruptible
    from goliath_server.bench.figures import LATENCY_MODES
    from goliath_server.bench.runs import latency

    timed: list[tuple[dict[str, Any], list[str]]] = []

    async def rows() -> None:
        async for row in latency(setup, LATENCY_MODES, rtts_ms, progress=_progress):
            timed.append(row)

    run_interruptible(rows())
    # What is computed here comes last: it would slow the other programs down.
    here = timed[0][0]["wall_ratio"] is not None
    losses = _losses(setup, LATENCY_MODES) if here else {}
    judged = _judged(setup.questions, [texts for _, texts in timed], judge, setup)
    for (row, _), quality in zip(timed, judged, strict=True):
        take(row | {"cross_entropy": losses.get(row["mode"]), **quality})


def _losses(setup: Setup, modes: Sequence[LatencyMode]) -> dict[str, float]:
    """Cross-entropy of each mode; none where it cannot be measured, which is reported."""
    from dataclasses import replace

    from common.collaboration.compatibility import default_settings
    from common.collaboration.settings import ContributorSettings, Requested
    from common.evaluation.pair import Pair
    from common.evaluation.path import path_loss
    from common.models import registry
    from common.program.device import settle_device

    place = settle_device(setup.device, threads=setup.threads)
    big, vocabulary = registry.load(setup.goliath, device=place)
    pair = Pair(big, registry.load(setup.david, device=place)[0], vocabulary)
    settings = replace(default_settings(pair.models[0]), steps=setup.steps)
    losses = {}
    for mode in modes:
        name = f"{mode.name}, cross-entropy"
        try:
            losses[mode.name] = path_loss(
                pair,
                setup.questions,
                settings=Requested(mode.settings).session(settings),
                mine=Requested(mode.settings).contributor(ContributorSettings()),
                seed=setup.seed,
                progress=lambda done, of, name=name: _progress(name, done, of),  # type: ignore[misc]
            ).nats
        except CollaborationError as error:
            note(f"bench: no cross-entropy of {mode.name}: {error}")
    return losses


def _judged(
    questions: Sequence[Question], answers: Sequence[Sequence[str]], folder: Path, setup: Setup
) -> list[dict[str, float | None]]:
    """What the texts of each row are worth; where there is no judge, a note says how to get it."""
    from math import isnan
    from statistics import fmean

    from common.evaluation.judge import check_judge, load_judge, perplexity
    from common.evaluation.text import repetition, tokens

    def repeated(texts: Sequence[str]) -> float | None:
        found = [value for t in texts if not isnan(value := repetition(tokens(t)))]
        return fmean(found) if found else None

    pairs = [[(q.instruction, t) for q, t in zip(questions, a, strict=True)] for a in answers]
    found: list[float | None] = [None] * len(answers)
    try:
        check_judge(folder)
    except CollaborationError as error:
        note(f"bench: no perplexity: {error}")
    else:
        note("bench: loading the judge")
        reader = load_judge(folder, device=setup.device)
        different = sorted({pair for row in pairs for pair in row})
        known = dict(zip(different, reader.score(different), strict=True))
        found = [_number(perplexity([known[pair] for pair in row])) for row in pairs]
    return [
        {"judge_perplexity": value, "repetition": repeated(texts)}
        for value, texts in zip(found, answers, strict=True)
    ]


def _number(value: float) -> float | None:
    return None if value != value else value


def _progress(name: str, done: int, of: int) -> None:
    """A line for each row, which grows on a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[2K")
        if done < of:
            sys.stderr.write(f"{name}: {done}/{of}")
            sys.stderr.flush()
    if done == of:
        note(f"{name}: {done}/{of}")


def _questions(data: Path | None, count: int) -> list[Question]:
    """So many questions of a file, by their hash: the first ones for any larger number too."""
    from common.evaluation.generation import question_seed
    from common.evaluation.questions import read_questions
    from common.models.registry import BUNDLED

    found = read_questions(data or BUNDLED / "heldout-recipes.jsonl")
    chosen = sorted(found, key=lambda question: question_seed(0, question))[:count]
    if len(chosen) < count:
        raise UsageError(
            f"--prompts: expected at most {len(chosen)} prompts, since the file has no more, "
            f"got {count}",
            remedy="Lower --prompts, or give --data a longer file",
        )
    return chosen


def _remote(
    address: str | None,
    insecure: bool,
    certificate: Path | None,
    key: Path | None,
    authority: Path | None,
) -> Remote | None:
    """The server to bench; None for one that is started here."""
    from common.program.tls import tls_files
    from common.wire.channels import check_security
    from goliath_server.bench.runs import Remote

    tls = tls_files(certificate, key, authority, authority_option="--server-ca")
    if address is None:
        if insecure or tls is not None:
            raise UsageError(
                "expected --goliath beside --insecure and TLS files, got none",
                remedy="A server that is started here has certificates of its own",
            )
        return None
    check_security(address, tls=tls, insecure=insecure)
    return Remote(address, tls)


def _rtts(text: str) -> list[float]:
    try:
        times = [float(part) for part in text.split(",")]
    except ValueError:
        times = []
    if not times or not all(0 <= time <= _MOST_RTT_MS for time in times):
        raise UsageError(
            f"--rtts: expected round trips of 0 to {_MOST_RTT_MS} ms, with commas, got {text!r}",
            remedy="For example --rtts 0,50",
        )
    return sorted(set(times))
