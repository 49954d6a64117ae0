"""`david config`."""

from david_client.commands import options as o


def config(config: o.Config = None, json: o.Json = False) -> None:
    """Print the effective settings as TOML: environment over file over default."""
    from common.program.config import describe, load
    from common.program.console import print_json, print_text
    from david_client.settings import DavidSettings

    settings = load(DavidSettings, program="david", given={}, file=config)
    if json:
        print_json(settings.model_dump(mode="json"))
    else:
        print_text(describe(settings))
