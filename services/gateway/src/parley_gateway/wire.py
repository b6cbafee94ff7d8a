"""Writing to sockets. uvicorn's protocol with two additions: fragments of a message are bounded in number, and several
frames are written with one system call, at once, without a task.

ASGI's ``send`` can neither say that a socket is full nor abort it, so :class:`Wire` speaks with the protocol itself;
server frames are unmasked and unfragmented, and so are a header and a payload (RFC 6455, 5.2).
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from parley_protocol.faults import CloseCode

MAX_FRAGMENTS = 4096
"""Fragments of one message; they are bounded in bytes too."""
LEAVE_BYTES = 65_536
"""A socket with more than this unwritten is not waited for when the gateway goes."""


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's own, with bounded fragments. ``send`` of its ASGI scope leads back here."""

    def handle_cont(self, event: Frame) -> None:
        """A message of endless small fragments ends with 1009."""
        if len(self.frames) < MAX_FRAGMENTS:
            super().handle_cont(event)
            return
        self.frames = []
        self.conn.fail(1009, "too many fragments")
        self.handle_parser_exception()

    def keepalive_timeout(self) -> None:
        """A peer that leaves a ping unanswered is told 4009, if it hears anything, and dropped."""
        self.pong_timer = None
        self.pending_ping_payload = None
        if self.close_sent or self.transport.is_closing():
            return
        self.conn.fail(CloseCode.NO_HEARTBEAT, "no answer to a ping")
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.close()
        self.loop.call_later(self.close_timeout, self.transport.abort)


def answered(send: Any) -> None:
    """A socket's request has been answered with plain HTTP: uvicorn would log that as an error of the application."""
    protocol = getattr(send, "__self__", None)
    if isinstance(protocol, WebSocketsSansIOProtocol):
        protocol.handshake_complete = True


class Binary(bytes):
    """A payload that is written as a binary frame, whatever the socket's frames are otherwise."""

    __slots__ = ()


class Wire:
    """One accepted socket."""

    __slots__ = ("_protocol", "_text")

    def __init__(self, send: Any, *, text: bool) -> None:
        protocol = getattr(send, "__self__", None)
        if not isinstance(protocol, WebSocketsSansIOProtocol):
            raise TypeError(
                "the gateway writes to uvicorn's sockets itself: serve it with python -m parley_gateway, or with "
                "uvicorn and its default --ws"
            )
        self._protocol = protocol
        self._text = text
        # Full as soon as the system takes no more: what has not been encoded yet is kept once for all sockets of a
        # turn, and is written as one frame later on. What has been is this socket's alone. (Not 0: TLS transports
        # would call an empty buffer full, and never say that it is empty.)
        protocol.transport.set_write_buffer_limits(high=1)

    @property
    def lost(self) -> bool:
        """Nothing can be written any more."""
        protocol = self._protocol
        return protocol.disconnected or protocol.close_sent or protocol.transport.is_closing()

    @property
    def writable(self) -> bool:
        """Whether the system has taken everything written so far."""
        return self._protocol.writable.is_set()

    def write(self, payloads: Iterable[bytes]) -> None:
        """Write one frame per payload. Does nothing on a lost socket."""
        if not self.lost:
            opcode = 0x81 if self._text else 0x82
            parts: list[bytes] = []
            for payload in payloads:
                kind = 0x82 if type(payload) is Binary else opcode
                parts += (_header(kind, len(payload)), payload)
            self._protocol.transport.write(b"".join(parts))

    async def drained(self) -> None:
        """Returns when the socket is writable again, or lost."""
        await self._protocol.writable.wait()

    async def close(self, code: int, reason: str, timeout_s: float) -> None:
        """Close with ``code``; abort where the client does not take it within ``timeout_s``."""
        if self.lost:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._protocol.send({"type": "websocket.close", "code": code, "reason": reason[:120]})
        except TimeoutError:
            self.abort()
        except Exception:
            # The peer went first, in one of the ways that the server has of saying so.
            self.abort()

    def leave(self, code: int, reason: str) -> None:
        """Close with ``code`` without waiting for anything; a socket with much unwritten, or closing already, is
        dropped.
        """
        protocol = self._protocol
        if self.lost or protocol.transport.get_write_buffer_size() > LEAVE_BYTES:
            self.abort()
            return
        protocol.conn.send_close(code, reason[:120])
        protocol.transport.write(b"".join(protocol.conn.data_to_send()))
        protocol.close_sent = True
        protocol.transport.close()

    def abort(self) -> None:
        """Drop the connection and what its buffer holds."""
        self._protocol.transport.abort()

    def release(self, timeout_s: float) -> None:
        """The endpoint has returned: a peer that takes no more of the buffer does not hold it for long."""
        transport = self._protocol.transport
        if transport.get_write_buffer_size() > 0:
            asyncio.get_running_loop().call_later(timeout_s, transport.abort)


def _header(opcode: int, size: int) -> bytes:
    if size < 126:
        return bytes((opcode, size))
    if size < 65_536:
        return bytes((opcode, 126)) + size.to_bytes(2, "big")
    return bytes((opcode, 127)) + size.to_bytes(8, "big")
