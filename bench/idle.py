"""What a connection costs: resident memory of the gateway at 5,000 idle sockets, and broker operations per connect."""

import asyncio
import resource
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from bench.stack import Started, answering, free_port, rss, stack
from bench.throughput import parley_env, peer_gateway, peer_sockets
from bench.wire import Socket, open_socket

CONNECTIONS = 5000
WARM = 100
"""Connections opened and closed first, so that imports and caches are not counted."""


@dataclass
class Idle:
    """One system's idle cost. ``operations`` are AMQP frames that are not heartbeats, per connect and disconnect."""

    name: str
    kib: float
    operations: float


class Tap:
    """A TCP proxy in front of the broker that counts AMQP frames both ways, heartbeats (type 8) left out."""

    def __init__(self, amqp: str) -> None:
        parts = urlsplit(amqp)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 5672)
        self._parts = parts
        self.frames = 0
        self.url = ""
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "Tap":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        login = f"{self._parts.username}:{self._parts.password}@" if self._parts.username else ""
        self.url = urlunsplit(self._parts._replace(netloc=f"{login}127.0.0.1:{port}"))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        greeting = await reader.readexactly(8)
        upstream_writer.write(greeting)
        pumps = (self._pump(reader, upstream_writer), self._pump(upstream_reader, writer))
        await asyncio.gather(*pumps, return_exceptions=True)
        writer.close()
        upstream_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readexactly(7)
                rest = await reader.readexactly(int.from_bytes(head[3:7], "big") + 1)
                if head[0] != 8:
                    self.frames += 1
                writer.write(head + rest)
                await writer.drain()
        finally:
            writer.close()


Open = Callable[[int], Awaitable[list[Socket]]]


async def measure(name: str, gateway: Started, tap: Tap, opener: Open) -> Idle:
    """Warm up, then open ``CONNECTIONS`` and look; then close them all."""
    for socket in await opener(WARM):
        socket.abort()
    await asyncio.sleep(2)
    before, frames = rss(gateway.pid), tap.frames
    sockets = await opener(CONNECTIONS)
    await asyncio.sleep(1)
    gateway.alive()
    kib = (rss(gateway.pid) - before) / CONNECTIONS / 1024
    for socket in sockets:
        socket.abort()
    await asyncio.sleep(3)
    return Idle(name, kib, (tap.frames - frames) / CONNECTIONS)


async def parley(folder: Path, amqp: str) -> Idle:
    """Each socket has said hello and holds a session."""
    port = free_port()
    async with Tap(amqp) as tap, stack(folder, parley_env(folder, tap.url, port)) as running:
        gateway = await running.start("gateway", "parley_gateway")
        await answering(port, "/livez", gateway)

        async def opener(count: int) -> list[Socket]:
            sockets = []
            for _ in range(count):
                socket = await open_socket(port, "/v1/connect")
                socket.send('{"type":"hello"}')
                sockets.append(socket)
            while any(socket.frames == 0 for socket in sockets):
                gateway.alive()
                await asyncio.sleep(0.05)
            return sockets

        return await measure("Parley", gateway, tap, opener)


async def peer(folder: Path, amqp: str, kind: str, name: str) -> Idle:
    """Each socket is connected and known to its gateway."""
    async with Tap(amqp) as tap, stack(folder, {}) as running:
        gateway, port = await peer_gateway(running, kind, tap.url)

        async def opener(count: int) -> list[Socket]:
            return (await peer_sockets(kind, port, count))[0]

        return await measure(name, gateway, tap, opener)


def raise_file_limit() -> None:
    """Both ends of 5,000 sockets need descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * CONNECTIONS
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


async def run(folder: Path, amqp: str, say: Callable[[str], None]) -> list[Idle]:
    """All systems, peers first."""
    raise_file_limit()
    rows = []
    for kind, title in (("socketio", "python-socketio + aio-pika"), ("plain", "Starlette + aio-pika")):
        say(f"idle connections: {title}")
        rows.append(await peer(folder / f"idle-{kind}", amqp, kind, title))
    say("idle connections: Parley")
    rows.append(await parley(folder / "idle-parley", amqp))
    return rows
