"""The gateway under a server of somebody else's: ``uvicorn parley_gateway.asgi:app --workers 4``.

Each process is a gateway of its own. Settings come from the environment and ``.env`` as always, but for the address,
which is the server's; ``python -m parley_gateway`` is preferred: its sockets are bounded in fragments too, and a socket
that leaves a ping unanswered is told 4009 instead of 1011.

uvicorn closes its sockets with 1012 as soon as it is signalled and only then ends the application. So the signals that
it handles are taken over while the application starts: sockets are drained first, then the signal is passed on.
"""

import asyncio
import logging
import os
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from parley_gateway.app import Gateway, front, unserved
from parley_gateway.config import GatewaySettings
from parley_gateway.front import Front
from parley_runtime import config
from parley_runtime.errors import ConfigError
from parley_runtime.lifecycle import serve
from parley_runtime.process import Process

Scope = dict[str, Any]
_TOKEN = re.compile(r"(token=)[^&\s\"]+")
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class App:
    """The ASGI application: its life is the lifespan's."""

    def __init__(self) -> None:
        self._front: Front | None = None
        self._process: Process | None = None
        self._life: asyncio.Task[int] | None = None

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif self._front is not None:
            await self._front(scope, receive, send)
        else:
            raise RuntimeError("the gateway has not started: serve it with lifespan on")

    async def _lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        try:
            await self._start()
        except ConfigError as error:
            await send({"type": "lifespan.startup.failed", "message": f"parley gateway: {error}"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self) -> None:
        """Raises ConfigError where the gateway cannot start; why is on standard error."""
        settings = config.read(GatewaySettings, config.environment())
        process = self._process = Process("gateway", settings.common)
        self._life = asyncio.create_task(serve("gateway", settings, self._build, process=process, signals=False))
        started = asyncio.create_task(process.started.wait())
        await asyncio.wait({self._life, started}, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        if self._life.done():
            raise ConfigError(f"cannot start (exit code {self._life.result()}); the line above says why")
        _redact()
        self._life.add_done_callback(_ended)
        for number in SIGNALS:
            _drain_first(number, self._stop)

    @asynccontextmanager
    async def _build(self, process: Process, settings: GatewaySettings) -> AsyncIterator[Gateway]:
        async with unserved(process, settings) as gateway:
            self._front = front(gateway.hub)
            yield gateway

    async def _stop(self) -> None:
        """Drain and leave; returns when that is done. Again: hurry."""
        assert self._process is not None
        assert self._life is not None
        self._process.stop("server")
        await asyncio.wait({self._life})


def _ended(life: "asyncio.Task[int]") -> None:
    """A gateway that has failed ends its server's process, for its supervisor to start another."""
    if not life.cancelled() and life.exception() is None and life.result():
        os.kill(os.getpid(), signal.SIGTERM)


def _drain_first(number: signal.Signals, stop: Callable[[], Any]) -> None:
    """Let the server hear of the signal when the sockets have been drained; a second one is passed on at once."""
    handler = signal.getsignal(number)
    if not callable(handler):
        return
    server, loop = handler, asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def drain() -> None:
        try:
            await stop()
        finally:
            server(number, None)

    def begin() -> None:
        if tasks:
            server(number, None)
            return
        tasks.add(asyncio.create_task(drain()))

    signal.signal(number, lambda *_: loop.call_soon_threadsafe(begin))


class _Redacted(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_TOKEN.sub(r"\1***", arg) if isinstance(arg, str) else arg for arg in record.args)
        return True


def _redact() -> None:
    """uvicorn's lines of connects and requests hold query strings, and with them tokens."""
    for name in ("uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).addFilter(_Redacted())


app = App()
