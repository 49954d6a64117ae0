"""`goliath doctor`."""

import typer

from goliath_server.commands import options as o


def doctor(
    command: typer.Context,
    model: o.ModelName = None,
    listen: o.Listen = None,
    insecure: o.Insecure = None,
    tls_cert: o.TlsCert = None,
    tls_key: o.TlsKey = None,
    client_ca: o.ClientCa = None,
    device: o.Device = None,
    dtype: o.Dtype = None,
    threads: o.Threads = None,
    config: o.Config = None,
    json: o.Json = False,
    verbose: o.Verbose = False,
) -> None:
    """Check this installation: package, settings, address, model, one step."""
    from common.program.config import load
    from common.program.doctor import Doctor, package_is_ours, versions
    from common.program.interrupt import interruptible
    from goliath_server.settings import GoliathSettings

    with interruptible():
        checks = Doctor(as_json=json)
        checks.check("package", package_is_ours)
        checks.check("versions", versions)
        settings = checks.check(
            "settings",
            lambda: load(GoliathSettings, program="goliath", given=o.given(command), file=config),
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
