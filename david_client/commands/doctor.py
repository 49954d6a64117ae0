"""`david doctor`."""

import typer

from david_client.commands import options as o


def doctor(
    command: typer.Context,
    goliath: o.Goliath = None,
    insecure: o.Insecure = None,
    tls_cert: o.TlsCert = None,
    tls_key: o.TlsKey = None,
    server_ca: o.ServerCa = None,
    server_name: o.ServerName = None,
    model: o.Model = None,
    device: o.Device = None,
    dtype: o.Dtype = None,
    threads: o.Threads = None,
    config: o.Config = None,
    json: o.Json = False,
    verbose: o.Verbose = False,
) -> None:
    """Check this installation and the way to a server: each line passes or fails."""
    from common.program.config import load
    from common.program.doctor import Doctor, package_is_ours, versions
    from common.program.interrupt import interruptible
    from david_client.settings import DavidSettings

    with interruptible():
        checks = Doctor(as_json=json)
        checks.check("package", package_is_ours)
        checks.check("versions", versions)
        settings = checks.check(
            "settings",
            lambda: load(DavidSettings, program="david", given=o.given(command), file=config),
            show=lambda found: f"model {found.model}, goliath {found.goliath}",
        )
        if settings is not None:
            from david_client.checkup import check_pair

            check_pair(checks, settings)
        raise typer.Exit(checks.exit_code)
