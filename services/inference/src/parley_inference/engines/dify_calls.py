"""Questions to an application of Dify over its HTTP API: asked, read, and stopped at Dify."""

import asyncio
import enum
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx

from parley_inference.engine import Piece
from parley_inference.engines.dify_errors import Forgotten, code_of, explain, too_slow, unreachable
from parley_inference.engines.dify_events import DifyReader
from parley_inference.engines.openai_errors import retry_after
from parley_runtime.answering import DIFY
from parley_runtime.config import setting
from parley_runtime.errors import EngineError, EngineRejected, EngineTimeout
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

log = get_logger(__name__)

NAME = DIFY
STOP_S = 10.0
"""For finding out the name of a task and stopping it."""
END_S = 0.1
"""Seconds that the end of a whole answer may take after its last event."""
MAX_ERROR_BODY = 65_536
CONNECT_S = 5.0


class Mode(enum.StrEnum):
    """How Dify answers."""

    STREAMING = "streaming"
    BLOCKING = "blocking"


@dataclass(frozen=True, slots=True, kw_only=True)
class DifySettings:
    """Settings of the Dify engine."""

    api_key: str = setting("DIFY_API_KEY", "", "Key of the Dify application", secret=True)
    base_url: str = setting("DIFY_BASE_URL", "https://api.dify.ai/v1", "Address of Dify's API")
    timeout_s: float = setting(
        "DIFY_TIMEOUT",
        60.0,
        "Longest wait for an answer of Dify to begin, and for more of it",
        unit="seconds",
        minimum=0.05,
    )
    mode: Mode = setting("DIFY_MODE", Mode.STREAMING, "Whether Dify streams its answers or sends them whole")
    conversation: bool = setting(
        "DIFY_CONVERSATION", True, "A session's questions go on in one conversation of Dify (conversation_id)"
    )
    retries: int = setting(
        "DIFY_RETRIES",
        2,
        "Further attempts of a question while no text has come, where trying again may help",
        unit="attempts",
        zero="none",
        minimum=0,
        maximum=10,
    )

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError("DIFY_BASE_URL: must begin with http:// or https://")
        if not self.api_key.isascii() or not self.api_key.isprintable():
            raise ValueError("DIFY_API_KEY: holds characters that no HTTP header can carry")


@dataclass(slots=True)
class Call:
    """An answer that has begun: its first event has been read, or all of it in blocking mode."""

    response: httpx.Response
    chunks: AsyncIterator[bytes]
    reader: DifyReader
    pieces: list[Piece]


class DifyCalls:
    """One pool of connections."""

    def __init__(self, settings: DifySettings) -> None:
        self._settings = settings
        self._client = httpx.AsyncClient(
            base_url=settings.base_url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {},
            timeout=httpx.Timeout(None, connect=min(CONNECT_S, settings.timeout_s)),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=30.0),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def opened(self, opening: "asyncio.Task[Call]") -> Call:
        """The answer that is being opened. Raises EngineTimeout."""
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await asyncio.shield(opening)
        except TimeoutError:
            raise too_slow(self._settings.timeout_s) from None

    async def open(self, question: str, user: str, thread: str) -> Call:
        """Ask, and read until Dify has named the task. Runs on where whoever asked has gone, see :meth:`end`."""
        body: dict[str, Any] = {
            "inputs": {},
            "query": question,
            "response_mode": self._settings.mode.value,
            "user": user,
            "files": [],
        }
        if thread:
            body["conversation_id"] = thread
        request = self._client.build_request("POST", "chat-messages", json=body)
        response = await self._send(request)
        chunks = response.aiter_bytes()
        try:
            return await self._begun(response, chunks, threaded=bool(thread))
        except BaseException:
            await _close(response, chunks)
            raise

    async def _begun(self, response: httpx.Response, chunks: AsyncIterator[bytes], *, threaded: bool) -> Call:
        if response.status_code != 200:
            raise await self._refusal(response, chunks, threaded=threaded)
        reader = DifyReader(response.headers.get("content-type", ""), threaded=threaded)
        call = Call(response, chunks, reader, [])
        while not reader.events and not reader.finished:
            call.pieces += await _read(call)
        return call

    async def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._client.send(request, stream=True)
        except httpx.ConnectTimeout:
            raise EngineTimeout(str(unreachable("连接超时"))) from None
        except httpx.HTTPError as error:
            raise unreachable(type(error).__name__) from None

    async def _refusal(
        self, response: httpx.Response, chunks: AsyncIterator[bytes], *, threaded: bool
    ) -> EngineError | EngineRejected | Forgotten:
        body = b""
        with suppress(httpx.HTTPError):  # the status says enough
            while len(body) < MAX_ERROR_BODY and (chunk := await anext(chunks, b"")):
                body += chunk
        wait = retry_after(response.headers.get("retry-after", ""))
        return explain(response.status_code, code_of(body), threaded=threaded, retry_after_s=wait)

    async def more(self, call: Call) -> list[Piece]:
        """The next pieces. What keeps a connection open is no progress."""
        events = call.reader.events
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                while True:
                    pieces = await _read(call)
                    if pieces or call.reader.events > events or call.reader.finished:
                        return pieces
        except TimeoutError:
            raise too_slow(self._settings.timeout_s) from None

    async def end(self, opening: "asyncio.Task[Call]", user: str) -> None:
        """Stop what Dify does for nobody."""
        if self._settings.mode is Mode.BLOCKING:
            opening.cancel()
        outcome = "nameless"
        try:
            async with asyncio.timeout(STOP_S):
                call = await opening
                await _close(call.response, call.chunks)
                if call.reader.task and not call.reader.finished:
                    stop = f"chat-messages/{call.reader.task}/stop"
                    answer = await self._client.post(stop, json={"user": user}, timeout=STOP_S)
                    outcome = "stopped" if answer.status_code == 200 else "refused"
        except (EngineError, EngineRejected, Forgotten):
            return  # it never began, or ended by itself
        except asyncio.CancelledError:
            if not opening.cancelled():
                raise
            outcome = "disconnected"
        except (TimeoutError, httpx.HTTPError) as error:
            log.warning("Dify was not stopped", reason=type(error).__name__)
        counter(names.ENGINE_STOPS).labels(NAME, outcome).inc()


async def _read(call: Call) -> list[Piece]:
    """The pieces of the next bytes, or of the end."""
    try:
        chunk = await anext(call.chunks, b"")
    except httpx.HTTPError as error:
        raise unreachable(type(error).__name__) from None
    return list(call.reader.feed(chunk) if chunk else call.reader.end())


async def leave(call: Call) -> None:
    """After a whole answer: its very end is read, so that the connection can be used again."""
    with suppress(TimeoutError, httpx.HTTPError, httpx.StreamError):
        async with asyncio.timeout(END_S):
            while await anext(call.chunks, b""):
                pass
    await _close(call.response, call.chunks)


async def _close(response: httpx.Response, chunks: AsyncIterator[bytes]) -> None:
    await response.aclose()
    # Reading what was buffered before ends httpx's nested generators now, rather than whenever they are collected.
    with suppress(httpx.HTTPError, httpx.StreamError):
        while await anext(chunks, b""):
            pass
