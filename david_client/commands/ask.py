"""`david ask`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from david_client.commands import options as o

if TYPE_CHECKING:
    from david_client.asking import Reply
    from david_client.infilling import Filled
    from david_client.view import View


def ask(
    command: typer.Context,
    prompt: Annotated[
        str,
        typer.Argument(
            help="The question, or a text with gaps, [[...]] or [[...12]] for at most 12 tokens; "
            "- reads standard input."
        ),
    ],
    goliath: o.Goliath = None,
    insecure: o.Insecure = None,
    tls_cert: o.TlsCert = None,
    tls_key: o.TlsKey = None,
    server_ca: o.ServerCa = None,
    server_name: o.ServerName = None,
    model: o.Model = None,
    context: o.Context = None,
    suffix: Annotated[
        str | None,
        typer.Option(
            help="Public text that the answer leads into (default: none).",
            rich_help_panel=o.Panel.ANSWER,
        ),
    ] = None,
    literal: Annotated[
        bool,
        typer.Option(
            "--literal",
            help="Read [[...]] in the prompt as text, not as a gap.",
            rich_help_panel=o.Panel.ANSWER,
        ),
    ] = False,
    weight: o.Weight = None,
    contrast: o.Contrast = None,
    steps: o.Steps = None,
    block: Annotated[
        int | None,
        typer.Option(
            help="Positions generated together (default: the model's).",
            rich_help_panel=o.Panel.ANSWER,
        ),
    ] = None,
    max_tokens: o.MaxTokens = None,
    temperature: o.Temperature = None,
    min_p: Annotated[
        float | None,
        typer.Option(
            help="Least share of the best candidate (default: 0.005).",
            rich_help_panel=o.Panel.SAMPLING,
        ),
    ] = None,
    ramp: Annotated[
        float | None,
        typer.Option(
            help="How much later the last position is denoised than the first, in shares of the "
            "steps that one takes, 0 to 16 (default: 0, all at once).",
            rich_help_panel=o.Panel.SAMPLING,
        ),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            help="Share of the candidates' mass that is drawn from, the best first (default: 0.9).",
            rich_help_panel=o.Panel.SAMPLING,
        ),
    ] = None,
    no_repeat: Annotated[
        int | None,
        typer.Option(
            help="Tokens of a run that is not drawn twice in a block, 2 to 16; 0: all may be "
            "(default: 2).",
            rich_help_panel=o.Panel.SAMPLING,
        ),
    ] = None,
    projection: Annotated[
        str | None,
        typer.Option(
            help="Next state from one sample or multi-hot candidates (default: sample).",
            rich_help_panel=o.Panel.SAMPLING,
        ),
    ] = None,
    self_conditioning: Annotated[
        str | None,
        typer.Option(
            help="Models condition on own, estimate or fused (default: Goliath's).",
            rich_help_panel=o.Panel.SAMPLING,
        ),
    ] = None,
    halt: Annotated[
        str | None,
        typer.Option(
            metavar="PATIENCE[:MARGIN]",
            help="End a block after so many unchanged steps, each best token leading by so many "
            "logits (default: never).",
            rich_help_panel=o.Panel.SAMPLING,
        ),
    ] = None,
    guide: Annotated[
        str | None,
        typer.Option(
            help="Classifier, folder or name, that steers Goliath in this process; see train-guide "
            "(default: none).",
            rich_help_panel=o.Panel.GUIDANCE,
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            help="What the guide steers towards (default: none).", rich_help_panel=o.Panel.GUIDANCE
        ),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            help="How hard the guide pushes, 0 to 2000 (default: 500).",
            rich_help_panel=o.Panel.GUIDANCE,
        ),
    ] = None,
    seed: o.Seed = None,
    lag: o.Lag = None,
    every: o.Every = None,
    late: Annotated[
        str | None,
        typer.Option(
            help="When David is late: wait, solo or fail (default: wait).",
            rich_help_panel=o.Panel.COLLABORATION,
        ),
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(
            help="David's logits as topk or dense (default: topk).",
            rich_help_panel=o.Panel.COLLABORATION,
        ),
    ] = None,
    certify: o.Certify = False,
    budget: Annotated[
        float | None,
        typer.Option(
            help="Seconds that David has for a step (default: 10).",
            rich_help_panel=o.Panel.COLLABORATION,
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds for the whole session (default: 600).", rich_help_panel=o.Panel.CONNECTION
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            help="New file for every step as JSON lines, see david show (default: none).",
            rich_help_panel=o.Panel.PROGRAM,
        ),
    ] = None,
    device: o.Device = None,
    dtype: o.Dtype = None,
    threads: o.Threads = None,
    config: o.Config = None,
    log_format: o.LogFormat = None,
    json: o.Json = False,
    verbose: o.Verbose = False,
) -> None:
    """Ask Goliath, with David's help at every denoising step."""
    from common.program.config import load
    from common.program.interrupt import interruptible
    from common.program.logging import start_log
    from david_client.gaps import Gapped, check_beginning, split_gaps
    from david_client.settings import DavidSettings
    from david_client.texts import read_context, read_prompt, read_suffix
    from david_client.trace import open_trace
    from david_client.view import View

    with interruptible():
        settings = load(DavidSettings, program="david", given=o.given(command), file=config)
        start_log(form=settings.log_format, verbose=verbose)
        question = read_prompt(prompt)
        after = read_suffix(suffix)
        gapped = Gapped((question,)) if literal else split_gaps(question)
        check_beginning(gapped)
        private = "" if context is None else read_context(context)
        with open_trace(trace) as writer, View(wanted=not json, trace=writer) as view:
            view.say("waking the models ...")
            if gapped.gaps:
                from david_client.infilling import infill

                reply: Reply | Filled = infill(settings, gapped, after, private, view)
            else:
                from david_client.conversation import converse

                reply = converse(settings, question, private, view, suffix=after)
        _tell(reply, view, as_json=json)


def _tell(reply: "Reply | Filled", view: "View", *, as_json: bool) -> None:
    """The answer alone on stdout; what it took on stderr.

    Raises:
        DrainingError: the answer is unfinished, since the server is shutting down.
    """
    from common.denoising.plan import FinishReason
    from common.errors import DrainingError
    from common.program.console import note, print_json, print_parts
    from david_client.infilling import Filled

    if as_json:
        print_json(reply.record())
    else:
        if isinstance(reply, Filled):
            print_parts(reply.parts)
        else:
            view.print_answer(reply.text)
        note(
            f"seed {reply.settings.seed}, {reply.steps_run} steps, {reply.david_steps} with David, "
            f"{reply.seconds:.1f} s, {reply.bytes_up} bytes up, {reply.bytes_down} down"
        )
        if reply.settings.certify:
            told = reply.certification
            note(f"{told.uncertified} positions uncertified after {told.asks} asks")
    if reply.missed or reply.late:
        note(f"warning: David missed {reply.missed} steps and was late for {reply.late}")
    if reply.finish_reason is FinishReason.DRAINING:
        raise DrainingError(
            f"the server is shutting down: this answer is unfinished after {reply.steps_run} steps",
            remedy="Ask again later, or ask another server",
        )
