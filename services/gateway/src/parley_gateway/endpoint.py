"""``WS /v1/connect`` as a plain ASGI application: admission, accept, the receive loop."""

from typing import Any

from parley_gateway.auth import credential
from parley_gateway.connection import Connection
from parley_gateway.doors import Scope, deny, header_map, refusal
from parley_gateway.greeting import DIALECT
from parley_gateway.hub import Hub
from parley_gateway.wire import Wire
from parley_protocol.client import SUBPROTOCOL_BEARER, SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK, Draining
from parley_protocol.faults import CloseCode, FaultCode, ProtocolError
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter, gauge

log = get_logger("parley.socket")


class Endpoint:
    """Takes sockets for the hub. One task per socket, uvicorn's own; it waits for frames and nothing else."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        await receive()
        refused = refusal(self._hub, DIALECT, scope)
        if refused is not None:
            await deny(send, *refused)
            return
        offered: list[str] = scope.get("subprotocols", [])
        chosen = next((name for name in offered if name in (SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK)), None)
        if chosen is None and any(name.startswith(SUBPROTOCOL_BEARER) for name in offered):
            chosen = SUBPROTOCOL_JSON
        await send({"type": "websocket.accept", "subprotocol": chosen})
        text = chosen != SUBPROTOCOL_MSGPACK
        wire = Wire(send, text=text)
        token = credential(header_map(scope), offered, scope.get("query_string", b""))
        connection = Connection(self._hub, wire, token, text=text)
        await self._serve(connection, receive)

    async def _serve(self, connection: Connection, receive: Any) -> None:
        hub, key = self._hub, id(connection)
        hub.connections[key] = connection
        counter(names.CONNECTS).labels(DIALECT, "accepted").inc()
        gauge(names.CONNECTIONS).labels(DIALECT).inc()
        code = 1006
        if hub.draining:  # it was let in just before
            connection.news(Draining(reconnect_in_ms=int(hub.admission.elsewhere_s() * 1000)))
            connection.go()
        try:
            while True:
                message = await receive()
                if message["type"] == "websocket.disconnect":
                    code = message.get("code") or 1005
                    return
                data = message.get("text")
                await connection.on_message(data if data is not None else message["bytes"])
        finally:
            del hub.connections[key]
            hub.left.set()
            connection.gone()
            connection.wire.release(hub.settings.limits.send_s)
            self._closed(connection, connection.closing or code)

    def _closed(self, connection: Connection, code: int) -> None:
        counter(names.CLOSES).labels(DIALECT, str(code)).inc()
        counter(names.FRAMES_OUT).labels(DIALECT).inc(connection.outbox.frames)
        gauge(names.CONNECTIONS).labels(DIALECT).dec()
        session = connection.session
        log.info(
            "socket closed",
            dialect=DIALECT,
            session=session.id[:8] if session is not None else "",
            code=code,
            frames=connection.outbox.frames,
            seconds=round(self._hub.now() - connection.opened_at, 3),
        )


def expire_hellos(hub: Hub, now: float) -> None:
    """Close sockets that have not said hello in time. Sockets are in order of opening."""
    for connection in list(hub.connections.values()):
        if now - connection.opened_at < hub.settings.limits.hello_s:
            return
        if isinstance(connection, Connection) and connection.identity is None and not connection.closing:
            text = "hello did not come in time; connect again and say hello first"
            connection.refuse(ProtocolError(FaultCode.NO_HELLO, text))
            connection.close(CloseCode.NO_HELLO, text)
