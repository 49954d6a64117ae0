"""Finding and loading models: a path, a name in the user's data folder, a bundled name, a hub name,
in this order.
"""

from __future__ import annotations

import codecs
import importlib.util
import json
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import platformdirs

from common.errors import BadModelError, UsageError, VocabularyMismatchError
from common.models import DEFAULT_DAVID as DEFAULT_DAVID
from common.models import DEFAULT_GOLIATH as DEFAULT_GOLIATH

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from common.models.simplex_network import SimplexDiffusionLM
    from common.text.templates import Template
    from common.text.vocabulary import Vocabulary
    from common.text.wordpiece import WordPieceVocabulary

BUNDLED = Path(__file__).parents[1] / "bundled"
WEIGHTS = "model.safetensors"
MODEL_TYPE = "simplex_diffusion"
INDEX = "model.safetensors.index.json"
MASKED_LM = "ForMaskedLM"
"""How transformers' classes of masked language models end."""
GUIDE_TYPE = "simplex_classifier"

_REMEDIES = {
    (MODEL_TYPE, GUIDE_TYPE): "This is a guide: give it as --guide, beside a language model",
    (
        MODEL_TYPE,
        None,
    ): "Models trained by this project fit, see `goliath train --help`, and masked "
    "language models of transformers",
    (GUIDE_TYPE, MODEL_TYPE): "This is a language model; `david train-guide` makes a guide from it",
    (GUIDE_TYPE, None): "Only guides trained by this project fit; see `david train-guide --help`",
}
"""What to do, by the type that was wanted and the one that came; None for any other."""

_STRANGERS = (
    (
        (b"version https://git-lfs",),
        "a git-lfs pointer, not the file itself",
        "Run `git lfs pull` in the repository that it came from, or download the file itself",
    ),
    (
        (b"<!doctype", b"<html", b"<head", b"<?xml"),
        "a web page, not the file itself",
        "Download it again by the address of the file, not of the page that shows it",
    ),
)
"""What downloads leave in place of a file: how it begins (lower case), what it is, what to do."""

_Model = TypeVar("_Model", bound="PreTrainedModel")


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model folder, and where it was found."""

    name: str
    folder: Path
    origin: str
    """"path", "user", "bundled" or "hub"."""


def user_folder() -> Path:
    """Where the user's own models lie."""
    return platformdirs.user_data_path("goliath-david") / "models"


def listed() -> list[FoundModel]:
    """All models that a name finds without a network."""
    found = []
    for origin, root in (("user", user_folder()), ("bundled", BUNDLED)):
        if root.is_dir():
            folders = sorted(p for p in root.iterdir() if (p / "config.json").is_file())
            found += [FoundModel(p.name, p, origin) for p in folders]
    return found


