"""`goliath doctor`."""

import typer

from common.program.options import Json, Load, with_settings
from goliath_server.settings import GoliathSettings


@with_settings(
    GoliathSettings,
    *("model", "listen", "insecure", "tls_cert", "tls_key", "client_ca"),
    *("device", "dtype", "threads"),
)
def doctor(load: Load[GoliathSettings], json: Json = False) -> None:
    """Check this installation: package, settings, address, model, one step."""
    from common.program.doctor import Doctor, package_is_ours, versions

    checks = Doctor(as_json=json)
    checks.check("package", package_is_ours)
    checks.check("versions", versions)
    settings = checks.check(
        "settings",
        load,
        show=lambda found: f"model {found.model}, address {found.listen}",
    )
    if settings is not None:
        from goliath_server import checkup

        checks.check("address", lambda: checkup.address(settings))
        loaded = checks.check(
            "model", lambda: checkup.load_host(settings), show=checkup.describe_host
        )
        if loaded is not None:
            checks.check("guide", lambda: checkup.guide(settings, loaded))
            checks.check("one step", lambda: checkup.one_step(loaded))
    raise typer.Exit(checks.exit_code)
