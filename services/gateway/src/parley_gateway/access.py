"""Who an HTTP request comes from."""

from starlette.requests import HTTPConnection

from parley_gateway.auth import credential
from parley_gateway.hub import Hub
from parley_gateway.identity import Identity
from parley_protocol.faults import FaultCode


async def identify(hub: Hub, request: HTTPConnection) -> Identity:
    """The identity of the request's token (Authorization or ``?token=``); anonymous where none is needed.

    Raises:
        ProtocolError: ``unauthorized``: answer 401 with its message.
    """
    token = credential(request.headers, [], request.scope.get("query_string", b""))
    return await hub.auth.identify(token)


HTTP_STATUS: dict[FaultCode, int] = {
    FaultCode.BAD_FRAME: 400,
    FaultCode.INVALID: 400,
    FaultCode.UNAUTHORIZED: 401,
    FaultCode.FORBIDDEN: 403,
    FaultCode.NOT_FOUND: 404,
    FaultCode.UNKNOWN_KB: 404,
    FaultCode.UNKNOWN_TURN: 404,
    FaultCode.CONFLICT: 409,
    FaultCode.TOO_LARGE: 413,
    FaultCode.RATE_LIMITED: 429,
    FaultCode.FAILED: 500,
    FaultCode.ENGINE_FAILED: 502,
    FaultCode.OVERLOADED: 503,
    FaultCode.UNAVAILABLE: 503,
    FaultCode.EXPIRED: 504,
}
"""Status of each code an HTTP answer may carry; others are 500."""
