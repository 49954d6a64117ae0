"""What can go wrong between Goliath and David: one exception tree and one table.

    CollaborationError
      UsageError                    how the program was called or configured
      UnreachableError              nobody answers
        NotOurServerError           somebody else answers
        DrainingError               the server is shutting down
      TlsError                      the peers do not trust each other
      UnauthenticatedError          the server does not know who asks
      NotPermittedError             it knows, and says no
      LimitExceededError            more than the limits allow
        ServerFullError             no room now
      SessionNotFoundError          no such session, or it is forgotten
      IncompatibleError             the two sides do not fit
        VocabularyMismatchError
        ProtocolMismatchError
        ProcessMismatchError
        ModelMismatchError
        MissingFeatureError
        InvalidFrameError           a frame that breaks the contract
          StepOutOfRangeError
      OutOfTimeError                a clock ran out
        ContributionFailedError     a contribution that was needed did not come
      BadDataError                  input data that cannot be used
        BadFileError
          BadModelError
      OutputError                   standard output cannot be written
        ReaderGoneError             its reader has ended
      SessionCancelledError         the user ended it
      InternalError                 our bug

A message says what was expected and what came; a remedy says what to do. Importing this module
imports neither grpc nor torch.
"""

from dataclasses import dataclass
from enum import IntEnum

MAX_TEXT = 2000
"""Longest message and longest remedy taken from a peer, in bytes."""


class ExitCode(IntEnum):
    """Exit codes of both programs."""

    DONE = 0
    """All went well."""
    BUG = 1
    """A fault in this software."""
    USAGE = 2
    """Wrong usage or configuration."""
    UNREACHABLE = 3
    """The peer cannot be reached."""
    REFUSED = 4
    """Refused: identity, permission or limits."""
    INCOMPATIBLE = 5
    """Vocabulary, protocol or model do not fit."""
    OUT_OF_TIME = 6
    """A time limit ran out."""
    BAD_INPUT = 7
    """Input data, a file, a model folder or standard output cannot be used."""
    INTERRUPTED = 130
    """Interrupted by the user."""
    BROKEN_PIPE = 141
    """The reader of standard output has ended, as `head` does."""


class CollaborationError(Exception):
    """Base of all errors of this project; only its subclasses are raised."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        """Keep what happened (expected, actual) and what to do about it."""
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        """Message and remedy as one text."""
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


class UsageError(CollaborationError):
    """The program was called or configured in a way that cannot work."""


class UnreachableError(CollaborationError):
    """No answer came from the peer's address, or the connection broke."""


class NotOurServerError(UnreachableError):
    """Something answers at the address, but it is not a Goliath."""


class DrainingError(UnreachableError):
    """The server is shutting down and takes no new session."""


class TlsError(CollaborationError):
    """The secure connection failed: certificates, or one side without TLS."""


class UnauthenticatedError(CollaborationError):
    """The server needs to know who asks, and does not."""


class NotPermittedError(CollaborationError):
    """The server knows who asks, and this peer may not."""


class LimitExceededError(CollaborationError):
    """More was asked for, or sent, than the limits allow."""


class ServerFullError(LimitExceededError):
    """The server has no room for another session now."""


class SessionNotFoundError(CollaborationError):
    """The server does not know the session, or forgot it."""


class IncompatibleError(CollaborationError):
    """The two sides do not fit together."""


class VocabularyMismatchError(IncompatibleError):
    """The models use different vocabularies."""


class ProtocolMismatchError(IncompatibleError):
    """The two sides speak different versions of the wire contract."""


class ProcessMismatchError(IncompatibleError):
    """The models were trained for different diffusion processes."""


class ModelMismatchError(IncompatibleError):
    """The models do not work together for a reason of their own, such as the prompt's template."""


class MissingFeatureError(IncompatibleError):
    """A feature that one side needs is not there on the other."""


class InvalidFrameError(IncompatibleError):
    """A frame breaks the wire contract."""


class StepOutOfRangeError(InvalidFrameError):
    """A frame names a step that cannot be: ahead of the session, or beyond its end."""


class OutOfTimeError(CollaborationError):
    """A time limit ran out."""


class ContributionFailedError(OutOfTimeError):
    """A contribution that the late rule `fail` needs did not come within its budget."""


class BadDataError(CollaborationError):
    """Input data cannot be used: an empty prompt, one too long for the model, a broken record."""


class BadFileError(BadDataError):
    """A file is missing, unreadable or not what it should be."""


class BadModelError(BadFileError):
    """A model folder is missing, incomplete, damaged or of a foreign kind."""


class OutputError(CollaborationError):
    """Standard output is closed, or its disk is full."""


class ReaderGoneError(OutputError):
    """The reader of standard output has ended: nobody is left to write for."""


class SessionCancelledError(CollaborationError):
    """The user ended the session."""


class InternalError(CollaborationError):
    """A fault in this software."""


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """How one class of errors is reported to a peer and to a shell."""

    status: str
    """Name of the gRPC status code."""
    reason: str
    """Code for programs, UPPER_SNAKE, unique."""
    exit_code: ExitCode
    """Exit code of a program that ends with this error."""
    public: str | None = None
    """Fixed text for peers where the message may hold private things (paths, a user's text); None:
    the message is written for peers and sent as it is."""


_FAULT = "this side failed; its log says why"
_LOCAL = "this side could not read what it needs; its log says why"
_SETUP = "this side is not set up correctly; its log says why"

