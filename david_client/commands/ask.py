"""`david ask`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.denoising.settings import Panel
from common.program.options import Json, Load, with_settings
from david_client.settings import DavidSettings

if TYPE_CHECKING:
    from david_client.infilling import Filled
    from david_client.reply import Reply
    from david_client.view import View


Context = Annotated[
    Path | None,
    typer.Option(
        "--context",
        help="Private text file, which David alone reads (default: none).",
        rich_help_panel=Panel.PRIVATE_MODEL,
    ),
]


@with_settings(
    DavidSettings,
    Panel.CONNECTION,
    Panel.PRIVATE_MODEL,
    Panel.ANSWER,
    Panel.SAMPLING,
    Panel.GUIDANCE,
    Panel.COLLABORATION,
    Panel.PROGRAM,
)
def ask(
    load: Load[DavidSettings],
    prompt: Annotated[
        str,
        typer.Argument(
            help="The question, or a text with gaps, [[...]] or [[...12]] for at most 12 tokens; "
            "- reads standard input."
        ),
    ],
    context: Context = None,
    suffix: Annotated[
        str | None,
        typer.Option(
            help="Public text that the answer leads into (default: none).",
            rich_help_panel=Panel.ANSWER,
        ),
    ] = None,
    literal: Annotated[
        bool,
        typer.Option(
            "--literal",
            help="Read [[...]] in the prompt as text, not as a gap (default: off).",
            rich_help_panel=Panel.ANSWER,
        ),
    ] = False,
    trace: Annotated[
        Path | None,
        typer.Option(
            help="New file for every step as JSON lines, see david show (default: none).",
            rich_help_panel=Panel.PROGRAM,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Ask Goliath, with David's help at every denoising step."""
    from david_client.gaps import Gapped, check_beginning, split_gaps
    from david_client.texts import read_context, read_prompt, read_suffix
    from david_client.trace import open_trace
    from david_client.view import View

    settings = load()
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

    took = reply.total if isinstance(reply, Filled) else reply
    if as_json:
        print_json(reply.record())
    else:
        if isinstance(reply, Filled):
            print_parts(reply.parts)
        else:
            view.print_answer(reply.text)
        note(
            f"seed {took.settings.seed}, {took.steps_run} steps, {took.david_steps} with David, "
            f"{took.seconds:.1f} s, {took.bytes_up} bytes up, {took.bytes_down} down"
        )
        if took.settings.certify:
            told = took.certification
            note(f"{told.uncertified} positions uncertified after {told.asks} asks")
    if took.missed or took.late:
        note(f"warning: David missed {took.missed} steps and was late for {took.late}")
    if took.finish_reason is FinishReason.DRAINING:
        raise DrainingError(
            f"the server is shutting down: this answer is unfinished after {took.steps_run} steps",
            remedy="Ask again later, or ask another server",
        )
