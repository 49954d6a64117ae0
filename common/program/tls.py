"""The choice between TLS files and plain text, as both programs' options give it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UsageError

if TYPE_CHECKING:
    from common.wire.tls import TlsFiles


def tls_files(
    certificate: Path | None, key: Path | None, authority: Path | None, *, authority_option: str
) -> TlsFiles | None:
    """The three files of mutual TLS, tried, or None when none is given.

    Raises:
        UsageError: only some of them are given, or one cannot be used.
    """
    from common.wire.tls import TlsFiles, read_tls

    given = {"--tls-cert": certificate, "--tls-key": key, authority_option: authority}
    missing = [name for name, path in given.items() if path is None]
    if len(missing) == len(given):
        return None
    if certificate is None or key is None or authority is None:
        raise UsageError(
            f"TLS: expected {', '.join(given)} together; missing: {', '.join(missing)}",
            remedy="Give all three; mutual TLS is the only kind here",
        )
    files = TlsFiles(certificate, key, authority)
    read_tls(files)
    return files
