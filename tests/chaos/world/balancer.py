"""What stands before the gateways: each client has a door of its own, and each connection goes to a gateway that lives.

A client is told one address and comes back to it; which gateway it meets is decided here, by a seeded choice or as a
fault wants it. A door can also drop its client, or stop taking what the gateway sends, as a client that does not read.
"""

import asyncio
import random
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

CHUNK = 64 * 1024
SMALL = 4096
"""Receive buffer towards the gateway in bytes (the system doubles it): a stalled client is felt soon."""


@dataclass(frozen=True)
class Backend:
    """A gateway. ``alive``: whether new connections may be tried there."""

    name: str
    port: int
    alive: Callable[[], bool]


@dataclass(eq=False)
class Line:
    """One connection through a door."""

    gateway: str
    near: asyncio.StreamWriter
    far: asyncio.StreamWriter

    def drop(self) -> None:
        """Cut both sides, without a closing handshake of the WebSocket."""
        for writer in (self.near, self.far):
            writer.transport.abort()


@dataclass(eq=False)
class Door:
    """Where one client connects. ``avoid``: a gateway not to be chosen while another one answers."""

    client: str
    port: int = 0
    avoid: str = ""
    lines: list[Line] = field(default_factory=list)
    opened: int = 0
    reading: asyncio.Event = field(default_factory=asyncio.Event)
    server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def gateway(self) -> str:
        """The gateway of the newest connection, or ""."""
        return self.lines[-1].gateway if self.lines else ""

    def drop(self, *, elsewhere: bool = False) -> int:
        """Cut the client's connections; returns how many. ``elsewhere``: it comes back to another gateway."""
        if elsewhere and self.lines:
            self.avoid = self.gateway
        lines = tuple(self.lines)
        for line in lines:
            line.drop()
        return len(lines)

    def stall(self) -> None:
        """Take nothing more from the gateway, until :meth:`read`."""
        self.reading.clear()

    def read(self) -> None:
        """Take everything again."""
        self.reading.set()


class Balancer:
    """Doors to ``backends``; choices are drawn from ``seed``."""

    def __init__(self, backends: list[Backend], seed: int) -> None:
        self._backends = backends
        self._rng = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self.doors: dict[str, Door] = {}

    async def door(self, client: str) -> Door:
        """The door of ``client``, made at the first call."""
        if client in self.doors:
            return self.doors[client]
        door = Door(client)
        door.reading.set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._accept(door, reader, writer)

        door.server = await asyncio.start_server(accept, "127.0.0.1", 0)
        door.port = door.server.sockets[0].getsockname()[1]
        self.doors[client] = door
        return door

    async def close(self) -> None:
        """Close every door and connection."""
        for door in self.doors.values():
            if door.server is not None:
                door.server.close()
            door.drop()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _order(self, door: Door) -> list[Backend]:
        """Live gateways, the one to avoid last."""
        backends = [backend for backend in self._backends if backend.alive()]
        self._rng.shuffle(backends)
        return sorted(backends, key=lambda backend: backend.name == door.avoid)

    async def _accept(self, door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        line: Line | None = None
        try:
            found = await self._connect(door)
            if found is None:
                return
            backend, far_reader, far_writer = found
            line = Line(backend.name, writer, far_writer)
            door.lines.append(line)
            door.opened += 1
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, far_writer, None))
                both.create_task(_copy(far_reader, writer, door.reading))
        except asyncio.CancelledError:
            pass  # the run is over
        finally:
            if line is not None:
                door.lines.remove(line)
                line.far.transport.abort()
            writer.transport.abort()
            self._tasks.discard(task)

    async def _connect(self, door: Door) -> tuple[Backend, asyncio.StreamReader, asyncio.StreamWriter] | None:
        for backend in self._order(door):
            sock = socket.socket()
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            try:
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", backend.port))
                reader, writer = await asyncio.open_connection(sock=sock, limit=SMALL)
            except OSError:
                sock.close()
                continue
            return backend, reader, writer
        return None


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, may: asyncio.Event | None) -> None:
    """One direction, until it ends or either side is gone; then its far side is told the end."""
    with suppress(OSError, RuntimeError):
        while True:
            if may is not None:
                await may.wait()
            data = await reader.read(CHUNK)
            if not data:
                break
            writer.write(data)
            await writer.drain()
        writer.write_eof()
