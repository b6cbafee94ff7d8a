"""Errors as this protocol says them. Pure."""

from parley_protocol.faults import FaultCode, ProtocolError

INVALID = "invalid_request_error"
SERVER = "server_error"

KINDS = {
    FaultCode.UNAUTHORIZED: "authentication_error",
    FaultCode.FORBIDDEN: "permission_error",
    FaultCode.RATE_LIMITED: "rate_limit_error",
    FaultCode.OVERLOADED: "rate_limit_error",
    FaultCode.UNAVAILABLE: SERVER,
    FaultCode.EXPIRED: SERVER,
    FaultCode.FAILED: SERVER,
    FaultCode.ENGINE_FAILED: SERVER,
    FaultCode.ABANDONED: SERVER,
}
"""``error.type`` of codes that are not the client's doing."""


class Unfit(ProtocolError):
    """An event that cannot be taken; nothing has changed. ``param`` names the field, as a path from the event."""

    def __init__(self, message: str, *, word: str = "invalid_value", param: str | None = None) -> None:
        super().__init__(FaultCode.BAD_FRAME, message)
        self.word = word
        self.param = param


def kind_of(code: FaultCode) -> str:
    """``error.type`` for one of Parley's own codes."""
    return KINDS.get(code, INVALID)
