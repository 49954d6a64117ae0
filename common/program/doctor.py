"""Checks for people: one line each, pass or fail, and the exit code of the first that failed."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from common.errors import CollaborationError, ExitCode, SessionCancelledError, UsageError, spec_of
from common.program.console import clean_line, print_json, print_text

_Found = TypeVar("_Found")


class Doctor:
    """Runs checks in order and tells each as it ends."""

    def __init__(self, *, as_json: bool) -> None:
        """Tell as lines, or as one JSON object a line."""
        self._as_json = as_json
        self.exit_code = ExitCode.DONE
        """That of the first check that failed."""

    def check(
        self, name: str, probe: Callable[[], _Found], *, show: Callable[[_Found], str] = str
    ) -> _Found | None:
        """The result of a probe, or None when it failed with an error of this project."""
        try:
            found = probe()
        except SessionCancelledError:
            raise
        except CollaborationError as error:
            self._tell(name, passed=False, detail=str(error))
            self.exit_code = self.exit_code or spec_of(error).exit_code
            return None
        self._tell(name, passed=True, detail=show(found))
        return found

    def _tell(self, name: str, *, passed: bool, detail: str) -> None:
        if self._as_json:
            record: dict[str, Any] = {"type": "check", "name": name, "passed": passed}
            print_json(record | {"detail": clean_line(detail)})
        else:
            print_text(f"{'pass' if passed else 'FAIL'}  {name}: {clean_line(detail)}")


def package_is_ours() -> str:
    """Where the package `common` lies.

    Raises:
        UsageError: another project's package of that name is imported instead.
    """
    from common.models.registry import is_ours

    place = ", ".join(sys.modules["common"].__path__)
    if not is_ours():
        raise UsageError(
            f"the package `common` in {place} is another project's",
            remedy="Install goliath-david in a virtual environment of its own",
        )
    return place


def versions() -> str:
    """Versions that a report of a fault should name."""
    import platform
    from importlib.metadata import version

    names = ("goliath-david", "torch", "transformers", "grpcio", "protobuf")
    return ", ".join([f"python {platform.python_version()}", *(f"{n} {version(n)}" for n in names)])
