"""The HTTP side of a gateway: knowledge bases, measured data, dead letters, tutors, reviews, status."""

from __future__ import annotations

import json
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from parley_client.calls import DEFAULT_URL, Calls, http_url
from parley_client.resources import MAX_DEAD, Bases, DeadLetters, Measured, Readings, Retried, Tutors
from parley_protocol.control import Presence

if TYPE_CHECKING:
    import ssl

    import httpx

__all__ = ["DEFAULT_URL", "MAX_DEAD", "Api", "QueueInfo", "Readings", "Retried", "StatusInfo", "http_url"]


class QueueInfo(msgspec.Struct, frozen=True):
    """A stage's queue: messages waiting and consumers."""

    name: str
    ready: int
    consumers: int


class StatusInfo(msgspec.Struct, frozen=True):
    """What ``GET /v1/status`` tells."""

    broker: str
    queues: tuple[QueueInfo, ...]
    processes: tuple[Presence, ...]


class Api:
    """Typed calls to one gateway. Use as an async context manager. Every call raises ApiError when it is refused."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        timeout_s: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        """``trusted``: certificates other than the well-known ones. Raises ClientError where ``url`` is no address."""
        self._calls = Calls(url, token=token, timeout_s=timeout_s, transport=transport, trusted=trusted)
        self.kb = Bases(self._calls)
        self.readings = Measured(self._calls)
        self.dead = DeadLetters(self._calls)
        self.tutors = Tutors(self._calls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._calls.close()

    async def status(self) -> StatusInfo:
        """Queues and processes."""
        return await self._calls.read("GET", "/v1/status", StatusInfo)

    async def review(self, text: str, contract_type: str, role: str, *, id: int | None = None) -> int:
        """Hand in a contract; returns its task. ``id``: asked for by the owner; the same contract again is the same
        task.
        """
        body = {"text": text, "contract_type": contract_type, "role": role} | ({} if id is None else {"id": id})
        content = json.dumps(body, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json"}
        return await self._calls.read("POST", "/v1/reviews", int, "task_id", content=content, headers=headers)
