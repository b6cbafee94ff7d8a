"""What waits to be written to one socket, and the one pass per loop turn that writes it.

An idle socket costs no task and no buffer. Frames without ``seq`` are kept encoded and bounded in bytes; answer text is
not kept at all: views write it from the turn's one text when the socket has room, so a slow client gets fewer, longer
deltas.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from parley_gateway.core.view import View
from parley_gateway.wire import Binary, Wire
from parley_protocol.codec import encode_json, encode_pack
from parley_protocol.faults import CloseCode
from parley_runtime.telemetry.logging import get_logger

log = get_logger("parley.socket")

CHUNK = 65_536
"""Bytes handed to the socket before asking again whether it has room."""


class Flusher:
    """Runs ``flush`` of every outbox with something to write, once per turn of the loop."""

    def __init__(self) -> None:
        self._dirty: list[Outbox] = []
        self._loop = asyncio.get_running_loop()

    def add(self, outbox: "Outbox") -> None:
        """Flush the outbox after everything that is ready now has run."""
        if not self._dirty:
            self._loop.call_soon(self._run)
        self._dirty.append(outbox)

    def _run(self) -> None:
        dirty, self._dirty = self._dirty, []
        for outbox in dirty:
            try:
                outbox.flush()
            except Exception:  # the sockets behind it would never be written again
                log.exception("socket could not be written on a defect; dropped, its client may resume")
                outbox.wire.abort()


def encode_text(frame: Any) -> bytes:
    """A frame as the bytes of a JSON text frame."""
    return encode_json(frame).encode()


class Outbox:
    """The sink of a socket. ``on_slow(code, reason)`` is called once when the client is too slow to keep."""

    __slots__ = (
        "_bytes",
        "_control",
        "_dirty",
        "_encode",
        "_flusher",
        "_limit",
        "_on_slow",
        "_stall",
        "_views",
        "frames",
        "send_s",
        "wire",
    )

    def __init__(
        self,
        wire: Wire,
        flusher: Flusher,
        *,
        text: bool,
        limit: int,
        send_s: float,
        on_slow: Callable[[CloseCode, str], None],
    ) -> None:
        self.wire = wire
        self.send_s = send_s
        self.frames = 0
        self._encode = encode_text if text else encode_pack
        self._flusher = flusher
        self._limit = limit
        self._on_slow = on_slow
        self._control: list[bytes] | None = None
        self._bytes = 0
        self._views: list[View] | None = None
        self._dirty = False
        self._stall: asyncio.Task[None] | None = None

    def push(self, frame: Any) -> int:
        """Queue a frame without ``seq``; it goes before what views have to write. Returns its bytes."""
        return self._keep(self._encode(frame))

    def push_audio(self, payload: Binary) -> None:
        """Queue a binary frame, in order with those of :meth:`push` and within the same bound."""
        self._keep(payload)

    def _keep(self, payload: bytes) -> int:
        if self._bytes + len(payload) > self._limit:
            self._on_slow(CloseCode.SLOW_CLIENT, "more waits for this client than it may; reconnect and resume")
            return len(payload)
        if self._control is None:
            self._control = []
        self._control.append(payload)
        self._bytes += len(payload)
        self._mark()
        return len(payload)

    def touch(self, view: View) -> None:
        """Queue a view, once; one whose turn waits for an older one is touched again when its time has come."""
        if not view.queued and not view.turn.waits:
            view.queued = True
            if self._views is None:
                self._views = []
            self._views.append(view)
            self._mark()

    def drop(self) -> None:
        """The socket is gone: keep nothing, not even the way back to its connection."""
        self._control = self._views = None
        self._on_slow = _ignore
        if self._stall is not None:
            self._stall.cancel()

    @property
    def empty(self) -> bool:
        """Whether everything has been handed to the socket."""
        return not self._control and not self._views

    @property
    def stalled(self) -> bool:
        """Whether the client takes nothing at present: what is pushed is kept."""
        return self._stall is not None

    def _mark(self) -> None:
        if not self._dirty and self._stall is None:
            self._dirty = True
            self._flusher.add(self)

    def flush(self) -> None:
        """Write what there is while the socket has room; wait for room in a task of its own."""
        self._dirty = False
        wire = self.wire
        while not wire.lost:
            if not wire.writable:
                if self._stall is None:
                    self._stall = asyncio.create_task(self._wait(), name="stalled socket")
                return
            payloads = self._next()
            if not payloads:
                return
            self.frames += len(payloads)
            wire.write(payloads)

    def _next(self) -> list[bytes]:
        """About ``CHUNK`` bytes of frames."""
        payloads, size = self._control or [], self._bytes
        self._control, self._bytes = None, 0
        views = self._views
        while views and size < CHUNK:
            frame = views[0].next_frame()
            if frame is None:
                views.pop(0).queued = False
                continue
            payload = self._encode(frame)
            payloads.append(payload)
            size += len(payload)
        if not views:
            self._views = None
        return payloads

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self.send_s):
                await self.wire.drained()
        except TimeoutError:
            self._on_slow(CloseCode.SLOW_CLIENT, "the client takes nothing")
            return
        finally:
            self._stall = None
        self._flusher.add(self)
        self._dirty = True


def _ignore(code: CloseCode, reason: str) -> None:
    """Nobody is left to be told."""
