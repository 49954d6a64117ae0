"""Keys that others can read and certificates that are not valid now: refused at start."""

import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from common.errors import ExitCode, UsageError
from common.wire.tls import TlsFiles, read_tls
from tests.certificates import client_options, issued, server_options
from tests.programs import Pair

PAST, FUTURE = datetime(2020, 1, 31, 12, 5), datetime(2999, 1, 31)


def _open_to_group(good: TlsFiles) -> TlsFiles:
    good.key.chmod(0o640)
    return good


def _open_to_others(good: TlsFiles) -> TlsFiles:
    good.key.chmod(0o604)
    return good


def _joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def _expired(folder: Path, **dates: datetime) -> TlsFiles:
    return issued(folder, "old", trustme.CA(), "127.0.0.1", **(dates or {"not_after": PAST}))


def _expired_link(good: TlsFiles) -> TlsFiles:
    old = _expired(good.key.parent).certificate
    return replace(good, certificate=_joined(good.key.parent / "chain", good.certificate, old))


FAULTS: dict[str, Any] = {
    "key of the group": (_open_to_group, ("mode 0640", "chmod 600 ", "good.key")),
    "key of others": (_open_to_others, ("mode 0604", "chmod 600 ", "good.key")),
    "expired": (
        lambda good: _expired(good.key.parent),
        ("TLS certificate", "old.crt has expired", "to 2020-01-31 12:05 UTC", "valid now"),
    ),
    "not valid yet": (
        lambda good: _expired(good.key.parent, not_before=FUTURE),
        ("TLS certificate", "old.crt is not valid yet", "from 2999-01-31 00:00", "clock"),
    ),
    "expired between": (_expired_link, ("TLS certificate", "chain has expired")),
    "expired authority": (
        lambda good: replace(good, authority=_expired(good.key.parent).certificate),
        ("TLS authority", "old.crt has expired"),
    ),
}


@pytest.fixture
def good(tmp_path: Path) -> TlsFiles:
    return issued(tmp_path, "good", trustme.CA(), "127.0.0.1", "david.example")


@pytest.mark.parametrize("fault", FAULTS)
def test_both_programs_refuse_at_start_and_both_doctors_fail(
    run: Any, pair: Pair, good: TlsFiles, fault: str
) -> None:
    make, says = FAULTS[fault]
    bad = make(good)
    listen = ("--listen", "127.0.0.1:0", *server_options(bad))
    place = ("--goliath", "127.0.0.1:1", *client_options(bad))
    for told in (  # before the models are looked for
        run("goliath", "serve", "/nowhere", *listen),
        run("david", "ask", "hello", "--model", "/nowhere", *place),
    ):
        assert told.code == ExitCode.USAGE, told.err
        assert told.out == ""
        for part in says:
            assert part in told.err
    for told in (
        run("goliath", "doctor", pair.goliath, *listen),
        run("david", "doctor", "--model", pair.david, *place),
    ):
        assert told.code == ExitCode.USAGE, told.out
        (line,) = (line for line in told.out.splitlines() if line.startswith("FAIL  address"))
        for part in says:
            assert part in line


def test_a_file_with_an_old_authority_and_its_successor_will_do(good: TlsFiles) -> None:
    folder = good.key.parent
    both = _joined(folder / "both", _expired(folder).certificate, good.authority)
    assert read_tls(replace(good, authority=both))[2] == both.read_bytes()
    with pytest.raises(UsageError, match="holds no certificate"):
        read_tls(replace(good, authority=shutil.copy(good.key, folder / "none")))
