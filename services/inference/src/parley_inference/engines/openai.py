"""``openai``: any server that speaks OpenAI's chat completions over HTTP: vLLM, SGLang, llama.cpp, Ollama and others.

What happens when a stream is cut: the text so far has been delivered, and the attempt ends in a retryable EngineError.
The job's next run gets that text as ``prefix``; with ``PARLEY_OPENAI_CONTINUE`` the model goes on from it, otherwise it
answers afresh and the client is told ``restarted``.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from parley_inference import openai_server
from parley_inference.breaker import Breaker
from parley_inference.chat import ChatReader
from parley_inference.engine import Piece, Request
from parley_inference.engines.openai_errors import explain, retry_after
from parley_inference.openai_server import shown
from parley_protocol.work import ChatMessage, Sampling, Tool
from parley_runtime.config import setting
from parley_runtime.errors import ConfigError, EngineError, EngineRejected
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)

NAME = "openai"
PREFIX = "PARLEY_OPENAI"
BACKOFF_S = 0.25
"""First wait between attempts; doubled each time, with jitter."""
MAX_WAIT_S = 5.0
"""A server that asks for more is left to the retry ladder."""
MAX_ERROR_BODY = 65_536
"""Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAISettings:
    """Settings of the OpenAI-compatible engine."""

    base_url: str = setting(
        "PARLEY_OPENAI_BASE_URL", "", "Address of an OpenAI-compatible server, such as http://127.0.0.1:8001/v1"
    )
    api_key: str = setting("PARLEY_OPENAI_API_KEY", "", "Key for that server; empty: none is sent", secret=True)
    model: str = setting("PARLEY_OPENAI_MODEL", "", "Model to ask for; empty: the first one that the server lists")
    max_tokens: int = setting(
        "PARLEY_OPENAI_MAX_TOKENS",
        0,
        "Longest answer where the client names no bound",
        unit="tokens",
        zero="the server's own default",
        minimum=0,
    )
    probe_s: float = setting(
        "PARLEY_OPENAI_PROBE_S", 2.0, "Time for the server to list its models at start", unit="seconds", minimum=0.1
    )
    connect_s: float = setting(
        "PARLEY_OPENAI_CONNECT_S", 3.0, "Time for a connection to the server", unit="seconds", minimum=0.1
    )
    first_byte_s: float = setting(
        "PARLEY_OPENAI_FIRST_BYTE_S",
        30.0,
        "Time from the request to the first byte of its answer",
        unit="seconds",
        minimum=0.05,
    )
    chunk_s: float = setting(
        "PARLEY_OPENAI_CHUNK_S", 20.0, "Longest silence within an answer", unit="seconds", minimum=0.05
    )
    retries: int = setting(
        "PARLEY_OPENAI_RETRIES",
        2,
        "Further attempts of one request while no text has come",
        unit="attempts",
        zero="none; the retry ladder still applies",
        minimum=0,
        maximum=10,
    )
    breaker: int = setting(
        "PARLEY_OPENAI_BREAKER",
        5,
        "Failures in a row after which the server is left alone for 1 to 30 seconds",
        unit="failures",
        zero="never",
        minimum=0,
    )
    continues: bool = setting(
        "PARLEY_OPENAI_CONTINUE",
        False,
        "The server continues a last assistant message (continue_final_message, as vLLM and SGLang do), so that an "
        "answer cut off goes on where it was",
    )

    def __post_init__(self) -> None:
        openai_server.check(PREFIX, self.base_url, self.api_key)


async def connect(settings: OpenAISettings) -> "OpenAIGenerator":
    """The engine, once the server has listed its models within ``probe_s``.

    Raises:
        ConfigError: no address, key or model that could work.
        Unavailable: the server does not answer.
    """
    client = openai_server.open_client(
        PREFIX, settings.base_url, settings.api_key, connect_s=settings.connect_s, kept=64
    )
    try:
        models = await _models(client, settings)
    except BaseException:
        await client.aclose()
        raise
    return OpenAIGenerator(settings, client, models)


async def _models(client: httpx.AsyncClient, settings: OpenAISettings) -> tuple[str, ...]:
    """Ids that the server lists; the one to use first."""
    response = await openai_server.models(client, PREFIX, settings.base_url, settings.probe_s)
    listed = _ids(response) if response.status_code == 200 else ()
    if settings.model:
        return (settings.model, *(name for name in listed if name != settings.model))
    if not listed:
        raise ConfigError(
            f"{shown(settings.base_url)} lists no models (HTTP {response.status_code}): set PARLEY_OPENAI_MODEL, and "
            "check that PARLEY_OPENAI_BASE_URL ends where the API begins, usually in /v1"
        )
    return listed


def _ids(response: httpx.Response) -> tuple[str, ...]:
    try:
        data = msgspec.json.decode(response.content)["data"]
        return tuple(str(model["id"]) for model in data)
    except (msgspec.DecodeError, KeyError, TypeError):
        return ()


