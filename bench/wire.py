"""A WebSocket client that costs next to nothing: counts what arrives, so that the servers are what is measured."""

import asyncio
import base64
import os
import struct
from collections.abc import Callable
from typing import cast

MARK = b"~"
"""Ends every benchmark token; no position, id or JSON syntax holds it."""

OnFrame = Callable[[bytes], None]


class Socket(asyncio.Protocol):
    """One connection. Frames are handed to ``on_frame`` while it is set; afterwards only counted."""

    def __init__(self) -> None:
        self.frames = 0
        self.tokens = 0
        self.on_frame: OnFrame | None = None
        self.on_bytes: OnFrame | None = None
        """Binary frames, where they are of another kind than text; None: they are taken as text is."""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = asyncio.Event()
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("closed during the handshake"))

    def send(self, text: str) -> None:
        """One masked text frame."""
        payload = text.encode()
        head = bytearray([0x81])
        if len(payload) < 126:
            head.append(0x80 | len(payload))
        else:
            head += bytes([0x80 | 126]) + struct.pack("!H", len(payload))
        mask = os.urandom(4)
        assert self._transport is not None
        self._transport.write(bytes(head) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload)))

    def send_bytes(self, data: bytes) -> None:
        """One binary frame, masked with zeros: a mask of any value is one, and this one costs nothing."""
        head = bytearray([0x82])
        if len(data) < 126:
            head.append(0x80 | len(data))
        else:
            head += bytes([0x80 | 126]) + struct.pack("!H", len(data))
        assert self._transport is not None
        self._transport.write(bytes(head) + bytes(4) + data)

    def handshake(self, host: str, port: int, path: str) -> None:
        """Ask for the upgrade."""
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            f"GET {path} HTTP/1.1",
            f"Host: {host}:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            "",
            "",
        )
        assert self._transport is not None
        self._transport.write("\r\n".join(lines).encode())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.opened.done():
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            status = bytes(self._buffer[:12])
            if not status.endswith(b"101"):
                self.opened.set_exception(ConnectionError(bytes(self._buffer[:200]).decode(errors="replace")))
                return
            del self._buffer[: end + 4]
            self.opened.set_result(None)
        self._frames()

    def _frames(self) -> None:
        buffer = self._buffer
        start, size = 0, len(buffer)
        while size - start >= 2:
            length, head = buffer[start + 1] & 0x7F, 2
            if length == 126:
                if size - start < 4:
                    break
                length, head = (buffer[start + 2] << 8) | buffer[start + 3], 4
            elif length == 127:
                if size - start < 10:
                    break
                length, head = int.from_bytes(buffer[start + 2 : start + 10], "big"), 10
            end = start + head + length
            if end > size:
                break
            self._one(buffer[start] & 0x0F, buffer, start + head, end)
            start = end
        if start:
            del buffer[:start]

    def _one(self, opcode: int, buffer: bytearray, start: int, end: int) -> None:
        if opcode == 9:
            mask = os.urandom(4)
            payload = bytes(b ^ mask[i % 4] for i, b in enumerate(buffer[start:end]))
            assert self._transport is not None
            self._transport.write(bytes([0x8A, 0x80 | len(payload)]) + mask + payload)
            return
        self.frames += 1
        self.tokens += buffer.count(MARK, start, end)
        take = self.on_bytes if opcode == 2 and self.on_bytes is not None else self.on_frame
        if take is not None:
            take(bytes(buffer[start:end]))

    def pause(self) -> None:
        """Read nothing more."""
        assert self._transport is not None
        self._transport.pause_reading()

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()


async def open_socket(port: int, path: str, host: str = "127.0.0.1") -> Socket:
    """A connection whose handshake is done. Raises ConnectionError."""
    loop = asyncio.get_running_loop()
    _, socket = await loop.create_connection(Socket, host, port)
    socket.handshake(host, port, path)
    await asyncio.wait_for(socket.opened, 30)
    return socket
