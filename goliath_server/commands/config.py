"""`goliath config`."""

from goliath_server.commands import options as o


def config(config: o.Config = None, json: o.Json = False) -> None:
    """Print the effective settings as TOML: environment over file over default."""
    from common.program.config import describe, load
    from common.program.console import print_json, print_text
    from goliath_server.settings import GoliathSettings

    settings = load(GoliathSettings, program="goliath", given={}, file=config)
    if json:
        print_json(settings.model_dump(mode="json"))
    else:
        print_text(describe(settings))