class OpenAIGenerator:
    """One pooled client. Made by :func:`connect`."""

    name = NAME
    deterministic = False
    calls_tools = True

    def __init__(self, settings: OpenAISettings, client: httpx.AsyncClient, models: tuple[str, ...]) -> None:
        self._settings = settings
        self._client = client
        self._models = models
        self._breaker = Breaker(settings.breaker)
        self._usage_option = True

    @property
    def model(self) -> str:
        """The model asked for where the client names none that the server lists."""
        return self._models[0]

    @property
    def continues(self) -> bool:
        """As ``PARLEY_OPENAI_CONTINUE`` says of the server."""
        return self._settings.continues

    def problem(self) -> str | None:
        """While the breaker is open: how often the server has failed."""
        if not self._breaker.open:
            return None
        return f"{shown(self._settings.base_url)} failed {self._breaker.failures} times in a row"

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def generate(self, request: Request, *, prefix: str = "") -> AsyncGenerator[Piece, None]:
        """Stream one completion. Attempts are repeated, with jittered waits, only while no text has been yielded."""
        attempt = 0
        while True:
            await self._wait_for_breaker()
            said = reported = False
            try:
                async with aclosing(self._attempt(self._body(request, prefix))) as pieces:
                    async for piece in pieces:
                        said = said or bool(piece.text) or piece.ending is not None
                        yield piece
            except EngineError as error:
                self._failed(error)
                reported = True
                if said or attempt >= self._settings.retries or error.retry_after_s > MAX_WAIT_S:
                    raise
                wait = max(error.retry_after_s, BACKOFF_S * 2.0**attempt * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            except EngineRejected:
                self._breaker.succeeded()
                reported = True
                raise
            else:
                self._breaker.succeeded()
                reported = True
                return
            finally:
                if not reported:
                    self._breaker.gave_up()
            attempt += 1
            await asyncio.sleep(wait)

    async def _wait_for_breaker(self) -> None:
        """The request keeps its seat meanwhile, so an open breaker stops the stage from taking more."""
        loop = asyncio.get_running_loop()
        while True:
            wait = self._breaker.wait_s(loop.time())
            if not wait:
                return
            await asyncio.sleep(wait)

    def _failed(self, error: EngineError) -> None:
        was_open = self._breaker.open
        self._breaker.failed(asyncio.get_running_loop().time(), error.retry_after_s)
        log.warning("engine attempt failed", engine=NAME, error=str(error), failures=self._breaker.failures)
        if self._breaker.open and not was_open:
            log.error("engine paused", engine=NAME, reason=self.problem())

    def _body(self, request: Request, prefix: str) -> dict[str, Any]:
        sampling, settings = request.sampling, self._settings
        messages = [_message(message) for message in request.messages]
        wanted = {
            "model": sampling.model if sampling.model in self._models else self.model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True} if self._usage_option else None,
            "max_tokens": sampling.max_tokens or settings.max_tokens or None,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "stop": list(sampling.stop) or None,
            "tools": [_tool(tool) for tool in sampling.tools] or None,
            "tool_choice": _choice(sampling),
        }
        if prefix and settings.continues:
            messages.append({"role": "assistant", "content": prefix})
            wanted |= {"continue_final_message": True, "add_generation_prompt": False}
        return {name: value for name, value in wanted.items() if value is not None}

    async def _attempt(self, body: dict[str, Any]) -> AsyncGenerator[Piece, None]:
        """One HTTP request. Leaving it early closes the connection, which tells the server to stop."""
        settings = self._settings
        request = self._client.build_request("POST", "chat/completions", json=body)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + settings.first_byte_s
        response = await openai_server.send(self._client, request, deadline, prefix=PREFIX, where=self._where())
        chunks = response.aiter_bytes()
        whole = False
        try:
            if response.status_code != 200:
                raise await self._refusal(response.status_code, response.headers, chunks, body, deadline)
            reader = ChatReader(response.headers.get("content-type", ""))
            while not reader.finished:
                chunk = await self._chunk(chunks, deadline)
                for piece in reader.feed(chunk) if chunk else reader.end():
                    yield piece
                deadline = loop.time() + settings.chunk_s
            whole = True
        finally:
            await openai_server.leave(response, chunks, whole=whole)

    async def _chunk(self, chunks: AsyncIterator[bytes], deadline: float) -> bytes:
        return await openai_server.chunk(chunks, deadline, prefix=PREFIX, where=self._where(), what="the answer")

    async def _refusal(
        self, status: int, headers: httpx.Headers, chunks: AsyncIterator[bytes], body: dict[str, Any], deadline: float
    ) -> EngineError | EngineRejected:
        """The error that a status other than 200 stands for."""
        text = b""
        try:
            while len(text) < MAX_ERROR_BODY and (chunk := await self._chunk(chunks, deadline)):
                text += chunk
        except EngineError as error:
            log.debug("error answer without its body", status=status, error=str(error))
        if status in (400, 422) and "stream_options" in body and b"stream_options" in text:
            self._usage_option = False
            return EngineError(f"{self._where()} does not know stream_options; it is left out from now on")
        return explain(status, text, self._where(), retry_after(headers.get("retry-after", "")))

    def _where(self) -> str:
        return shown(self._settings.base_url)


def _message(message: ChatMessage) -> dict[str, Any]:
    shown: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        shown["content"] = message.content or None
        shown["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.calls
        ]
    if message.call:
        shown["tool_call_id"] = message.call
    return shown


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    return {"type": "function", "function": function}


def _choice(sampling: Sampling) -> str | dict[str, Any] | None:
    if not sampling.tools or not sampling.tool_choice:
        return None
    if sampling.tool_choice.startswith("="):
        return {"type": "function", "function": {"name": sampling.tool_choice[1:]}}
    return sampling.tool_choice