def find(name: str) -> FoundModel:
    """The folder of a model.

    Raises:
        BadModelError: nothing of that name, here or on the hub.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return FoundModel(path.resolve().name, path, "path")
    for model in listed():
        if model.name == name:
            return model
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        known = ", ".join(model.name for model in listed()) or "none"
        raise BadModelError(
            f"expected a model folder or name, got {name!r}, which is neither",
            remedy=f"Give a folder with a trained model, a hub name, or one of: {known}",
        )
    return FoundModel(name, _from_hub(name), "hub")


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.jinja", "*.safetensors"]))
    except Exception as error:  # "no network", "no such model" and "gated" have no common base
        raise BadModelError(
            f"model {name!r} is no folder here and could not be fetched from the hub: "
            f"{type(error).__name__}",
            remedy="Check the name and the network, or give a local folder",
        ) from error


@dataclass(frozen=True, slots=True, eq=False)
class LanguageModel:
    """A model that is ready, of whatever family."""

    name: str
    predictor: Any
    """A `Predictor`; one that can be a Goliath also has `process`, `defaults`, `block_length` and
    `times`.
    """
    vocabulary: Vocabulary
    template: Template


def open_model(name: str, *, device: str = "cpu", dtype: str = "float32") -> LanguageModel:
    """A model of any family with all that a session needs; arguments and errors as `load`."""
    found = find(name)
    architectures = _config(found.folder).get("architectures") or ["none"]
    if str(architectures[0]).endswith(MASKED_LM):
        return _masked_model(found, device=device, dtype=dtype)
    network, vocabulary = load(name, device=device, dtype=dtype)
    return simplex_model(found.name, network, vocabulary)


def _masked_model(found: FoundModel, *, device: str, dtype: str) -> LanguageModel:
    """A masked language model of transformers; no code of its folder is run."""
    from transformers import AutoConfig, AutoModelForMaskedLM

    from common.models.masked_lm import MaskedPredictor
    from common.text.hub import HubVocabulary
    from common.text.templates import ChatTemplate, PlainText

    _check_weights(found.folder)
    vocabulary = HubVocabulary.load(found.folder)
    network, report = _loaded(AutoModelForMaskedLM, AutoConfig, found.folder, dtype)
    # Published weights come with heads for other uses, which nothing reads here.
    _check_loaded(found.folder, report | {"unexpected_keys": ()})
    rows = network.config.vocab_size
    if rows < vocabulary.size:
        raise VocabularyMismatchError(
            f"the tokenizer in {found.folder} has {vocabulary.size} ids, its model {rows} rows",
            remedy="Restore tokenizer.json from where the model came from",
        )
    network = placed(network, device).eval()
    chat = vocabulary.tokenizer.chat_template is not None
    return LanguageModel(
        found.name,
        MaskedPredictor(network, vocabulary.mask, vocabulary.size),
        vocabulary,
        ChatTemplate(vocabulary) if chat else PlainText(vocabulary),
    )


def simplex_model(
    name: str, network: SimplexDiffusionLM, vocabulary: WordPieceVocabulary
) -> LanguageModel:
    """A loaded model of this project."""
    from common.models.simplex_lm import SimplexPredictor
    from common.text.templates import TemplateV1

    return LanguageModel(name, SimplexPredictor(network), vocabulary, TemplateV1(vocabulary))


def load(
    name: str, *, device: str = "cpu", dtype: str = "float32"
) -> tuple[SimplexDiffusionLM, WordPieceVocabulary]:
    """A model in eval mode and its vocabulary.

    Args:
        name: see `find`.
        device: a torch device, such as "cpu" or "cuda".
        dtype: "float32", "bfloat16" or "float16".

    Raises:
        BadModelError: missing, truncated, foreign or pickled weights.
        VocabularyMismatchError: the folder's tokenizer is not the one that the model was
            trained with.
    """
    from common.models.simplex_network import SimplexDiffusionLM

    return load_as(SimplexDiffusionLM, name, device=device, dtype=dtype)


def load_as(
    kind: type[_Model], name: str, *, device: str = "cpu", dtype: str = "float32"
) -> tuple[_Model, WordPieceVocabulary]:
    """A model of one of this project's kinds and its vocabulary; else as `load`."""
    from common.text.wordpiece import WordPieceVocabulary

    found = find(name)
    config_class: Any = kind.config_class
    _check_kind(found.folder, config_class.model_type)
    _check_weights(found.folder)
    vocabulary = WordPieceVocabulary.load(found.folder)
    model, report = _loaded(kind, config_class, found.folder, dtype)
    _check_loaded(found.folder, report)
    if model.config.tokenizer_sha256 != vocabulary.fingerprint.hex():
        raise VocabularyMismatchError(
            f"the tokenizer in {found.folder} is not the one its model was trained with",
            remedy="Restore tokenizer.json from where the model came from",
        )
    return placed(model, device).eval(), vocabulary


