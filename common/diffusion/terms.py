"""Words of the method that both sides and the wire share; importing this imports no torch."""

from enum import IntEnum, StrEnum


class SelfConditioning(StrEnum):
    """Whose last prediction a model conditions on, beside the state."""

    OWN = "own"
    ESTIMATE = "estimate"
    FUSED = "fused"


class Decider(IntEnum):
    """Whose first choice the token of a position was; a byte on the wire."""

    CORE = 1
    DAVID = 2
    BOTH = 3
    NEITHER = 4


class FinishReason(StrEnum):
    """Why an answer ended."""

    END_TOKEN = "end_token"
    MAX_TOKENS = "max_tokens"
    CLIENT_FINISHED = "client_finished"
    DRAINING = "draining"
