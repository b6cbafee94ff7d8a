"""D3, contract review: ``/ws/review/{task_id}``, and beside it ``/ws/health`` and ``/ws/test/{client_id}``."""

import time
from collections.abc import Mapping
from typing import Any

from parley_gateway.dialects import review_frames as frames
from parley_gateway.dialects.dialect import Dialect
from parley_gateway.dialects.fitting import fitting
from parley_gateway.dialects.socket import DialectSocket
from parley_gateway.reviews import Watched
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.reviews import ReviewStatus, percent

SYSTEM = "d3"
MAX_DIGITS = 18
"""Digits of a task's id: what the store can hold."""


class Quiet:
    """What the three sockets share: nothing is worked on, and every refusal is an error frame."""

    def __init__(self, socket: DialectSocket) -> None:
        self._socket = socket

    @property
    def busy(self) -> bool:
        return False

    def refuse(self, error: ProtocolError) -> None:
        self._socket.send("error", frames.error(error.code, str(error)))

    def gone(self) -> None:
        """Nothing is held."""


class Health(Quiet):
    """``/ws/health``."""

    def greet(self) -> None:
        self._socket.send("welcome", {"type": "welcome", "message": "WebSocket服务正常", "server_time": epoch()})

    async def hear(self, data: str | bytes) -> None:
        message = frames.heard(data)
        answer = frames.pong(message, epoch()) if message.type == "ping" else None
        if answer is None:
            raise frames.unknown_type(message, "ping")
        self._socket.send("pong", answer)


class Echo(Quiet):
    """``/ws/test/{client_id}``."""

    def __init__(self, socket: DialectSocket, client: str) -> None:
        super().__init__(socket)
        self._client = client

    def greet(self) -> None:
        welcome = {"type": "welcome", "client_id": self._client, "message": f"欢迎客户端 {self._client}"}
        self._socket.send("welcome", welcome)

    async def hear(self, data: str | bytes) -> None:
        text = data if isinstance(data, str) else data.decode("utf-8", "replace")
        echo = {"type": "echo", "client_id": self._client, "original_message": text, "timestamp": epoch()}
        self._socket.send("echo", fitting(echo, "original_message"))


class Progress(Quiet):
    """``/ws/review/{task_id}``: one socket that watches a task."""

    def __init__(self, socket: DialectSocket, watched: Watched) -> None:
        super().__init__(socket)
        self._watched = watched
        self._shown = -1
        self._over = False

    def greet(self) -> None:
        self._socket.send("connection", frames.connection(self._watched.task))
        self._socket.hub.reviews.join(self._watched, self)
        self.moved()

    def gone(self) -> None:
        self._socket.hub.reviews.leave(self._watched, self)

    def moved(self) -> None:
        """See :class:`parley_gateway.reviews.Watcher`. What is told never falls, and an end is told once."""
        row = self._watched.row
        if row is None or self._over or self._socket.closing:
            return
        if row.status is ReviewStatus.FAILED:
            self._over = True
            self._socket.send("failed", frames.failed(row))
        elif row.status is ReviewStatus.COMPLETED:
            if self._watched.complete is not None:
                self._over = True
                self._socket.send("complete", self._watched.complete)
        elif (done := percent(row.status, row.clauses, row.done)) > self._shown:
            self._shown = done
            self._socket.send("progress", frames.progress(row))

    async def hear(self, data: str | bytes) -> None:
        message = frames.heard(data)
        answer: dict[str, Any] | None = frames.pong(message)
        if answer is None and frames.asks_status(message):
            answer = frames.status(await self._socket.hub.reviews.fresh(self._watched))
        if answer is None:
            raise frames.unknown_type(message, "ping, heartbeat, get_status, status_request")
        self._socket.send(str(answer["type"]), answer)


def epoch() -> str:
    """Seconds since 1970, as these frames tell them."""
    return str(int(time.time()))


async def open_health(socket: DialectSocket, _: Mapping[str, str]) -> Health:
    """See :data:`parley_gateway.dialects.dialect.Open`."""
    return Health(socket)


async def open_echo(socket: DialectSocket, parameters: Mapping[str, str]) -> Echo:
    """See :data:`parley_gateway.dialects.dialect.Open`."""
    return Echo(socket, parameters["client_id"])


async def open_progress(socket: DialectSocket, parameters: Mapping[str, str]) -> Progress:
    """See :data:`parley_gateway.dialects.dialect.Open`."""
    raw = parameters["task_id"]
    if not (raw.isascii() and raw.isdecimal()) or len(raw) > MAX_DIGITS:
        raise ProtocolError(FaultCode.NOT_FOUND, f"the id of a review is a whole number, not {raw[:50]!r}")
    return Progress(socket, await socket.hub.reviews.open(socket.identity.tenant, int(raw)))


def _refused(error: ProtocolError) -> dict[str, Any]:
    return frames.error(error.code, str(error))


HEALTH = Dialect(name="review_health", path="/ws/health", system=SYSTEM, open=open_health, error=_refused)
ECHO = Dialect(name="review_test", path="/ws/test/{client_id}", system=SYSTEM, open=open_echo, error=_refused)
PROGRESS = Dialect(name="review", path="/ws/review/{task_id}", system=SYSTEM, open=open_progress, error=_refused)
