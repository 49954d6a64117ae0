"""Certificates of a test's own authorities, as files that only their owner may read."""

from datetime import datetime
from pathlib import Path

import trustme

from common.wire.tls import TlsFiles


def issued(
    folder: Path,
    name: str,
    signer: trustme.CA,
    *hosts: str,
    trusts: trustme.CA | None = None,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
) -> TlsFiles:
    """What one side shows, signed by an authority, and the authority that it trusts."""
    made = signer.issue_cert(*hosts, not_before=not_before, not_after=not_after)
    files = TlsFiles(*(folder / f"{name}.{kind}" for kind in ("crt", "key", "ca")))
    files.key.touch(mode=0o600)
    made.private_key_pem.write_to_path(str(files.key))
    files.certificate.write_bytes(b"".join(one.bytes() for one in made.cert_chain_pems))
    (trusts or signer).cert_pem.write_to_path(str(files.authority))
    return files


def server_options(files: TlsFiles) -> tuple[object, ...]:
    """Options of `goliath`."""
    own = ("--tls-cert", files.certificate, "--tls-key", files.key)
    return (*own, "--client-ca", files.authority)


def client_options(files: TlsFiles) -> tuple[object, ...]:
    """Options of `david`."""
    own = ("--tls-cert", files.certificate, "--tls-key", files.key)
    return (*own, "--server-ca", files.authority)
