"""``dify``: an application of Dify over its HTTP API, which retrieves and remembers conversations by itself.

Stopping a run stops Dify's: the connection is closed and the task is stopped by name, as the user who began it. A run
that is stopped before its name is known is read on in the background until it is. (In blocking mode Dify names the task
with the whole answer only: closing the connection is all there is.)

Failures before any text are repeated while that may help, then end the turn: who speaks to a machine does not wait for
a retry ladder. An answer that is cut off in the middle goes to the ladder, and starts anew.
"""

import asyncio
import enum
import random
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from parley_inference.engine import Piece, Request
from parley_inference.engines.dify_errors import NO_KEY, Forgotten, code_of, explain, too_slow, unreachable
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
BACKOFF_S = 0.5
"""First wait between attempts; doubled each time, with jitter."""
MAX_WAIT_S = 5.0
"""A server that asks for more is not asked again."""
STOP_S = 10.0
"""For finding out the name of a task and stopping it."""
CLOSE_S = 2.0
"""For stops under way when the engine is closed."""
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
class _Call:
    """An answer that has begun: its first event has been read, or all of it in blocking mode."""

    response: httpx.Response
    chunks: AsyncIterator[bytes]
    reader: DifyReader
    pieces: list[Piece]


class DifyGenerator:
    """See :class:`parley_inference.engine.Generator`. One pool of connections."""

    name = NAME
    model = NAME
    deterministic = False
    continues = False

    def __init__(self, settings: DifySettings) -> None:
        self._settings = settings
        self._client = httpx.AsyncClient(
            base_url=settings.base_url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {},
            timeout=httpx.Timeout(None, connect=min(CONNECT_S, settings.timeout_s)),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=30.0),
        )
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def threads(self) -> bool:
        """See :class:`parley_inference.engine.Remembering`."""
        return self._settings.conversation

    def problem(self) -> str | None:
        """Whatever is wrong is said to each question: a process that took none could not say it."""
        return None

    async def close(self) -> None:
        """Let stops that are under way finish, for a moment; close all connections."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    async def generate(
        self,
        request: Request,
        *,
        prefix: str = "",  # noqa: ARG002 - see below
    ) -> AsyncGenerator[Piece, None]:
        """Stream one answer, from its start: Dify cannot continue one."""
        try:
            async with aclosing(self._attempts(request)) as pieces:
                async for piece in pieces:
                    yield piece
        except (EngineError, EngineRejected) as error:
            # In the form that operators of the documented system look for.
            log.error(f"[Dify RAG Error] {error}")  # noqa: TRY400 - what is known needs no traceback
            raise

    async def _attempts(self, request: Request) -> AsyncGenerator[Piece, None]:
        if not self._settings.api_key:
            raise EngineRejected(NO_KEY)
        thread = request.thread if self._settings.conversation else ""
        attempt = 0
        while True:
            said = False
            try:
                async with aclosing(self._attempt(request, thread)) as pieces:
                    async for piece in pieces:
                        said = said or bool(piece.text)
                        yield piece
            except Forgotten:
                log.info("conversation is not known to Dify any more; a new one begins")
                thread = ""
            except EngineError as error:
                if said:
                    raise
                if attempt >= self._settings.retries or error.retry_after_s > MAX_WAIT_S:
                    raise EngineRejected(str(error)) from error
                wait = max(error.retry_after_s, BACKOFF_S * 2.0**attempt * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                attempt += 1
                await asyncio.sleep(wait)
            else:
                return

    async def _attempt(self, request: Request, thread: str) -> AsyncGenerator[Piece, None]:
        """One question. However it ends, nothing goes on at Dify that is not wanted any more."""
        user = f"ws-user-{request.user}"
        opening = asyncio.get_running_loop().create_task(self._open(request.question, user, thread))
        finished = False
        try:
            call = await self._opened(opening)
            for piece in call.pieces:
                yield piece
            while not call.reader.finished:
                for piece in await self._more(call):
                    yield piece
            finished = True
            self._charge(call.reader)
            await _leave(call)
        finally:
            if not finished:
                self._spawn(self._end(opening, user))

    # --- asking -----------------------------------------------------------------------------------------------

    async def _opened(self, opening: "asyncio.Task[_Call]") -> _Call:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await asyncio.shield(opening)
        except TimeoutError:
            raise too_slow(self._settings.timeout_s) from None

    async def _open(self, question: str, user: str, thread: str) -> _Call:
        """Ask, and read until Dify has named the task. Runs on where whoever asked has gone, see :meth:`_end`."""
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

    async def _begun(self, response: httpx.Response, chunks: AsyncIterator[bytes], *, threaded: bool) -> _Call:
        if response.status_code != 200:
            raise await self._refusal(response, chunks, threaded=threaded)
        reader = DifyReader(response.headers.get("content-type", ""), threaded=threaded)
        call = _Call(response, chunks, reader, [])
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

    async def _more(self, call: _Call) -> list[Piece]:
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

    def _charge(self, reader: DifyReader) -> None:
        bill = reader.bill
        assert bill is not None
        log.info(f"[Dify RAG] Tokens: {bill.tokens}, Price: {bill.price} {bill.currency}")
        counter(names.ENGINE_PRICE).labels(NAME, bill.currency).inc(float(bill.price))

    # --- ending -----------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """In the background: a cancel does not wait for Dify."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end(self, opening: "asyncio.Task[_Call]", user: str) -> None:
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


async def _read(call: _Call) -> list[Piece]:
    """The pieces of the next bytes, or of the end."""
    try:
        chunk = await anext(call.chunks, b"")
    except httpx.HTTPError as error:
        raise unreachable(type(error).__name__) from None
    return list(call.reader.feed(chunk) if chunk else call.reader.end())


async def _leave(call: _Call) -> None:
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
