"""A documented dialect on a socket: the shell that is the same for all of them.

A client may send before it has read anything: its frames are handled after the greeting, in order. Close codes are the
standard ones: 1001 this gateway goes away, 1008 refused, 1009 far too large, 1013 slow, or to be tried later.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from parley_gateway.auth import credential
from parley_gateway.dialects.dialect import Dialect, Speaker
from parley_gateway.doors import Scope, chosen_subprotocol, deny, header_map, refusal
from parley_gateway.hub import Hub
from parley_gateway.identity import ANONYMOUS, Identity
from parley_gateway.limits import Bucket, exceeds
from parley_gateway.outbox import Outbox
from parley_gateway.sockets import News
from parley_gateway.wire import Wire
from parley_protocol.faults import FaultCode, ProtocolError
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter, gauge

log = get_logger("parley.dialect")

AWAY, POLICY, SLOW = 1001, 1008, 1013
MAX_FRAME = 900 * 1024
"""Bytes of a frame to a client, and what may wait beyond ``PARLEY_OUTBOX``: client libraries refuse more than 1 MiB."""
GOING = "server going away"
_NONE: frozenset[str] = frozenset()


class DialectSocket:
    """One socket. Dialects write with :meth:`send` and end it with :meth:`close`."""

    __slots__ = ("_bucket", "_closing", "_name", "hub", "identity", "opened_at", "outbox", "scope", "speaker", "wire")

    def __init__(self, hub: Hub, name: str, wire: Wire, scope: Scope) -> None:
        limits = hub.settings.limits
        self.hub = hub
        self.wire = wire
        self.scope = scope
        self.identity: Identity = ANONYMOUS
        self.speaker: Speaker | None = None
        self.opened_at = hub.now()
        self._name = name
        self._closing = 0
        self._bucket = Bucket(limits.message_rate, limits.message_burst, hub.now())
        self.outbox = Outbox(
            wire,
            hub.flusher,
            text=True,
            limit=limits.outbox + MAX_FRAME,
            send_s=limits.send_s,
            on_slow=lambda _, reason: self.close(SLOW, reason),
        )

    @property
    def closing(self) -> int:
        """The close code once the socket is being closed; 0 before."""
        return self._closing

    def send(self, kind: str, frame: Any) -> None:
        """Write a frame after those before it. ``kind`` names it in the log, which never holds its text."""
        if self._closing:
            log.info("reply not sent: its socket is being closed", dialect=self._name, socket=self.label, kind=kind)
            return
        size = self.outbox.push(frame)
        if kind not in self._quiet:
            log.info("reply", dialect=self._name, socket=self.label, kind=kind, bytes=size)

    @property
    def _quiet(self) -> frozenset[str]:
        quiet: frozenset[str] = getattr(self.speaker, "quiet", _NONE)
        return quiet

    async def room(self) -> None:
        """Returns when the socket has taken what was sent, or is lost: what is sent meanwhile would only wait."""
        while not self.wire.lost and not self._closing:
            if not self.wire.writable:
                await self.wire.drained()
            elif not self.outbox.empty:
                await asyncio.sleep(0)  # it is written at the end of the loop's turn
            else:
                return

    def close(self, code: int, reason: str) -> None:
        """Close after what waits has been written; the first code counts."""
        if not self._closing:
            self._closing = code
            self.hub.spawn(self._close(code, reason))

    @property
    def label(self) -> str:
        """What the log calls this socket."""
        return f"{id(self) & 0xFFFFFF:06x}"

    # --- what drain and broker news need ----------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        return not self.outbox.empty or (self.speaker is not None and self.speaker.busy)

    def news(self, news: News) -> None:
        """These dialects have no words for it."""

    def go(self) -> None:
        self.close(AWAY, GOING)

    def go_now(self) -> None:
        self.outbox.flush()
        self.wire.leave(AWAY, GOING)

    # --- messages ---------------------------------------------------------------------------------------------

    async def on_message(self, data: str | bytes) -> None:
        """One message of the client. Never raises: what is wrong with it is answered in the dialect's words."""
        speaker = self.speaker
        if self._closing or speaker is None:
            return
        begun = self.hub.now()
        outcome = "taken"
        try:
            admit(
                data,
                getattr(speaker, "max_message", self.hub.settings.limits.max_message),
                getattr(speaker, "bucket", self._bucket),
                begun,
            )
            await speaker.hear(data)
        except ProtocolError as error:
            outcome = error.code.value
            counter(names.FRAME_ERRORS).labels(self._name, outcome).inc()
            speaker.refuse(error)
        except Exception:
            outcome = FaultCode.FAILED.value
            log.exception("message failed on a defect", dialect=self._name)
            speaker.refuse(ProtocolError(FaultCode.FAILED, "this message could not be worked on; try again"))
        kind = getattr(speaker, "kind", "") or ("text" if isinstance(data, str) else "binary")
        counter(names.FRAMES_IN).labels(self._name, kind).inc()
        if outcome == "taken" and kind in self._quiet:
            return
        milliseconds = round((self.hub.now() - begun) * 1000, 2)
        # A stream of audio is many frames of one thing.
        say = log.debug if kind == "audio" and outcome == "taken" else log.info
        say("message", dialect=self._name, socket=self.label, bytes=len(data), outcome=outcome, ms=milliseconds)

    def gone(self) -> None:
        """The socket is lost."""
        self.outbox.drop()
        if self.speaker is not None:
            self.speaker.gone()

    async def _close(self, code: int, reason: str) -> None:
        if code != SLOW:
            self.outbox.flush()
        await self.wire.close(code, reason, 1.0 if code == SLOW else self.hub.settings.limits.send_s)


