"""Long lists of options are grouped under headings."""

import pytest
import typer

from common.denoising.settings import Panel
from david_client import cli as david
from goliath_server import cli as goliath

TITLES = {value for name, value in vars(Panel).items() if name.isupper()}
LONG = 10
"""Options from which on they are grouped."""


@pytest.mark.parametrize("app", [david.app, goliath.app])
def test_every_long_command_is_grouped(app: typer.Typer) -> None:
    grouped = 0
    for command in typer.main.get_command(app).commands.values():
        options = [one for one in command.params if isinstance(one, typer.core.TyperOption)]
        if len(options) > LONG:
            grouped += 1
            used = [option.rich_help_panel for option in options]
            assert set(used) <= TITLES, command.name
            assert len(set(used)) > 1, command.name
    assert grouped > 3


def test_the_help_shows_the_headings(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    shown = run("david", "ask", "--help").out
    titles = [title for title in TITLES if f" {title} ─" in shown]
    assert set(titles) == {
        *("Connection", "Private model", "Answer", "Sampling", "Guidance", "Collaboration"),
        "Output and program",
    }
    assert shown.index("--context") < shown.index("Answer ─") < shown.index("--max-tokens")
