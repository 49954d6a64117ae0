"""The list of models, as both programs print it."""

from common.models.registry import listed, user_folder
from common.program.console import note, print_json, print_text


def print_models(*, as_json: bool) -> None:
    """Name, origin and folder of each model; on stderr, where more can be put."""
    found = listed()
    if as_json:
        models = [{"name": m.name, "origin": m.origin, "folder": str(m.folder)} for m in found]
        print_json({"type": "models", "models": models})
        return
    for model in found:
        print_text(f"{model.name:24} {model.origin:8} {model.folder}")
    note(f"{len(found)} models; your own go into {user_folder()}")
