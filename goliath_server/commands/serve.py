"""`goliath serve`."""

from common.denoising.settings import Panel
from common.program.options import Json, Load, with_settings
from goliath_server.settings import GoliathSettings


@with_settings(GoliathSettings, "model", Panel.CONNECTION, Panel.GUIDANCE, Panel.PROGRAM)
def serve(load: Load[GoliathSettings], json: Json = False) -> None:
    """Serve a large model to Davids, until Ctrl-C or SIGTERM."""
    from common.program.console import note, print_json

    settings = load()
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
