"""What can be wrong with a message, and the codes that clients see."""

import enum


class FaultCode(enum.StrEnum):
    """``code`` of an ``error`` frame and of a failed turn. Clients switch on these; texts may change."""

    BAD_FRAME = "bad_frame"
    """Not valid JSON or MessagePack, a wrong type, or a missing field."""
    UNKNOWN_TYPE = "unknown_type"
    TOO_LARGE = "too_large"
    NO_HELLO = "no_hello"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    """Admission is closed for now: try again after ``retry_after_ms``."""
    CONFLICT = "conflict"
    """A different text under a turn id that was used before."""
    UNKNOWN_TURN = "unknown_turn"
    UNKNOWN_KB = "unknown_kb"
    INVALID = "invalid"
    """Well-formed, but a value is out of its range; the message names it."""
    GAP = "gap"
    """The resume window has passed or the position is not known."""
    EXPIRED = "expired"
    ABANDONED = "abandoned"
    """The turn was ended because no socket of its session followed it any more, see ``PARLEY_ABANDON_S``."""
    CANCELLED = "cancelled"
    FAILED = "failed"
    ENGINE_FAILED = "engine_failed"
    ENGINE_TIMEOUT = "engine_timeout"
    UNAVAILABLE = "unavailable"
    """A part that the request needs cannot be reached at present."""
    NO_SPEECH = "no_speech"
    """Nothing was heard in what was recorded: no turn was begun, and its id is free."""
    NOT_FOUND = "not_found"
    UNSUPPORTED = "unsupported"


RETRYABLE = frozenset(
    {
        FaultCode.RATE_LIMITED,
        FaultCode.OVERLOADED,
        FaultCode.EXPIRED,
        FaultCode.ABANDONED,
        FaultCode.ENGINE_FAILED,
        FaultCode.ENGINE_TIMEOUT,
        FaultCode.UNAVAILABLE,
    }
)
"""Codes after which the same request may succeed later."""


class ProtocolError(ValueError):
    """A message that cannot be taken. ``code`` says which kind of wrong; the text names the field and what to do."""

    def __init__(self, code: FaultCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class CloseCode(enum.IntEnum):
    """WebSocket close codes of ``/v1/connect``. The range tells a client what to do.

    4000 to 4099: reconnect with back-off and resume. 4100 to 4199: do not reconnect before something is changed.
    """

    DRAINING = 4001
    SLOW_CLIENT = 4008
    NO_HEARTBEAT = 4009
    OVERLOADED = 4013
    BAD_TOKEN = 4101
    NO_HELLO = 4108
    PROTOCOL_ERROR = 4109
    TOO_LARGE = 4110
    RATE = 4129

    @property
    def resumable(self) -> bool:
        """Whether a client should come back by itself."""
        return self < 4100
