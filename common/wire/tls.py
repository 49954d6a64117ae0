"""The files of mutual TLS, and what is refused of them before anything listens or connects."""

import os
import shlex
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UsageError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What one side shows, and whom it trusts; files in PEM."""

    certificate: Path
    """This side's certificate, followed by those between it and its authority."""
    key: Path
    """The private key of the certificate, without a password; nobody but its owner may use it."""
    authority: Path
    """Certificates of the authorities that the other side's certificate must come from."""


def read_tls(files: TlsFiles) -> tuple[bytes, bytes, bytes]:
    """Certificate, key and authority, tried with Python's own TLS, which says what is wrong.

    Raises:
        UsageError: A file cannot be read or is not what it should be, others than its owner may use
            the key, or a certificate is not valid now.
    """
    certificate = _read("certificate", files.certificate)
    key = _read("key", files.key)
    authority = _read("authority", files.authority)
    _check_mode(files.key)
    try:
        # An empty password turns a question on the terminal into an error.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            files.certificate, files.key, password=""
        )
        chain = _certificates(certificate)
    except (ssl.SSLError, ValueError) as error:
        raise UsageError(
            f"TLS: {files.certificate} and {files.key} are not a certificate and its key",
            remedy="Give PEM files that belong together; the key must have no password",
        ) from error
    try:
        authorities = _certificates(authority)
    except ValueError as error:
        raise UsageError(
            f"TLS authority: {files.authority} holds no certificate",
            remedy="Give the PEM file of the authority that signed the other side's certificate",
        ) from error
    for one in chain:
        _check_dates("certificate", files.certificate, one)
    # While a new authority replaces an old one the file holds both: one that is valid is enough.
    _check_dates("authority", files.authority, max(authorities, key=_is_valid))
    return certificate, key, authority


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"TLS {name}: cannot read {path}: {error.strerror}",
            remedy="Give the path of a PEM file that this user may read",
        ) from error


def _check_mode(key: Path) -> None:
    mode = key.stat().st_mode & 0o777
    # Windows has no such modes: there all files look open to everyone.
    if os.name == "posix" and mode & 0o077:
        raise UsageError(
            f"TLS key: {key} has the mode {mode:04o}: others than its owner may use it",
            remedy=f"Run: chmod 600 {shlex.quote(str(key))} (and replace it if others read it)",
        )


def _certificates(pem: bytes) -> "Sequence[Certificate]":
    from cryptography.x509 import load_pem_x509_certificates

    return load_pem_x509_certificates(pem)


def _is_valid(certificate: "Certificate") -> bool:
    return certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc


def _check_dates(name: str, path: Path, certificate: "Certificate") -> None:
    if _is_valid(certificate):
        return
    now, begin = datetime.now(UTC), certificate.not_valid_before_utc
    found = "is not valid yet" if now < begin else "has expired"
    dates = (f"{one:%Y-%m-%d %H:%M}" for one in (begin, certificate.not_valid_after_utc, now))
    raise UsageError(
        f"TLS {name}: {certificate.subject.rfc4514_string()} in {path} {found}: "
        "it is valid from {} to {} UTC, and now it is {}".format(*dates),
        remedy="Give a certificate that is valid now, or correct this machine's clock",
    )
