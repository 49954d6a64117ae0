"""David: the small private model, and the program that asks with it."""

import sys
from importlib.util import find_spec
from pathlib import Path


def _refuse_a_foreign_common() -> None:
    """Another project has a package `common` too; with that one nothing here could run."""
    place = Path(__file__).resolve().parent.parent / "common" / "errors.py"
    spec = find_spec("common.errors") if find_spec("common") is not None else None
    if spec is None or spec.origin is None or Path(spec.origin).resolve() != place:
        sys.stderr.write(
            f"goliath-david: expected its own package `common` in {place.parent}, "
            "found another project's.\n"
            "  Install goliath-david in a virtual environment of its own\n"
        )
        sys.exit(2)


_refuse_a_foreign_common()