def _loaded(
    kind: type[Any], config_class: type[Any], folder: Path, dtype: str
) -> tuple[Any, dict[str, Any]]:
    """A model of transformers, and its report of weights that fit nowhere or were not there."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()  # a bar on stderr says nothing about files of a few megabytes
    logging.set_verbosity_error()  # its report of missing weights is what _check_loaded raises
    try:
        loaded: tuple[Any, dict[str, Any]] = kind.from_pretrained(
            folder,
            config=config_class.from_pretrained(folder),
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            output_loading_info=True,
        )
    except BadModelError:
        raise
    except Exception as error:  # safetensors, json and transformers each raise their own
        raise BadModelError(
            f"the model in {folder} cannot be read: a file of it is damaged",
            remedy="Copy the folder again, or train it anew",
        ) from error
    return loaded


def placed(model: _Model, device: str) -> _Model:
    """The model on a torch device.

    Raises:
        UsageError: there is no such device here.
    """
    try:
        model.to(device)  # type: ignore[arg-type]
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"the device {device!r} cannot be used here",
            remedy="Leave --device out, or give cpu or cuda",
        ) from error
    return model


def is_simplex_model(folder: Path) -> bool:
    """Whether a folder's config.json says that it holds a model of this project.

    Raises:
        BadModelError: see `check_downloads`.
    """
    check_downloads(folder)
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError, OSError):
        return False
    return bool(kind == MODEL_TYPE)


def check_downloads(folder: Path) -> None:
    """See that the JSON files and weights of a folder are none of the things that a download leaves
    instead.

    Raises:
        BadModelError: one is a git-lfs pointer or a web page.
    """
    for path in sorted(folder.iterdir()):
        if path.suffix in {".json", ".safetensors", ".gguf"}:
            # What cannot be opened is reported where it is read.
            with suppress(OSError), path.open("rb") as file:
                head = file.read(256).removeprefix(codecs.BOM_UTF8).lstrip().lower()
                for beginnings, kind, remedy in _STRANGERS:
                    if head.startswith(beginnings):
                        raise BadModelError(f"{path} is {kind}", remedy=remedy)


def _config(folder: Path) -> dict[str, Any]:
    """What config.json says."""
    if not (folder / "config.json").is_file():
        raise BadModelError(
            f"expected config.json in {folder}; found none",
            remedy="Give a folder with a trained model",
        )
    check_downloads(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return dict(config.items())
    except (ValueError, AttributeError, OSError) as error:
        raise BadModelError(
            f"{folder / 'config.json'} is not a JSON object", remedy="Copy the folder again"
        ) from error


def _check_kind(folder: Path, wanted: str) -> None:
    kind = _config(folder).get("model_type")
    if kind != wanted:
        known = kind if kind in (MODEL_TYPE, GUIDE_TYPE) else None
        raise BadModelError(
            f"expected a model of type {wanted!r} in {folder}, got {kind!r}",
            remedy=_REMEDIES[wanted, known],
        )


def _check_weights(folder: Path) -> None:
    if not (folder / WEIGHTS).is_file() and not (folder / INDEX).is_file():
        pickled = [
            p.name for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pth", ".pkl", ".ckpt"}
        ]
        extra = f"; {pickled[0]} is a pickle, which is never loaded" if pickled else ""
        raise BadModelError(
            f"expected {WEIGHTS} in {folder}; found none{extra}",
            remedy="Give weights in the safetensors format",
        )


def _check_loaded(folder: Path, report: dict[str, Any]) -> None:
    wrong = [
        key
        for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
        if report.get(key)
    ]
    if wrong:
        names = "; ".join(f"{key.replace('_', ' ')}: {str(report[key])[:200]}" for key in wrong)
        raise BadModelError(
            f"the weights in {folder} do not belong to its config.json ({names})",
            remedy="Copy the whole folder again, or train it anew",
        )


def is_ours() -> bool:
    """Whether the package `common` that runs is the one beside our programs: another project has
    that name too.
    """
    spec = importlib.util.find_spec("goliath_server")
    ours = Path(__file__).parents[1]
    beside = (
        spec is not None
        and spec.origin is not None
        and Path(spec.origin).parent.parent == ours.parent
    )
    return beside and list(sys.modules["common"].__path__) == [str(ours)]
