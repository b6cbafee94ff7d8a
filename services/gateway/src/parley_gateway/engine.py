"""Sessions of another installation's engine, over HTTP: what the web side asks where ENGINE_URL is set."""

import asyncio
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from parley_gateway.dialects.settings import TutorSettings
from parley_runtime.errors import Overloaded, Unavailable

MOST = 65_536
"""Bytes of an answer."""
MAX_RETRY_S = 3600.0
MAX_ID = 200
"""Characters of a session's id."""


class EngineClient:
    """One pooled client; no connection before it is needed."""

    def __init__(self, settings: TutorSettings) -> None:
        self._settings = settings
        self._http: httpx.AsyncClient | None = None

    async def begin(self, tutor: int, student: str, kb: str | None) -> dict[str, Any]:
        """The body of a new session.

        Raises:
            Overloaded: the engine refuses for now and says for how long.
            Unavailable: it cannot be reached, does not answer in time, or refuses.
        """
        number = int(student) if student.isdecimal() and len(student) < 16 else student
        answer = await self._ask("POST", "/v1/sessions", {"tutor_id": tutor, "student_id": number, "kb_id": kb})
        body = _object(answer)
        session = body.get("session_id")
        if answer.status_code != 200 or not isinstance(session, str) or not 1 <= len(session) <= MAX_ID:
            raise _refused(answer, body)
        return body

    async def end(self, session: str) -> None:
        """Delete a session; one that the engine does not know any more is deleted too. Raises as :meth:`begin`."""
        answer = await self._ask("DELETE", f"/v1/sessions/{quote(session, safe='')}", None)
        if answer.status_code not in (200, 404):
            raise _refused(answer, _object(answer))

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        if self._http is not None:
            await self._http.aclose()

    async def _ask(self, method: str, path: str, body: Any) -> httpx.Response:
        settings = self._settings
        if self._http is None:
            headers = {"Authorization": f"Bearer {settings.engine_token}"} if settings.engine_token else {}
            self._http = httpx.AsyncClient(
                base_url=settings.engine_url.rstrip("/"), headers=headers, timeout=settings.engine_s
            )
        try:
            async with asyncio.timeout(settings.engine_s):
                return await self._http.request(method, path, json=body)
        except (TimeoutError, httpx.TimeoutException):
            raise Unavailable(f"no answer within {settings.engine_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(f"it cannot be reached ({type(error).__name__})") from None


def _object(answer: httpx.Response) -> dict[str, Any]:
    """The answer's JSON object; empty where it holds none."""
    try:
        body = msgspec.json.decode(answer.content[:MOST])
    except msgspec.MsgspecError:
        return {}
    return body if isinstance(body, dict) else {}


def _refused(answer: httpx.Response, body: dict[str, Any]) -> Overloaded | Unavailable:
    detail = body.get("detail")
    said = detail[:300] if isinstance(detail, str) else f"it answered {answer.status_code}"
    after = answer.headers.get("retry-after", "")
    if after.isdecimal() and len(after) < 6:
        return Overloaded(said, retry_after_s=min(MAX_RETRY_S, float(after)))
    return Unavailable(said)
