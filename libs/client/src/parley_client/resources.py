"""What a gateway holds, by kind: calls to its HTTP routes. Every one raises ApiError when it is refused."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from parley_client.calls import Calls
from parley_client.errors import ApiError, ClientError
from parley_protocol.events import Source
from parley_protocol.readings import RefusedReading, SeriesInfo
from parley_protocol.tutors import TutorInfo
from parley_protocol.work import BaseInfo, DeadInfo, DocumentInfo

MAX_DEAD = 1000
"""Parked messages in one page."""


class Readings(msgspec.Struct, frozen=True):
    """What became of readings that were brought in. ``refused_count`` is 0 where all refusals are named."""

    stored: int
    refused: tuple[RefusedReading, ...] = ()
    refused_count: int = 0


class Retried(msgspec.Struct, frozen=True):
    """The turn, in a session of its own, that asks a dead letter's question again."""

    turn: str
    session: str


class Bases:
    """Knowledge bases of the tenant, and their documents."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def all(self) -> list[BaseInfo]:
        """Every one."""
        return await self._calls.read("GET", "/v1/kb", list[BaseInfo], "bases")

    async def documents(self, kb: str, *, after: str = "") -> list[DocumentInfo]:
        """One page of documents, by path, after ``after``; an empty list is the end."""
        where = f"{_base(kb)}/documents"
        return await self._calls.read(
            "GET", where, list[DocumentInfo], "documents", params={"after": after, "limit": 1000}
        )

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
        return await self._calls.read("PUT", where, DocumentInfo, params={"path": path}, content=data, headers=headers)

    async def delete(self, kb: str, path: str) -> int:
        """Remove one document; returns how many were removed."""
        return await self._calls.read("DELETE", f"{_base(kb)}/documents", int, "removed", params={"path": path})

    async def drop(self, kb: str) -> int:
        """Remove a whole base; returns how many documents it had."""
        return await self._calls.read("DELETE", _base(kb), int, "removed")

    async def search(self, kb: str, query: str, *, limit: int = 5) -> list[Source]:
        """Passages for a query, best first."""
        where = f"{_base(kb)}/search"
        return await self._calls.read("GET", where, list[Source], "sources", params={"q": query, "limit": limit})


class Measured:
    """Measured data."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def put(self, data: bytes, media_type: str = "", *, all_or_nothing: bool = False) -> Readings:
        """Bring readings in, JSON or CSV. Visible to questions when it returns."""
        headers = {"Content-Type": media_type} if media_type else {}
        params = {"all_or_nothing": "1"} if all_or_nothing else {}
        return await self._calls.read("POST", "/v1/readings", Readings, params=params, content=data, headers=headers)

    async def series(self) -> list[SeriesInfo]:
        """What measured data is held, by metric and sensor."""
        return await self._calls.read("GET", "/v1/readings", list[SeriesInfo], "series")

    async def drop(self, metric: str, sensor: str = "") -> int:
        """Remove the readings of a metric, of one sensor or of all; returns how many there were."""
        params = {"metric": metric, "sensor": sensor}
        return await self._calls.read("DELETE", "/v1/readings", int, "removed", params=params)


class DeadLetters:
    """Parked messages."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def page(self, *, limit: int = 100, before: str = "") -> list[DeadInfo]:
        """Parked messages, newest first, without bodies; ``before``: from the one parked before that id on."""
        params: dict[str, Any] = {"limit": limit}
        if before:
            params["before"] = before
        return await self._calls.read("GET", "/v1/dead", list[DeadInfo], "dead", params=params)

    async def all(self) -> list[DeadInfo]:
        """Every parked message, newest first, without bodies."""
        found: dict[str, DeadInfo] = {}
        before = ""
        while page := await self.page(limit=MAX_DEAD, before=before):
            fresh = {row.id: row for row in page if row.id not in found}
            if not fresh:
                break
            found |= fresh
            before = page[-1].id
        return list(found.values())

    async def one(self, id: str) -> DeadInfo:
        """One parked message with its body."""
        return await self._calls.read("GET", f"/v1/dead/{quote(id, safe='')}", DeadInfo)

    async def drop(self, id: str) -> bool:
        """Remove a parked message for good; False where there is none of this id."""
        try:
            return await self._calls.read("DELETE", f"/v1/dead/{quote(id, safe='')}", int, "removed") > 0
        except ApiError as error:
            if error.status == 404:
                return False
            raise

    async def retry(self, id: str) -> Retried:
        """Ask a parked turn's question again, as a new turn of a new session; a notice is sent again (both empty)."""
        return await self._calls.read("POST", f"/v1/dead/{quote(id, safe='')}/retry", Retried)


class Tutors:
    """Tutors of the tenant."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def all(self) -> list[TutorInfo]:
        """Every tutor of the tenant, by id."""
        found: list[TutorInfo] = []
        while page := await self._calls.read(
            "GET", "/v1/tutors", list[TutorInfo], "tutors", params={"after": found[-1].id if found else 0}
        ):
            found += page
        return found

    async def add(self, admin: str, name: str = "") -> TutorInfo:
        """A new tutor, who belongs to the administrator ``admin``."""
        content = msgspec.json.encode({"admin": admin, "name": name})
        return await self._calls.read("POST", "/v1/tutors", TutorInfo, content=content)

    async def remove(self, id: int) -> int:
        """Remove a tutor; returns how many of his sessions were ended."""
        return await self._calls.read("DELETE", f"/v1/tutors/{id}", int, "sessions")


def _base(kb: str) -> str:
    """The path of a base. Raises ClientError for a name that no address can hold; the server judges the others."""
    if kb in ("", ".", "..") or "/" in kb:
        raise ClientError(f"{kb!r} cannot name a knowledge base: choose another name, without /")
    return f"/v1/kb/{quote(kb, safe='')}"
