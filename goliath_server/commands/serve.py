"""`goliath serve`."""

from typing import Annotated

import typer

from goliath_server.commands import options as o


def serve(
    command: typer.Context,
    model: o.ModelName = None,
    listen: o.Listen = None,
    insecure: o.Insecure = None,
    tls_cert: o.TlsCert = None,
    tls_key: o.TlsKey = None,
    client_ca: o.ClientCa = None,
    max_sessions: Annotated[
        int | None,
        typer.Option(help="Sessions at a time (default: 8).", rich_help_panel=o.Panel.CONNECTION),
    ] = None,
    max_streams_per_peer: Annotated[
        int | None,
        typer.Option(
            help="Sessions of one peer at a time (default: 4).", rich_help_panel=o.Panel.CONNECTION
        ),
    ] = None,
    guide: Annotated[
        str | None,
        typer.Option(
            help="Classifier, folder or name, that steers all answers (default: none).",
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
    grace: Annotated[
        float | None,
        typer.Option(
            help="Seconds that running answers have to finish after Ctrl-C or SIGTERM; a second "
            "one ends them at once (default: 30)."
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
    """Serve a large model to Davids, until Ctrl-C or SIGTERM."""
    from common.program.config import load
    from common.program.console import note, print_json
    from common.program.interrupt import interruptible
    from common.program.logging import start_log
    from goliath_server.settings import GoliathSettings

    with interruptible():
        settings = load(GoliathSettings, program="goliath", given=o.given(command), file=config)
        start_log(form=settings.log_format, verbose=verbose)
        note(f"goliath: loading {settings.model}")
        import asyncio
        from dataclasses import asdict

        from goliath_server.server import serve as run
        from goliath_server.session import Host

        def announce(address: str, host: Host) -> None:
            if json:
                print_json(
                    {
                        "type": "serving",
                        "address": address,
                        "model": host.model.name,
                        "fingerprint": host.model.vocabulary.summary.fingerprint,
                        "guide": None if host.guide is None else asdict(host.guide),
                        "insecure": settings.insecure,
                    }
                )
            towards = f", guided towards {host.guide.label}" if host.guide else ""
            note(f"goliath: serving {host.model.name} on {address}{towards}; Ctrl-C ends it")

        asyncio.run(run(settings, announce=announce))
