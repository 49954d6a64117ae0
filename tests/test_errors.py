"""The error tree and its table: complete, unambiguous, and safe to show to a peer."""

import subprocess
import sys
from collections.abc import Iterator

import grpc
import pytest

from common import errors
from common.errors import (
    ERRORS,
    MAX_TEXT,
    BadModelError,
    CollaborationError,
    ExitCode,
    InternalError,
    OutOfTimeError,
    clean_text,
    error_from_reason,
    public_text,
    spec_of,
)


def tree(root: type[CollaborationError]) -> Iterator[type[CollaborationError]]:
    for child in root.__subclasses__():
        yield child
        yield from tree(child)


def test_the_table_has_every_class_and_no_other() -> None:
    assert set(ERRORS) == set(tree(CollaborationError))


def test_the_docstring_draws_every_class() -> None:
    assert errors.__doc__ is not None
    drawn = {word for word in errors.__doc__.split() if word.endswith("Error")}
    assert drawn - {"CollaborationError"} == {error.__name__ for error in ERRORS}


def test_reasons_are_unique() -> None:
    reasons = [spec.reason for spec in ERRORS.values()]
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_statuses_exist_and_reasons_lead_back(error: type[CollaborationError]) -> None:
    spec = ERRORS[error]
    assert spec.status in grpc.StatusCode.__members__
    assert spec.status != "OK"
    back = error_from_reason(spec.reason, "what", remedy="do")
    assert type(back) is error
    assert (back.message, back.remedy) == ("what", "do")
    assert spec_of(back) is spec


def test_every_failing_exit_code_is_used() -> None:
    assert {spec.exit_code for spec in ERRORS.values()} == set(ExitCode) - {ExitCode.DONE}


def test_private_messages_stay_private() -> None:
    error = BadModelError("/home/someone/model is missing", remedy="look in /home/someone")
    assert "someone" not in "".join(public_text(error))
    assert public_text(OutOfTimeError("5 s passed", remedy="wait")) == ("5 s passed", "wait")


def test_an_unknown_reason_is_told_as_such() -> None:
    error = error_from_reason("FROM_\x1b[31mTHE_FUTURE", "oh\n", remedy="upgrade\x00")
    assert type(error) is InternalError
    assert "FROM_ [31mTHE_FUTURE" in error.message
    assert error.remedy == "upgrade "


def test_texts_are_bounded_and_clean() -> None:
    assert clean_text("a\x1b[2J\r\nb\u202ec") == "a [2J  b c"
    assert len(clean_text("é" * 10**6).encode()) <= MAX_TEXT


def test_the_text_of_an_error_says_what_to_do() -> None:
    assert str(OutOfTimeError("late", remedy="Wait longer")) == "late. Wait longer"
    assert str(OutOfTimeError("late")) == "late"


def test_importing_it_is_cheap() -> None:
    code = "import sys, common.errors; print({'grpc', 'torch', 'numpy'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