ERRORS: dict[type[CollaborationError], ErrorSpec] = {
    UsageError: ErrorSpec("INVALID_ARGUMENT", "USAGE", ExitCode.USAGE, _SETUP),
    UnreachableError: ErrorSpec("UNAVAILABLE", "UNREACHABLE", ExitCode.UNREACHABLE, _FAULT),
    NotOurServerError: ErrorSpec("UNIMPLEMENTED", "NOT_GOLIATH", ExitCode.UNREACHABLE, _FAULT),
    DrainingError: ErrorSpec("UNAVAILABLE", "DRAINING", ExitCode.UNREACHABLE),
    TlsError: ErrorSpec("UNAUTHENTICATED", "TLS", ExitCode.REFUSED, _SETUP),
    UnauthenticatedError: ErrorSpec("UNAUTHENTICATED", "UNAUTHENTICATED", ExitCode.REFUSED),
    NotPermittedError: ErrorSpec("PERMISSION_DENIED", "NOT_PERMITTED", ExitCode.REFUSED),
    LimitExceededError: ErrorSpec("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED", ExitCode.REFUSED),
    ServerFullError: ErrorSpec("RESOURCE_EXHAUSTED", "SERVER_FULL", ExitCode.REFUSED),
    SessionNotFoundError: ErrorSpec("NOT_FOUND", "SESSION_NOT_FOUND", ExitCode.REFUSED),
    IncompatibleError: ErrorSpec("FAILED_PRECONDITION", "INCOMPATIBLE", ExitCode.INCOMPATIBLE),
    VocabularyMismatchError: ErrorSpec(
        "FAILED_PRECONDITION", "VOCABULARY_MISMATCH", ExitCode.INCOMPATIBLE
    ),
    ProtocolMismatchError: ErrorSpec(
        "FAILED_PRECONDITION", "PROTOCOL_MISMATCH", ExitCode.INCOMPATIBLE
    ),
    ProcessMismatchError: ErrorSpec(
        "FAILED_PRECONDITION", "PROCESS_MISMATCH", ExitCode.INCOMPATIBLE
    ),
    ModelMismatchError: ErrorSpec("FAILED_PRECONDITION", "MODEL_MISMATCH", ExitCode.INCOMPATIBLE),
    MissingFeatureError: ErrorSpec("FAILED_PRECONDITION", "MISSING_FEATURE", ExitCode.INCOMPATIBLE),
    InvalidFrameError: ErrorSpec("INVALID_ARGUMENT", "INVALID_FRAME", ExitCode.INCOMPATIBLE),
    StepOutOfRangeError: ErrorSpec("OUT_OF_RANGE", "STEP_OUT_OF_RANGE", ExitCode.INCOMPATIBLE),
    OutOfTimeError: ErrorSpec("DEADLINE_EXCEEDED", "OUT_OF_TIME", ExitCode.OUT_OF_TIME),
    ContributionFailedError: ErrorSpec("ABORTED", "CONTRIBUTION_FAILED", ExitCode.OUT_OF_TIME),
    BadDataError: ErrorSpec("INVALID_ARGUMENT", "BAD_DATA", ExitCode.BAD_INPUT),
    BadFileError: ErrorSpec("FAILED_PRECONDITION", "BAD_FILE", ExitCode.BAD_INPUT, _LOCAL),
    BadModelError: ErrorSpec("FAILED_PRECONDITION", "BAD_MODEL", ExitCode.BAD_INPUT, _LOCAL),
    OutputError: ErrorSpec("ABORTED", "OUTPUT", ExitCode.BAD_INPUT, _FAULT),
    ReaderGoneError: ErrorSpec("ABORTED", "READER_GONE", ExitCode.BROKEN_PIPE, _FAULT),
    SessionCancelledError: ErrorSpec("CANCELLED", "CANCELLED", ExitCode.INTERRUPTED),
    InternalError: ErrorSpec("INTERNAL", "INTERNAL", ExitCode.BUG, _FAULT),
}
"""Every class of the tree but its base, and how it is reported."""

_BY_REASON = {spec.reason: error for error, spec in ERRORS.items()}


def spec_of(error: CollaborationError) -> ErrorSpec:
    """The table's row for an error; that of `InternalError` for one that is not in the table."""
    return ERRORS.get(type(error), ERRORS[InternalError])


def public_text(error: CollaborationError) -> tuple[str, str]:
    """Message and remedy that a peer may see."""
    spec = spec_of(error)
    if spec.public is not None:
        return spec.public, ""
    return clean_text(error.message), clean_text(error.remedy)


def clean_text(text: str) -> str:
    """A text fit for a terminal and a log: no control characters, at most MAX_TEXT bytes."""
    # A character has at least one byte: cutting first bounds the work on a huge text.
    shown = "".join(char if char.isprintable() else " " for char in text[:MAX_TEXT])
    return shown.encode("utf-8", "replace")[:MAX_TEXT].decode("utf-8", "ignore")


def error_from_reason(reason: str, message: str, *, remedy: str = "") -> CollaborationError:
    """The exception for a reason code that a peer sent; texts are cleaned.

    An unknown code becomes an `InternalError`, which says so: a peer that fails in a way that this
    version has no word for.
    """
    error = _BY_REASON.get(reason)
    if error is None:
        return InternalError(
            f"the peer failed for a reason unknown here, {clean_text(reason)[:64]!r}: "
            f"{clean_text(message)}",
            remedy=clean_text(remedy),
        )
    return error(clean_text(message), remedy=clean_text(remedy))
