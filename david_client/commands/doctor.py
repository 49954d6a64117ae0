"""`david doctor`."""

import typer

from common.program.options import Json, Load, with_settings
from david_client.settings import DavidSettings


@with_settings(
    DavidSettings,
    *("goliath", "insecure", "tls_cert", "tls_key", "server_ca", "server_name"),
    *("model", "device", "dtype", "threads"),
)
def doctor(load: Load[DavidSettings], json: Json = False) -> None:
    """Check this installation and the way to a server: each line passes or fails."""
    from common.program.doctor import Doctor, package_is_ours, versions

    checks = Doctor(as_json=json)
    checks.check("package", package_is_ours)
    checks.check("versions", versions)
    settings = checks.check(
        "settings",
        load,
        show=lambda found: f"model {found.model}, goliath {found.goliath}",
    )
    if settings is not None:
        from david_client.checkup import check_pair

        check_pair(checks, settings)
    raise typer.Exit(checks.exit_code)
