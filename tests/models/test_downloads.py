"""What a failed download leaves in the place of a model's file is named, with what to do."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from common.errors import BadModelError, ExitCode
from common.evaluation.judge import WEIGHTS, check_judge
from common.models.registry import check_downloads
from tests.programs import Pair
from tests.tiny import save_rows

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
PAGE = b"\xef\xbb\xbf\r\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n"
KINDS = [
    (POINTER, "a git-lfs pointer", "git lfs pull"),
    (PAGE, "a web page", "address of the file"),
    (PAGE[5:].lower(), "a web page", "address of the file"),
    (b"<html>\n", "a web page", "address of the file"),
]
FILES = ["config.json", "tokenizer.json", "model.safetensors"]


@pytest.fixture
def broken(pair: Pair, tmp_path: Path) -> Any:
    """A copy of the tiny David with something else in the place of one file."""

    def made(name: str, data: bytes) -> Path:
        folder = tmp_path / "model"
        shutil.copytree(pair.david, folder)
        (folder / name).write_bytes(data)
        return folder

    return made


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("data", "kind", "remedy"), KINDS)
def test_models(ask: Any, broken: Any, name: str, data: bytes, kind: str, remedy: str) -> None:
    folder = broken(name, data)
    told = ask("--model", folder)
    assert (told.code, told.out) == (ExitCode.BAD_INPUT, "")
    what, hint = told.err.splitlines()[-2:]
    assert f"{folder / name} is {kind}" in what
    assert remedy in hint


@pytest.mark.parametrize("name", FILES)
def test_every_way_to_give_a_model(
    run: Any, pair: Pair, broken: Any, tmp_path: Path, name: str
) -> None:
    folder, data = broken(name, POINTER), save_rows(tmp_path / "rows.jsonl")
    training = (data, "--held-out", data, "--out", tmp_path / "out")
    encoder = tmp_path / "encoder"
    shutil.copytree(folder, encoder)
    for program, *arguments in (
        ("goliath", "serve", folder, "--listen", "127.0.0.1:0", "--insecure"),
        ("david", "train", *training, "--start", folder),
        ("david", "train", *training, "--start", encoder, "--vocabulary", folder),
        ("david", "train", *training, "--start", pair.david, "--vocabulary", folder),
        ("david", "train", *training, "--start", pair.david, "--beside", folder),
        ("david", "train-guide", *training, "--start", folder),
        ("goliath", "evaluate", "--david", folder, "--data", data, "--limit", 4),
    ):
        told = run(program, *arguments)
        assert told.code == ExitCode.BAD_INPUT, (arguments, told.err)
        assert f"{name} is a git-lfs pointer" in told.out + told.err, arguments
    assert not (tmp_path / "out").exists()


def test_the_judge(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(POINTER)
    with pytest.raises(BadModelError, match="git-lfs pointer"):
        check_judge(tmp_path)


def test_files_that_are_what_they_should_be(tmp_path: Path) -> None:
    """The length of a header that stands first in weights may read as the beginning of a page."""
    (tmp_path / "model.safetensors").write_bytes(b"<\x00\x00\x00\x00\x00\x00\x00{}")
    (tmp_path / "config.json").write_text('{"note": "version https://git-lfs, <html>"}')
    (tmp_path / "README.md").write_bytes(PAGE)
    check_downloads(tmp_path)