def admit(data: str | bytes, limit: int, bucket: Bucket, now: float) -> None:
    """Raises ProtocolError ``too_large`` or ``rate_limited``."""
    if exceeds(data, limit):
        raise ProtocolError(FaultCode.TOO_LARGE, f"a message may have {limit} bytes; this one was dropped")
    if not bucket.take(now):
        raise ProtocolError(FaultCode.RATE_LIMITED, "messages come faster than they may; slow down")


class DialectEndpoint:
    """The ASGI application of one dialect."""

    def __init__(self, hub: Hub, dialect: Dialect) -> None:
        self._hub = hub
        self._dialect = dialect

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        hub, name = self._hub, self._dialect.name
        await receive()
        refused = refusal(hub, name, scope)
        if refused is not None:
            await deny(send, *refused)
            return
        await send({"type": "websocket.accept", "subprotocol": chosen_subprotocol(scope.get("subprotocols", []))})
        socket = DialectSocket(hub, name, Wire(send, text=True), scope)
        hub.connections[id(socket)] = socket
        counter(names.CONNECTS).labels(name, "accepted").inc()
        gauge(names.CONNECTIONS).labels(name).inc()
        code = 1006
        try:
            await self._greet(socket, scope.get("path_params", {}))
            while True:
                message = await receive()
                if message["type"] == "websocket.disconnect":
                    code = message.get("code") or 1005
                    return
                data = message.get("text")
                await socket.on_message(data if data is not None else message["bytes"])
        finally:
            del hub.connections[id(socket)]
            hub.left.set()
            hub.count_identity(socket.identity, -1)
            socket.gone()
            socket.wire.release(hub.settings.limits.send_s)
            self._closed(socket, socket.closing or code)

    async def _greet(self, socket: DialectSocket, parameters: Mapping[str, str]) -> None:
        """Let the client in, or tell it why not and close."""
        dialect = self._dialect
        try:
            socket.identity = await self._identity(socket.scope)
            self._hub.admit_identity(socket.identity)
            socket.speaker = await dialect.open(socket, parameters)
        except ProtocolError as error:
            counter(names.FRAME_ERRORS).labels(dialect.name, error.code.value).inc()
            log.info("socket refused", dialect=dialect.name, code=error.code.value)
            socket.send("error", dialect.error(error))
            socket.outbox.flush()
            later = error.code in (FaultCode.UNAVAILABLE, FaultCode.OVERLOADED)
            socket.close(SLOW if later else POLICY, error.code.value)
            return
        log.info("socket opened", dialect=dialect.name, socket=socket.label)
        socket.speaker.greet()
        if self._hub.draining:  # it was let in just before
            socket.go()

    async def _identity(self, scope: Scope) -> Identity:
        """Who asks. Nobody is asked for a token where the dialect is open or checks its own."""
        system = self._dialect.system
        if system is None or system in self._hub.settings.access.open_dialects:
            return ANONYMOUS
        token = credential(header_map(scope), scope.get("subprotocols", []), scope.get("query_string", b""))
        return await self._hub.auth.identify(token)

    def _closed(self, socket: DialectSocket, code: int) -> None:
        name = self._dialect.name
        counter(names.CLOSES).labels(name, str(code)).inc()
        counter(names.FRAMES_OUT).labels(name).inc(socket.outbox.frames)
        gauge(names.CONNECTIONS).labels(name).dec()
        seconds = round(self._hub.now() - socket.opened_at, 3)
        log.info(
            "socket closed",
            dialect=name,
            socket=socket.label,
            code=code,
            frames=socket.outbox.frames,
            seconds=seconds,
        )
