"""A small OpenAI-compatible HTTP server on 127.0.0.1 that misbehaves exactly as a test asks, and an engine on it.

Raw asyncio streams, because a well-behaved HTTP library would refuse to send most of this.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

from parley_inference.engine import Piece, Request, stream
from parley_inference.engines.openai import OpenAIGenerator, OpenAISettings, connect
from parley_protocol.work import ChatMessage

Script = Callable[["Exchange"], Awaitable[None]]
"""Answers one POST. Returning closes the connection."""


@dataclass
class Exchange:
    """One request, and the ways to answer it."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Status and headers; the body ends with the connection."""
        fields = {"content-type": "text/event-stream", **(headers or {})}
        lines = [f"{name}: {value}" for name, value in fields.items()]
        await self.send("\r\n".join([f"HTTP/1.1 {status} X", *lines, "connection: close", "", ""]))

    async def send(self, data: str | bytes) -> None:
        """Bytes as they are."""
        self.writer.write(data.encode() if isinstance(data, str) else data)
        await self.writer.drain()

    async def delta(self, text: str) -> None:
        """One well-formed chunk."""
        await self.send(event({"choices": [{"index": 0, "delta": {"content": text}}]}))

    async def finish(self, reason: str = "stop") -> None:
        """Finish reason, usage and [DONE]."""
        await self.send(event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}))
        await self.send(event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}))
        await self.send("data: [DONE]\n\n")

    async def refuse(
        self, status: int, error: dict[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """An error answer."""
        await self.head(status, {"content-type": "application/json", **(headers or {})})
        await self.send(json.dumps({"error": error or {}}))

    async def hang_up_seen(self) -> None:
        """Returns when the client has closed the connection."""
        while await self.reader.read(4096):
            pass


def event(chunk: Mapping[str, Any]) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"


class LlmServer:
    """Answers each POST with the next script, the last one again and again; keeps what was asked."""

    def __init__(self, *scripts: Script, models: list[str] | None = None) -> None:
        self.scripts = list(scripts)
        self.models = ["tiny", "small"] if models is None else models
        self.models_status = 200
        self.asked: list[Exchange] = []
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._answer(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *fields = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
            raw = await reader.readexactly(int(headers.get("content-length", "0")))
            exchange = Exchange(line.split(" ")[1], headers, json.loads(raw) if raw else {}, reader, writer)
            if line.startswith("GET"):
                await exchange.head(self.models_status, {"content-type": "application/json"})
                await exchange.send(json.dumps({"data": [{"id": name} for name in self.models]}))
            else:
                self.asked.append(exchange)
                script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
                await script(exchange)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def good(exchange: Exchange) -> None:
    """A whole answer, "Hello there", that ends as it should."""
    await exchange.head()
    for text in ("Hel", "lo ", "there"):
        await exchange.delta(text)
    await exchange.finish()


def refusing(status: int, error: dict[str, Any] | None = None, headers: Mapping[str, str] | None = None) -> Script:
    """A script that answers with an error."""

    async def script(exchange: Exchange) -> None:
        await exchange.refuse(status, error, headers)

    return script


def saying(*parts: str | bytes, headers: Mapping[str, str] | None = None) -> Script:
    """A script that sends raw parts after the head and then closes."""

    async def script(exchange: Exchange) -> None:
        await exchange.head(200, headers)
        for part in parts:
            await exchange.send(part)

    return script


KEY = "sk-very-secret"
QUESTION = Request(
    messages=(ChatMessage("system", "Be brief."), ChatMessage("user", "hello?")), question="hello?", deadline_s=20.0
)
FAST = OpenAISettings(api_key=KEY, first_byte_s=5.0, chunk_s=5.0, retries=0, breaker=0)


@asynccontextmanager
async def serving(
    *scripts: Script, settings: OpenAISettings = FAST
) -> AsyncIterator[tuple[LlmServer, OpenAIGenerator]]:
    async with LlmServer(*scripts) as server:
        engine = await connect(replace(settings, base_url=server.url))
        try:
            yield server, engine
        finally:
            await engine.close()


async def pieces_of(engine: OpenAIGenerator, request: Request = QUESTION, prefix: str = "") -> list[Piece]:
    async with asyncio.timeout(20), aclosing(stream(engine, request, prefix=prefix)) as pieces:
        return [piece async for piece in pieces]


async def text_of(engine: OpenAIGenerator, request: Request = QUESTION) -> str:
    return "".join(piece.text for piece in await pieces_of(engine, request))
