"""Models and addresses that cannot be used."""

import contextlib
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import ExitCode
from tests.programs import Pair
from tests.tiny import save_tiny

pytestmark = pytest.mark.usefixtures("own_settings")


def _broken(pair: Pair, folder: Path, kind: str) -> Path:
    if kind == "missing folder":
        return folder / "nowhere"
    shutil.copytree(pair.david, folder / "model")
    weights = folder / "model" / "model.safetensors"
    if kind == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif kind == "foreign":
        import numpy as np
        from safetensors.numpy import save_file

        save_file({"w": np.zeros(3, np.float32)}, weights)
    elif kind == "pickle":
        weights.unlink()
        (folder / "model" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    elif kind == "garbage":
        weights.write_bytes(b"no weights at all")
    elif kind == "no tokenizer":
        (folder / "model" / "tokenizer.json").unlink()
    return folder / "model"


@pytest.mark.parametrize(
    "kind", ["missing folder", "truncated", "foreign", "pickle", "garbage", "no tokenizer"]
)
def test_models_that_cannot_be_loaded(
    ask: Any, run: Any, pair: Pair, tmp_path: Path, kind: str
) -> None:
    folder = _broken(pair, tmp_path, kind)
    told = ask("--model", folder)
    assert told.code == ExitCode.BAD_INPUT, told.err
    assert told.out == ""
    served = run("goliath", "serve", folder, "--listen", "127.0.0.1:0", "--insecure")
    assert served.code == ExitCode.BAD_INPUT, served.err
    assert len(told.err.splitlines()) <= 4


def test_models_that_do_not_fit(ask: Any, tmp_path: Path) -> None:
    told = ask("--model", save_tiny(tmp_path / "other", seed=3, simplex_value=4.0))
    assert told.code == ExitCode.INCOMPATIBLE
    assert "k: Goliath 5.0, David 4.0" in told.err


def test_a_port_in_use(run: Any, pair: Pair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        told = run("goliath", "serve", pair.goliath, "--listen", address, "--insecure")
        assert told.code == ExitCode.USAGE
        assert "in use" in told.err
        doctor = run("goliath", "doctor", pair.goliath, "--listen", address, "--insecure")
        assert doctor.code == ExitCode.USAGE
        assert "FAIL  address" in doctor.out
        assert "pass  one step" in doctor.out


def test_nobody_and_strangers_at_the_address(ask: Any) -> None:
    told = ask("--goliath", "127.0.0.1:1", "--insecure")
    assert told.code == ExitCode.UNREACHABLE
    assert "goliath serve" in told.err
    with _web_server() as address:
        told = ask("--goliath", address, "--insecure")
    assert told.code == ExitCode.UNREACHABLE
    assert "not a Goliath" in told.err


@contextlib.contextmanager
def _web_server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    caller, _ = listener.accept()
                    with caller:
                        caller.recv(100)
                        caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_hanging_server_runs_out_of_time(ask: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = ("--goliath", f"127.0.0.1:{listener.getsockname()[1]}", "--insecure")
        told = ask(*place, "--timeout", 0.5)
    assert told.code in {ExitCode.OUT_OF_TIME, ExitCode.UNREACHABLE}
