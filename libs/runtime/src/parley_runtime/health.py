"""The health port: ``/livez``, ``/readyz``, ``/metrics`` and ``/statusz``, GET only, one request per connection.

Request size, request time and the number of connections are bounded, so that nothing on this port can hurt the
process it reports on.
"""

import asyncio
from typing import Self

import msgspec

from parley_runtime.errors import ConfigError, Unavailable
from parley_runtime.process import Process
from parley_runtime.telemetry import metrics
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)

MAX_REQUEST = 8192
"""Bytes of request line and headers."""
MAX_CONNECTIONS = 64
TIMEOUT_S = 5.0
"""Seconds for reading the request and for writing the answer, each."""

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
_JSON = "application/json"
_ROUTES = "/livez /readyz /metrics /statusz"

Answer = tuple[int, str, bytes]
"""Status, media type, body."""


class HealthServer:
    """An asynchronous context manager: listening inside the block. ``port`` is the real one when 0 was asked for."""

    def __init__(self, process: Process, host: str, port: int) -> None:
        self._process = process
        self._host = host
        self.port = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        """Raises Unavailable where the port is taken, ConfigError where the address cannot be bound at all."""
        try:
            self._server = await asyncio.start_server(self._serve, self._host, self.port, limit=MAX_REQUEST)
        except OSError as error:
            where = f"{self._host}:{self.port}"
            if error.errno is not None and "in use" in str(error):
                raise Unavailable(f"health port {where} is in use: set PARLEY_HEALTH_PORT to a free one") from error
            raise ConfigError(
                f"cannot listen on {where} ({error}): check PARLEY_HEALTH_HOST and PARLEY_HEALTH_PORT"
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._connections):
                writer.transport.abort()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            log.warning("health connection refused", reason="too many", limit=MAX_CONNECTIONS)
            writer.transport.abort()
            return
        self._connections.add(writer)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await self._read(reader)
            async with asyncio.timeout(TIMEOUT_S):
                writer.write(_render(*answer))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError):
            writer.transport.abort()
        finally:
            self._connections.discard(writer)

    async def _read(self, reader: asyncio.StreamReader) -> Answer:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _plain(400, f"request is larger than {MAX_REQUEST} bytes")
        except asyncio.IncompleteReadError:
            return _plain(400, "request ended early")
        parts = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/"):
            return _plain(400, "not an HTTP request")
        if parts[0] != "GET":
            return _plain(405, "use GET")
        return self.answer(parts[1].partition("?")[0])

    def answer(self, path: str) -> Answer:
        """The answer to ``GET path``; the gateway's own port uses it too."""
        if path == "/livez":
            return _plain(200, "alive")
        if path == "/readyz":
            return self._ready()
        if path == "/metrics":
            return 200, metrics.CONTENT_TYPE, metrics.render()
        if path == "/statusz":
            return 200, _JSON, msgspec.json.encode(self._process.presence())
        return _plain(404, f"one of {_ROUTES}")

    def _ready(self) -> Answer:
        reasons = self._process.reasons()
        ready = not any(reasons.values())
        body = {"ready": ready, "checks": {name: reason or "ok" for name, reason in reasons.items()}}
        return (200 if ready else 503), _JSON, msgspec.json.encode(body)


def _plain(status: int, text: str) -> Answer:
    return status, "text/plain; charset=utf-8", text.encode() + b"\n"


def _render(status: int, media: str, body: bytes) -> bytes:
    allow = "Allow: GET\r\n" if status == 405 else ""
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n"
        f"{allow}Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
