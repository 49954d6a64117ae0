"""Command lines that are made from the settings that are declared."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from common.collaboration.settings import ContributorSettings, SessionSettings
from common.denoising.settings import Panel, Setting, in_words, settings_of
from common.processes.simplex.settings import SimplexSettings
from common.program.settings import ProgramSettings, bare, choices_of, flag

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="TOML file with settings (default: the one in your configuration folder).",
        rich_help_panel=Panel.PROGRAM,
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "-v",
        "--verbose",
        help="More on standard error (default: off).",
        rich_help_panel=Panel.PROGRAM,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="One JSON object a line on standard output (default: off).",
        rich_help_panel=Panel.PROGRAM,
    ),
]

_Settings = TypeVar("_Settings", bound=ProgramSettings)
Load = Callable[[], _Settings]
"""What a command with settings is given: reads and checks them, and starts the log."""


def with_settings(
    kind: type[ProgramSettings], *chosen: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command with options for these settings, `--config` and `--verbose`.

    The function that is decorated has its own options as parameters, and one named `load`, a
    `Load`: with it the command reads its settings when it is ready to. An interrupt ends it with
    one line.

    Args:
        kind: the settings of the program.
        chosen: names of settings, or panels for all settings of theirs.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        options, own = _options(kind, chosen), _own(function, "load")

        @wraps(function)
        def command(*, config: Path | None, verbose: bool, **given: Any) -> None:
            from common.program.config import load as load_settings
            from common.program.interrupt import interruptible
            from common.program.logging import start_log

            # An absent flag says nothing, as an absent option does.
            said = {name: None if given[name] is False else given[name] for name in options}

            def load() -> ProgramSettings:
                settings = load_settings(kind, given=said, file=config)
                start_log(form=settings.log_format, verbose=verbose)
                return settings

            with interruptible():
                function(load=load, **{name: given[name] for name in own})

        shared = {"config": (Config, None), "verbose": (Verbose, False)}
        return _signed(command, options | own | shared)

    return decorate


def with_requested(*chosen: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command with options for these settings of a session, or those of these panels.

    The function that is decorated has its own options as parameters, and one named `requested`: a
    mapping of the settings that were given, checked, by name.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        kinds = (SessionSettings, SimplexSettings, ContributorSettings)
        own = _own(function, "requested")
        options = {name: one for kind in kinds for name, one in _options(kind, chosen).items()}

        @wraps(function)
        def command(**given: Any) -> None:
            from common.program.values import requested

            said = requested(kinds, {name: given[name] for name in options})
            function(requested=said, **{name: given[name] for name in own})

        return _signed(command, options | own)

    return decorate


_Parameters = dict[str, tuple[Any, Any]]
"""Annotation, as Typer reads it, and default of each parameter of a command."""


def _own(function: Callable[..., None], given: str) -> _Parameters:
    """The parameters of a function but for one."""
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters.items()
    return {name: (hints[name], one.default) for name, one in parameters if name != given}


def _signed(command: Callable[..., None], parameters: _Parameters) -> Callable[..., None]:
    """The command with these parameters in place of its own."""
    keyword, ordered = inspect.Parameter.KEYWORD_ONLY, sorted(parameters.items(), key=_place)
    command.__annotations__ = {name: annotation for name, (annotation, _) in ordered}
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, keyword, default=default, annotation=annotation)
            for name, (annotation, default) in ordered
        ]
    )
    return command


def _options(kind: type[Any], chosen: tuple[str, ...]) -> _Parameters:
    """The parameters for settings."""
    hints = get_type_hints(kind)
    return {
        one.name: (
            _annotation(one.name, bare(hints[one.name]), known, one.default),
            False if hints[one.name] is bool else None,
        )
        for one, known in settings_of(kind)
        if one.name in chosen or known.panel in chosen
    }


def _annotation(name: str, kind: Any, known: Setting, default: Any) -> Any:
    """The type of an option with its flag and help; what it may be the settings check."""
    text = help_of(kind, known, default)
    if known.argument:
        return Annotated[str | None, typer.Argument(help=text)]
    option = typer.Option(
        flag(name), help=text, metavar=known.metavar, rich_help_panel=known.panel or None
    )
    if kind is bool:
        return Annotated[bool, option]
    return Annotated[(kind if kind in (int, float, Path) else str) | None, option]


def help_of(kind: Any, known: Setting, default: Any) -> str:
    """What an option does, with its choices, range, unit and default."""
    *most, last = map(str, choices_of(kind)) if choices_of(kind) else ("",)
    choices = f": {', '.join(most)} or {last}" if most else ""
    bounds = f", {known.range}" if known.range else ""
    return f"{known.help}{choices}{bounds} (default: {known.shown or in_words(default)})."


def _place(taken: tuple[str, tuple[Any, Any]]) -> int:
    """Arguments first, then options, panel by panel."""
    (info,) = taken[1][0].__metadata__
    panels = [None, *(value for name, value in vars(Panel).items() if name.isupper())]
    return panels.index(info.rich_help_panel)
