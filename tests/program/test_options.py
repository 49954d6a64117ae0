"""Every option of a command reaches its settings, or is one of the few that the command keeps."""

import pytest
import typer

from common.denoising.settings import settings_of
from david_client import cli as david
from david_client.settings import DavidSettings
from goliath_server import cli as goliath
from goliath_server.settings import GoliathSettings

KEPT = {"config", "json", "verbose", "help"}


@pytest.mark.parametrize(
    ("program", "name", "settings", "own"),
    [
        (david, "ask", DavidSettings, {"prompt", "context", "suffix", "literal", "trace"}),
        (david, "batch", DavidSettings, {"file", "resume"}),
        (david, "chat", DavidSettings, {"context", "no_history"}),
        (david, "doctor", DavidSettings, set()),
        (goliath, "serve", GoliathSettings, set()),
        (goliath, "doctor", GoliathSettings, set()),
    ],
)
def test_each_option_is_a_setting_or_the_commands_own(program, name, settings, own):
    options = typer.main.get_command(program.app).commands[name].params
    named = {option.name for option in options} - KEPT
    assert own <= named
    declared = {one.name for one, _ in settings_of(settings)}
    assert named - own <= declared
    assert not own & declared
