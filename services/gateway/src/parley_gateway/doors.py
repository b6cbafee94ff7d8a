"""Who is let in: the checks before a socket is accepted, the same for every dialect."""

import math
from typing import Any

from parley_gateway.hub import Hub
from parley_gateway.wire import answered
from parley_protocol.client import SUBPROTOCOL_JSON, SUBPROTOCOLS_BEARER
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

log = get_logger("parley.socket")

GOING = "this gateway is going away; reconnect and resume"

Scope = dict[str, Any]


def refusal(hub: Hub, dialect: str, scope: Scope) -> tuple[int, str, dict[str, str]] | None:
    """(HTTP status, text, headers) where no socket is opened; None where one may be."""
    client = scope.get("client")
    if hub.draining:
        counter(names.CONNECTS).labels(dialect, "draining").inc()
        return 503, "this gateway is going away; connect again\n", {"retry-after": "1"}
    wait_s = hub.addresses.take(client[0] if client else "", hub.now())
    if wait_s:
        counter(names.CONNECTS).labels(dialect, "rate").inc()
        log.warning("connect refused", dialect=dialect, reason="rate", setting="PARLEY_CONNECT_RATE")
        text = "too many connects from this address; see PARLEY_CONNECT_RATE and PARLEY_CONNECT_BURST\n"
        return 429, text, {"retry-after": str(int(wait_s) + 1)}
    if len(hub.connections) >= hub.settings.limits.max_sockets:
        counter(names.CONNECTS).labels(dialect, "full").inc()
        counter(names.REFUSED).labels("sockets").inc()
        wait = str(math.ceil(hub.admission.next_slot_s(hub.now())))
        log.warning("connect refused", dialect=dialect, reason="full", setting="PARLEY_MAX_SOCKETS", retry_after_s=wait)
        return 503, "this gateway has as many sockets as it may; connect again later\n", {"retry-after": wait}
    return None


async def deny(send: Any, status: int, text: str, headers: dict[str, str]) -> None:
    """Answer a socket's request with plain HTTP."""
    pairs = [(b"content-type", b"text/plain; charset=utf-8")]
    pairs += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "websocket.http.response.start", "status": status, "headers": pairs})
    await send({"type": "websocket.http.response.body", "body": text.encode()})
    answered(send)


def chosen_subprotocol(offered: list[str]) -> str | None:
    """For a dialect of text frames: a browser that offers any drops a socket for which none is chosen. A token is
    said back only where the client has offered nothing else.
    """
    plain = [name for name in offered if not name.startswith(SUBPROTOCOLS_BEARER)]
    if SUBPROTOCOL_JSON in plain:
        return SUBPROTOCOL_JSON
    return next(iter(plain or offered), None)


def header_map(scope: Scope) -> dict[str, str]:
    """The request's headers; of a repeated one the last."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
