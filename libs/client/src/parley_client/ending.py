"""Where the socket is, and what the end of a connection means: come back, when, or not at all."""

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import CloseCode

from parley_client.errors import ClientError, Disconnected

LONGEST_WAIT_S = 60.0
"""What a refused connection waits at most, whoever between here and the gateway says more."""

_USELESS_AGAIN = frozenset({1002, 1003, 1007, 1008, 1009, 1010})
"""Close codes of RFC 6455 that the same frames would bring about again."""


def socket_url(url: str) -> str:
    """``http://host`` and ``ws://host`` alike become the address of the socket."""
    address = url.rstrip("/")
    for web, ws in (("http://", "ws://"), ("https://", "wss://")):
        if address.startswith(web):
            address = ws + address.removeprefix(web)
    if not address.startswith(("ws://", "wss://")):
        raise ClientError(f"{url!r} is not an address; use for instance http://127.0.0.1:8000")
    return address if address.endswith("/v1/connect") else f"{address}/v1/connect"


def raise_if_final(error: Exception, max_frame: int) -> None:
    """Raises Disconnected where connecting again would end in the same way."""
    if isinstance(error, ConnectionClosed) and error.sent is not None and not error.rcvd_then_sent:
        if error.sent.code == CloseCode.MESSAGE_TOO_BIG:
            text = f"the server sent more than {max_frame} bytes at once; raise ClientOptions.max_frame"
            raise Disconnected(text, code=error.sent.code) from error
    elif isinstance(error, ConnectionClosed) and error.rcvd is not None and _is_final(error.rcvd.code):
        reason = error.rcvd.reason or f"code {error.rcvd.code}, no reason given"
        raise Disconnected(f"the server closed the connection: {reason}", code=error.rcvd.code) from error
    if isinstance(error, InvalidStatus) and error.response.status_code in (400, 401, 403, 404):
        body = bytes(error.response.body or b"").decode(errors="replace").strip()[:300]
        status = error.response.status_code
        raise Disconnected(f"the server refused the connection with HTTP {status}: {body}", code=status) from error


def named_wait_s(error: Exception) -> float | None:
    """How long a server without room for another socket said to wait, seconds; a minute at most."""
    if isinstance(error, InvalidStatus) and error.response.status_code in (429, 503):
        named = error.response.headers.get("Retry-After", "")
        if named.isdecimal():
            return min(float(named), LONGEST_WAIT_S)
    return None


def _is_final(code: int) -> bool:
    """Whether coming back would end in the same way."""
    return 4100 <= code <= 4199 or code in _USELESS_AGAIN


def reason_of(error: Exception) -> str:
    """In one line."""
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
