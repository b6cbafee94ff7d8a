"""The HTTP side of a gateway: knowledge bases, status, dead letters, tutors."""

from __future__ import annotations

import json
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote

import msgspec

from parley_client.errors import ApiError, ClientError
from parley_protocol.control import Presence
from parley_protocol.events import Source
from parley_protocol.readings import RefusedReading, SeriesInfo
from parley_protocol.tutors import TutorInfo
from parley_protocol.work import BaseInfo, DeadInfo, DocumentInfo

if TYPE_CHECKING:
    import ssl

    import httpx  # takes longer to import than all the rest of the command: only a call needs it

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8000"

MAX_DEAD = 1000
"""Parked messages in one page."""


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


class Readings(msgspec.Struct, frozen=True):
    """What became of readings that were brought in. ``refused_count`` is 0 where all refusals are named."""

    stored: int
    refused: tuple[RefusedReading, ...] = ()
    refused_count: int = 0


class Retried(msgspec.Struct, frozen=True):
    """The turn, in a session of its own, that asks a dead letter's question again."""

    turn: str
    session: str


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
        import httpx

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._url = http_url(url)
        self._http = httpx.AsyncClient(
            base_url=self._url,
            headers=headers,
            timeout=timeout_s,
            trust_env=False,
            transport=transport,
            verify=trusted or True,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def bases(self) -> list[BaseInfo]:
        """Knowledge bases of the tenant."""
        return await self._read("GET", "/v1/kb", list[BaseInfo], "bases")

    async def documents(self, kb: str, *, after: str = "") -> list[DocumentInfo]:
        """One page of documents, by path, after ``after``; an empty list is the end."""
        where = f"{_base(kb)}/documents"
        return await self._read("GET", where, list[DocumentInfo], "documents", params={"after": after, "limit": 1000})

    async def all_documents(self, kb: str) -> list[DocumentInfo]:
        """Every document of a base; an empty list for a base that does not exist."""
        found: list[DocumentInfo] = []
        try:
            while page := await self.documents(kb, after=found[-1].path if found else ""):
                found += page
        except ApiError as error:
            if error.status != 404:
                raise
        return found

    async def put(self, kb: str, path: str, data: bytes, media_type: str = "") -> DocumentInfo:
        """Insert or replace a document; ``outcome`` tells which. Visible to questions when it returns."""
        headers = {"Content-Type": media_type} if media_type else {}
        where = f"{_base(kb)}/documents"
        return await self._read("PUT", where, DocumentInfo, params={"path": path}, content=data, headers=headers)

    async def delete(self, kb: str, path: str) -> int:
        """Remove one document; returns how many were removed."""
        return await self._read("DELETE", f"{_base(kb)}/documents", int, "removed", params={"path": path})

    async def drop(self, kb: str) -> int:
        """Remove a whole base; returns how many documents it had."""
        return await self._read("DELETE", _base(kb), int, "removed")

    async def search(self, kb: str, query: str, *, limit: int = 5) -> list[Source]:
        """Passages for a query, best first."""
        where = f"{_base(kb)}/search"
        return await self._read("GET", where, list[Source], "sources", params={"q": query, "limit": limit})

    async def put_readings(self, data: bytes, media_type: str = "", *, all_or_nothing: bool = False) -> Readings:
        """Bring readings in, JSON or CSV. Visible to questions when it returns."""
        headers = {"Content-Type": media_type} if media_type else {}
        params = {"all_or_nothing": "1"} if all_or_nothing else {}
        return await self._read("POST", "/v1/readings", Readings, params=params, content=data, headers=headers)

    async def series(self) -> list[SeriesInfo]:
        """What measured data is held, by metric and sensor."""
        return await self._read("GET", "/v1/readings", list[SeriesInfo], "series")

    async def drop_readings(self, metric: str, sensor: str = "") -> int:
        """Remove the readings of a metric, of one sensor or of all; returns how many there were."""
        params = {"metric": metric, "sensor": sensor}
        return await self._read("DELETE", "/v1/readings", int, "removed", params=params)

    async def status(self) -> StatusInfo:
        """Queues and processes."""
        return await self._read("GET", "/v1/status", StatusInfo)

    async def dead(self, *, limit: int = 100, before: str = "") -> list[DeadInfo]:
        """Parked messages, newest first, without bodies; ``before``: from the one parked before that id on."""
        params: dict[str, Any] = {"limit": limit}
        if before:
            params["before"] = before
        return await self._read("GET", "/v1/dead", list[DeadInfo], "dead", params=params)

    async def all_dead(self) -> list[DeadInfo]:
        """Every parked message, newest first, without bodies."""
        found: dict[str, DeadInfo] = {}
        before = ""
        while page := await self.dead(limit=MAX_DEAD, before=before):
            fresh = {row.id: row for row in page if row.id not in found}
            if not fresh:
                break
            found |= fresh
            before = page[-1].id
        return list(found.values())

    async def dead_one(self, id: str) -> DeadInfo:
        """One parked message with its body."""
        return await self._read("GET", f"/v1/dead/{quote(id, safe='')}", DeadInfo)

    async def dead_drop(self, id: str) -> bool:
        """Remove a parked message for good; False where there is none of this id."""
        try:
            return await self._read("DELETE", f"/v1/dead/{quote(id, safe='')}", int, "removed") > 0
        except ApiError as error:
            if error.status == 404:
                return False
            raise

    async def dead_retry(self, id: str) -> Retried:
        """Ask a parked turn's question again, as a new turn of a new session; a notice is sent again (both empty)."""
        return await self._read("POST", f"/v1/dead/{quote(id, safe='')}/retry", Retried)

    async def tutors(self) -> list[TutorInfo]:
        """Every tutor of the tenant, by id."""
        found: list[TutorInfo] = []
        while page := await self._read(
            "GET", "/v1/tutors", list[TutorInfo], "tutors", params={"after": found[-1].id if found else 0}
        ):
            found += page
        return found

    async def add_tutor(self, admin: str, name: str = "") -> TutorInfo:
        """A new tutor, who belongs to the administrator ``admin``."""
        content = msgspec.json.encode({"admin": admin, "name": name})
        return await self._read("POST", "/v1/tutors", TutorInfo, content=content)

    async def remove_tutor(self, id: int) -> int:
        """Remove a tutor; returns how many of his sessions were ended."""
        return await self._read("DELETE", f"/v1/tutors/{id}", int, "sessions")

    async def review(self, text: str, contract_type: str, role: str, *, id: int | None = None) -> int:
        """Hand in a contract; returns its task. ``id``: asked for by the owner; the same contract again is the same
        task.
        """
        body = {"text": text, "contract_type": contract_type, "role": role} | ({} if id is None else {"id": id})
        content = json.dumps(body, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json"}
        return await self._read("POST", "/v1/reviews", int, "task_id", content=content, headers=headers)

    async def _read(
        self,
        method: str,
        path: str,
        kind: type[T],
        key: str = "",
        *,
        params: dict[str, Any] | None = None,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> T:
        import httpx

        try:
            response = await self._http.request(method, path, params=params, content=content, headers=headers)
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            message = f"no answer from {self._url} ({why}); is Parley running there? Start it with ./task up"
            raise ApiError(0, "unavailable", message, retryable=True) from error
        if response.status_code >= 400:
            raise _refusal(response)
        try:
            data = response.json()
            return msgspec.convert(data[key] if key else data, kind)
        except (ValueError, KeyError, TypeError) as error:
            message = f"{self._url} does not answer as a gateway does; is --url the address of one?"
            raise ApiError(response.status_code, "failed", message, retryable=False) from error


def http_url(url: str) -> str:
    """``ws://host``, ``http://host`` and the address of the socket alike become the address of the HTTP routes.

    Raises:
        ClientError: it is none of these.
    """
    address = url.strip().rstrip("/").removesuffix("/v1/connect")
    for ws, web in (("ws://", "http://"), ("wss://", "https://")):
        if address.startswith(ws):
            address = web + address.removeprefix(ws)
    if not address.startswith(("http://", "https://")):
        raise ClientError(f"{url!r} is not an address; use for instance {DEFAULT_URL}")
    return address


def _base(kb: str) -> str:
    """The path of a base. Raises ClientError for a name that no address can hold; the server judges the others."""
    if kb in ("", ".", "..") or "/" in kb:
        raise ClientError(f"{kb!r} cannot name a knowledge base: choose another name, without /")
    return f"/v1/kb/{quote(kb, safe='')}"


def _refusal(response: httpx.Response) -> ApiError:
    """The server's own words where it gave any."""
    try:
        error = response.json()["error"]
        code, message = str(error["code"]), str(error["message"])
        retryable = bool(error.get("retryable", False))
    except (ValueError, KeyError, TypeError):
        code, retryable = "failed", response.status_code >= 500
        message = response.text.strip()[:300] or f"HTTP {response.status_code} without an explanation"
    return ApiError(response.status_code, code, message, retryable=retryable)
