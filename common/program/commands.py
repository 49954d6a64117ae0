"""The commands that both programs have: `models` and `config`."""

from collections.abc import Callable

from common.program.options import Json, Load, with_settings
from common.program.settings import ProgramSettings


def models(json: Json = False) -> None:
    """List the models that a name finds without a network."""
    from common.models.registry import listed, user_folder
    from common.program.console import note, print_json, print_text

    found = listed()
    if json:
        records = [{"name": m.name, "origin": m.origin, "folder": str(m.folder)} for m in found]
        print_json({"type": "models", "models": records})
        return
    for model in found:
        print_text(f"{model.name:24} {model.origin:8} {model.folder}")
    note(f"{len(found)} models; your own go into {user_folder()}")


def make_config(kind: type[ProgramSettings]) -> Callable[..., None]:
    """The command `config` of a program with these settings."""

    @with_settings(kind)
    def config(load: Load[ProgramSettings], json: Json = False) -> None:
        """Print the effective settings as TOML: environment over file over default."""
        from common.program.config import as_record, describe
        from common.program.console import print_json, print_text

        settings = load()
        if json:
            print_json(as_record(settings))
        else:
            print_text(describe(settings))

    return config
