"""Usage, settings, models and doctors of the two programs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from common.errors import ExitCode
from tests.programs import Pair

pytestmark = pytest.mark.usefixtures("own_settings")


def test_help_is_fast_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from {side}.cli import app; from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['{verb}', '-h']).exit_code == 0\n"
        "heavy = {{'torch', 'transformers', 'grpc', 'pydantic_settings'}} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    for side, verb in (("goliath_server", "serve"), ("david_client", "ask")):
        subprocess.run([sys.executable, "-c", code.format(side=side, verb=verb)], check=True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--weight", 1.5), "weight"),
        (("--steps", 0), "steps"),
        (("--late", "never"), "late"),
        (("--contrast", 0.5), "context"),
        (("--goliath", "nowhere"), "HOST:PORT"),
        (("--goliath", "192.0.2.1:7600", "--insecure"), "loopback"),
        (("--goliath", "127.0.0.1:7600"), "TLS"),
        (("--goliath", "127.0.0.1:7600", "--tls-cert", "x.pem"), "--tls-key"),
        (("--device", "abacus"), "abacus"),
        (("--config", "/nowhere.toml"), "/nowhere.toml"),
        (("--sideways",), "sideways"),
    ],
)
def test_wrong_usage(ask: Any, arguments: Any, says: str) -> None:
    told = ask(*arguments)
    assert told.code == ExitCode.USAGE, told.err
    assert says in told.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--listen", "0.0.0.0:0", "--insecure"), "loopback"),
        (("--listen", "127.0.0.1:0"), "TLS"),
        (("--listen", "127.0.0.1:0", "--tls-cert", "x", "--tls-key", "y"), "--client-ca"),
        (("--max-sessions", 0), "--max-sessions"),
    ],
)
def test_wrong_usage_of_serve(run: Any, pair: Pair, arguments: Any, says: str) -> None:
    told = run("goliath", "serve", pair.goliath, *arguments)
    assert told.code == ExitCode.USAGE
    assert says in told.err


def test_settings_command_line_over_environment_over_file(
    run: Any, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tomllib

    file = tmp_path / "config" / "goliath-david" / "david.toml"
    file.parent.mkdir(parents=True)
    file.write_text('steps = 2\nweight = 0.25\ncontrast = 0.0\nlate = "solo"\n')
    monkeypatch.setenv("DAVID_WEIGHT", "0.75")
    shown = tomllib.loads(run("david", "config").out)
    assert (shown["steps"], shown["weight"], shown["late"]) == (2, 0.75, "solo")
    assert json.loads(run("david", "config", "--json").out)["weight"] == 0.75
    told = json.loads(ask("--weight", 1, "--json").out)
    assert (told["steps"], told["weight"], told["late_rule"]) == (2, 1.0, "solo")

    other = tmp_path / "other.toml"
    other.write_text("steps = 7\n")
    assert tomllib.loads(run("david", "config", "--config", other).out)["steps"] == 7
    for text, says in (("stepz = 7\n", "stepz is no setting"), ("steps = [", "not TOML")):
        other.write_text(text)
        told = run("david", "config", "--config", other)
        assert told.code == ExitCode.USAGE
        assert says in told.err


def test_described_settings_are_read_back(tmp_path: Path, run: Any) -> None:
    file = tmp_path / "goliath.toml"
    file.write_text('model = "a \\"b\\" \\\\ c"\ninsecure = true\nthreads = 2\n')
    first = run("goliath", "config", "--config", file).out
    file.write_text(first)
    assert run("goliath", "config", "--config", file).out == first


def test_models_are_listed(run: Any, pair: Pair, tmp_path: Path) -> None:
    shutil.copytree(pair.david, tmp_path / "data" / "goliath-david" / "models" / "mine")
    for program in ("david", "goliath"):
        assert "mine" in run(program, "models").out
        listed = json.loads(run(program, "models", "--json").out)["models"]
        assert {"name": "mine", "origin": "user"}.items() <= listed[0].items()


def test_doctors_name_what_fails(run: Any, pair: Pair, tmp_path: Path) -> None:
    told = run("david", "doctor", "--model", tmp_path / "none", "--goliath", "127.0.0.1:1")
    assert told.code == ExitCode.BAD_INPUT
    assert "FAIL  model" in told.out
    good = run("goliath", "doctor", pair.goliath, "--listen", "127.0.0.1:0", "--insecure")
    assert good.code == 0, good.out
    lost = run("david", "doctor", "--model", pair.david, "--goliath", "127.0.0.1:1", "--insecure")
    assert lost.code == ExitCode.UNREACHABLE
    assert "FAIL  server" in lost.out


def test_embedded_doctor(run: Any, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAVID_GOLIATH_MODEL", str(pair.goliath))
    told = run("david", "doctor", "--model", pair.david)
    assert told.code == 0, told.out
    assert "pass  one step" in told.out


def test_versions(run: Any) -> None:
    assert run("david", "--version").out == run("goliath", "--version").out
