"""Command lines that are made from the settings that are declared."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from common.denoising.settings import Setting, in_words, settings_of
from common.denoising.settings import Panel
from common.program.settings import ProgramSettings, bare, choices_of

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
        hints = get_type_hints(function, include_extras=True)
        parameters = inspect.signature(function).parameters
        own = {name: (hints[name], parameters[name].default) for name in parameters}
        del own["load"]
        options = _options(kind, chosen)
        shared = {"config": (Config, None), "verbose": (Verbose, False)}

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

        taken = options | own | shared
        command.__annotations__ = {name: annotation for name, (annotation, _) in taken.items()}
        command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(
                    name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
                )
                for name, (annotation, default) in sorted(taken.items(), key=_place)
            ]
        )
        return command

    return decorate


def _options(kind: type[Any], chosen: tuple[str, ...]) -> dict[str, tuple[Any, Any]]:
    """Annotation and default of the parameters for settings, as Typer reads them."""
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
        f"--{name.replace('_', '-')}",
        help=text,
        metavar=known.metavar,
        rich_help_panel=known.panel or None,
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
