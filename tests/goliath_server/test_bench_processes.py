"""Programs that `goliath bench` starts end with it."""

import asyncio
import signal
import subprocess
import sys

import pytest

from common.errors import (
    BadDataError,
    InternalError,
    NotPermittedError,
    UnreachableError,
)
from goliath_server.bench.processes import Program, make_certificates


async def program(code, name="david"):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    return Program(name, process, verbose=False), process


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (3, UnreachableError),
        (4, NotPermittedError),
        (7, BadDataError),
        (1, InternalError),
        (0, InternalError),
    ],
)
async def test_the_end_of_a_program_is_an_error_of_ours(code, error):
    told, _ = await program(
        "import sys; print('a warning\\ndavid: nobody there\\n  Look again', file=sys.stderr); "
        f"sys.exit({code})"
    )
    with pytest.raises(error) as ended:
        await told.ask({"prompt": "soup"})
    assert (ended.value.message, ended.value.remedy) == ("nobody there", "Look again")
    await told.end()


async def test_a_program_that_ends_without_a_word_of_ours():
    told, _ = await program("raise SystemExit('╭─╮\\n│ No such option │\\n╰─╯')")
    with pytest.raises(InternalError, match="exit code 1: No such option"):
        await told.read()
    await told.end()


STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print({}, flush=True);"
    "time.sleep(60)"
)


async def test_a_program_that_does_not_end_is_ended(monkeypatch):
    monkeypatch.setattr("goliath_server.bench.processes._GRACE_S", 0.1)
    stubborn, process = await program(STUBBORN)
    assert await stubborn.read() == {}
    await stubborn.end()
    assert process.returncode == -signal.SIGKILL


async def test_a_second_interrupt_leaves_no_program():
    stubborn, process = await program(STUBBORN)
    await stubborn.read()
    ending = asyncio.create_task(stubborn.end())
    await asyncio.sleep(0.05)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    await asyncio.wait_for(process.wait(), 5)
    assert process.returncode == -signal.SIGKILL


def test_certificates_are_for_loopback_and_keys_for_nobody_else(tmp_path):
    from cryptography import x509

    made = make_certificates(tmp_path)
    server = x509.load_pem_x509_certificate(made.server.certificate.read_bytes())
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name.value) for name in names} == {"127.0.0.1", "localhost"}
    assert made.server.authority == made.client.authority
    keys = [path for path in tmp_path.iterdir() if b"PRIVATE KEY" in path.read_bytes()]
    assert sorted(keys) == sorted([made.server.key, made.client.key])
