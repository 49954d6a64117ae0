"""`david ask`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from david_client.commands import options as o

if TYPE_CHECKING:
    from david_client.asking import Reply


def ask(
    prompt: Annotated[str, typer.Argument(help="The question; - reads standard input.")],
    goliath: o.Goliath = None,
    insecure: o.Insecure = None,
    tls_cert: o.TlsCert = None,
    tls_key: o.TlsKey = None,
    server_ca: o.ServerCa = None,
    model: o.Model = None,
    context: Annotated[
        Path | None, typer.Option(help="Private text file; only David reads it (default: none).")
    ] = None,
    weight: Annotated[float | None, typer.Option(help="David's share, 0 to 1 (default: 0.75).")] = (
        None
    ),
    contrast: Annotated[
        float | None, typer.Option(help="How much the context is stressed (default: 0).")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps of a block (default: 32).")] = (
        None
    ),
    block: Annotated[
        int | None, typer.Option(help="Positions generated together (default: the model's).")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Longest answer in tokens (default: one block).")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy (default: 0.7).")] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Least share of the best candidate (default: 0.05).")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of all noise (default: drawn, and told).")
    ] = None,
    late: Annotated[
        str | None, typer.Option(help="When David is late: wait, solo or fail (default: wait).")
    ] = None,
    codec: Annotated[
        str | None, typer.Option(help="David's logits as topk or dense (default: topk).")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="Seconds that David has for a step (default: 10).")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds for the whole session (default: 600).")
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
    given = {
        "goliath": goliath,
        "insecure": insecure,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "server_ca": server_ca,
        "model": model,
        "weight": weight,
        "contrast": contrast,
        "steps": steps,
        "block": block,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "min_p": min_p,
        "seed": seed,
        "late": late,
        "codec": codec,
        "budget": budget,
        "timeout": timeout,
        "device": device,
        "dtype": dtype,
        "threads": threads,
        "log_format": log_format,
    }
    from common.config import load
    from common.interrupt import interruptible
    from common.logs import start_log
    from david_client.settings import DavidSettings
    from david_client.texts import read_context, read_prompt
    from david_client.view import View

    with interruptible():
        settings = load(DavidSettings, program="david", given=given, file=config)
        start_log(form=settings.log_format, verbose=verbose)
        question = read_prompt(prompt)
        private = "" if context is None else read_context(context)
        with View(wanted=not json) as view:
            view.say("waking the models ...")
            from david_client.conversation import converse

            reply = converse(settings, question, private, view)
        _tell(reply, as_json=json)


def _tell(reply: "Reply", *, as_json: bool) -> None:
    """The answer alone on stdout; what it took on stderr.

    Raises:
        DrainingError: the answer is unfinished, since the server is shutting down.
    """
    from common.console import note, print_json, print_text
    from common.diffusion.terms import FinishReason
    from common.errors import DrainingError

    if as_json:
        print_json(reply.record())
    else:
        print_text(reply.text)
        note(
            f"seed {reply.settings.seed}, {reply.steps_run} steps, {reply.david_steps} with David, "
            f"{reply.seconds:.1f} s, {reply.bytes_up} bytes up, {reply.bytes_down} down"
        )
    if reply.missed or reply.late:
        note(f"warning: David missed {reply.missed} steps and was late for {reply.late}")
    if reply.finish_reason is FinishReason.DRAINING:
        raise DrainingError(
            f"the server is shutting down: this answer is unfinished after {reply.steps_run} steps",
            remedy="Ask again later, or ask another server",
        )
