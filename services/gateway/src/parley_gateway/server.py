"""uvicorn under our own life cycle: it neither handles signals nor closes sockets before we have."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from parley_gateway.config import ServerSettings
from parley_gateway.wire import SocketProtocol
from parley_runtime.errors import ConfigError
from parley_runtime.telemetry.logging import get_logger

log = get_logger("parley.server")

MAX_FRAME = 16 * 1024 * 1024
"""Bytes of one message beyond which a socket is closed with 1009."""
PONG_S = 20.0
STOP_S = 3


class Server(uvicorn.Server):
    """Signals belong to the process's life cycle. ``listening`` is set once sockets are taken."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None are captured."""
        yield


def bind(settings: ServerSettings) -> list[socket.socket]:
    """The listening sockets, that of ``port`` first.

    Raises:
        ConfigError: an address cannot be bound; the message names the settings.
    """
    bound: list[socket.socket] = []
    try:
        for port in (settings.port, *settings.extra_ports):
            bound.append(_bind(settings.host, port, "PARLEY_EXTRA_PORTS" if bound else "PARLEY_PORT"))
    except ConfigError:
        for listener in bound:
            listener.close()
        raise
    return bound


def _bind(host: str, port: int, setting: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"{host}:{port} cannot be used ({error.strerror}): another program listens there, or the "
            f"address is not of this machine; set {setting} or PARLEY_HOST"
        ) from error
    listener.set_inheritable(False)
    return listener


def check_tls(settings: ServerSettings) -> None:
    """Raises ConfigError where certificate and key cannot be used."""
    if not settings.tls_cert:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"PARLEY_TLS_CERT={settings.tls_cert}, PARLEY_TLS_KEY={settings.tls_key}: cannot be used ({error})"
        ) from error


@asynccontextmanager
async def serving(
    app: Any, settings: ServerSettings, listeners: list[socket.socket], on_end: Callable[[BaseException], None]
) -> AsyncIterator[Server]:
    """Serve ``app`` on ``listeners`` inside the block. Drain sockets before leaving it: leaving closes with 1012.

    Raises what keeps the server from starting; ``on_end`` hears of what ends it before the block does.
    """
    config = uvicorn.Config(
        app,
        ws=SocketProtocol,
        loop="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",  # uvicorn's info lines hold query strings, and with them tokens
        access_log=False,
        server_header=False,
        backlog=settings.backlog,
        proxy_headers=True,
        forwarded_allow_ips=settings.trusted_proxies,
        ws_max_size=MAX_FRAME,
        ws_per_message_deflate=False,
        ws_ping_interval=settings.ping_s,
        ws_ping_timeout=PONG_S,
        timeout_graceful_shutdown=STOP_S,
        ssl_certfile=settings.tls_cert or None,
        ssl_keyfile=settings.tls_key or None,
    )
    server = Server(config)
    task = asyncio.create_task(server.serve(sockets=listeners), name="server")
    try:
        listening = asyncio.create_task(server.listening.wait())
        await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if task.done():
            await task
        task.add_done_callback(lambda done: _ended(done, server, on_end))
        yield server
    finally:
        server.should_exit = True
        await asyncio.wait({task}, timeout=STOP_S + 2)


def _ended(task: "asyncio.Task[None]", server: Server, on_end: Callable[[BaseException], None]) -> None:
    if not server.should_exit:
        error = None if task.cancelled() else task.exception()
        on_end(error or RuntimeError("the server ended by itself"))
