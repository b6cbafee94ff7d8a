"""An HTTP server on 127.0.0.1 that speaks Dify's contract (chat-messages, stop), and misbehaves as a test asks.

As Dify does, it goes on working for a client that has hung up, until the task is stopped by the user who began it; a
stop by another user is answered with success and does nothing. Written on plain streams, because an HTTP library would
refuse to send most of the faults.
"""

import asyncio
import itertools
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

KEY = "app-very-secret"
JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"
ENDLESS = 1_000_000
USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "total_price": "0.0012300",
    "currency": "USD",
    "latency": 0.5,
}
RESOURCE = {
    "position": 1,
    "dataset_id": "d",
    "dataset_name": "Handbook",
    "document_id": "x",
    "document_name": "pond.md",
    "segment_id": "seg-1",
    "score": 0.87,
    "content": "The pond is kept at 22 degrees.",
}
_STATUS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}
_STOP = re.compile(r"/v1/chat-messages/([\w-]+)/stop")


@dataclass
class Ask:
    """One POST to chat-messages, and the ways to answer it."""

    server: "DifyServer"
    body: dict[str, Any]
    writer: asyncio.StreamWriter
    task: str = field(default_factory=lambda: str(uuid.uuid4()))
    message: str = field(default_factory=lambda: str(uuid.uuid4()))
    conversation: str = ""
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False
    """The client has hung up."""

    @property
    def query(self) -> str:
        return str(self.body.get("query", ""))

    @property
    def user(self) -> str:
        return str(self.body.get("user", ""))

    async def send(self, data: str | bytes) -> None:
        """Bytes as they are; a client that has gone is not noticed by whoever answers it."""
        if self.gone:
            return
        try:
            self.writer.write(data.encode() if isinstance(data, str) else data)
            await self.writer.drain()
        except ConnectionError:
            self.gone = True

    async def head(self, status: int, kind: str, length: int | None = None, **headers: str) -> None:
        """Status line and headers; chunked where no length is given."""
        fields = {"content-type": kind, **headers}
        fields |= {"transfer-encoding": "chunked"} if length is None else {"content-length": str(length)}
        lines = [f"HTTP/1.1 {status} {_STATUS.get(status, 'Error')}", *(f"{k}: {v}" for k, v in fields.items())]
        await self.send("\r\n".join([*lines, "", ""]))

    async def reply(self, status: int, body: Any, **headers: str) -> None:
        """A whole JSON answer."""
        data = json.dumps(body, ensure_ascii=False).encode()
        await self.head(status, JSON, len(data), **headers)
        await self.send(data)

    async def chunk(self, data: str | bytes) -> None:
        """A piece of a chunked answer; empty: its end."""
        raw = data.encode() if isinstance(data, str) else data
        await self.send(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")

    async def event(self, event: str, **fields: Any) -> None:
        """One event as Dify writes it."""
        names = {"task_id": self.task, "message_id": self.message, "conversation_id": self.conversation}
        data = {"event": event, **names, "created_at": 1, **fields}
        await self.chunk(f"data: {json.dumps(data, ensure_ascii=False)}\n\n")

    async def open(self) -> None:
        """Begin to stream: what Dify says before the first words."""
        await self.head(200, SSE)
        await self.chunk("event: ping\n\n")
        await self.event("workflow_started", data={"id": "w", "status": "running"})
        await self.event("node_started", data={"title": "LLM", "status": 7})

    async def end(self, **metadata: Any) -> None:
        """Whole: message_end with usage and passages, then the end of the stream."""
        await self.event("message_end", metadata={"usage": USAGE, "retriever_resources": [RESOURCE]} | metadata)
        await self.event("workflow_finished", data={"status": "succeeded"})
        await self.chunk("")


Behaviour = Callable[[Ask], Awaitable[None]]
"""Answers one question."""


def words(query: str, before: int) -> list[str]:
    """What the server answers: it shows how many questions it has heard in the conversation before."""
    return [f"{word} " for word in f"You asked {query} after {before} others in this conversation".split()]


async def converse(ask: Ask) -> None:
    """The contract, kept. ``endless`` in a question: an answer without an end; ``every=MS`` between the words."""
    server, query = ask.server, ask.query
    before = server.conversations[ask.conversation]
    parts = words(query, len(before))
    before.append(query)
    pace = re.search(r"every=(\d+)", query)
    if ask.body.get("response_mode") != "streaming":
        await asyncio.sleep(30 if "endless" in query else 0)
        metadata = {"usage": USAGE, "retriever_resources": [RESOURCE]}
        names = {"task_id": ask.task, "id": ask.message, "message_id": ask.message, "mode": "chat", "created_at": 1}
        said = {"answer": "".join(parts), "conversation_id": ask.conversation, "metadata": metadata}
        await ask.reply(200, {"event": "message", **names, **said})
        return
    await ask.open()
    for part in itertools.cycle(parts) if "endless" in query else parts:
        if ask.stopped.is_set():
            break
        await ask.event("message", answer=part)
        server.pieces += 1
        await asyncio.sleep(int(pace[1]) / 1000 if pace else 0.005 if "endless" in query else 0)
    await ask.end()


def refuse(status: int, code: str = "", **headers: str) -> Behaviour:
    """An error as Dify reports it."""

    async def behave(ask: Ask) -> None:
        body = {"code": code, "message": f"about {ask.query}", "status": status} if code else {"detail": ask.query}
        await ask.reply(status, body, **headers)

    return behave


def error_event(status: int, code: str, *, after: tuple[str, ...] = ()) -> Behaviour:
    """HTTP 200, some words, then an error within the stream."""

    async def behave(ask: Ask) -> None:
        await ask.open()
        for part in after:
            await ask.event("message", answer=part)
        await ask.event("error", status=status, code=code, message=f"about {ask.query}")
        await ask.chunk("")

    return behave


def cut(*parts: str) -> Behaviour:
    """Some words, then the connection is gone."""

    async def behave(ask: Ask) -> None:
        if parts:
            await ask.open()
        for part in parts:
            await ask.event("message", answer=part)
        ask.writer.transport.abort()

    return behave


def raw(data: bytes, kind: str = SSE) -> Behaviour:
    """HTTP 200 with any body."""

    async def behave(ask: Ask) -> None:
        await ask.head(200, kind, len(data))
        await ask.send(data)

    return behave


def silent(*parts: str, headers: bool = True) -> Behaviour:
    """Some words, then nothing but pings, until stopped."""

    async def behave(ask: Ask) -> None:
        if headers:
            await ask.open()
        for part in parts:
            await ask.event("message", answer=part)
        while not ask.stopped.is_set() and not ask.gone:
            if headers:
                await ask.chunk("event: ping\n\n")
            await asyncio.sleep(0.02)

    return behave


class DifyServer:
    """``behaviours`` answer the next questions, one each; :func:`converse` those after them."""

    def __init__(self, *behaviours: Behaviour, port: int = 0) -> None:
        self._port = port
        self.behaviours = list(behaviours)
        self.asked: list[Ask] = []
        self.stops: list[tuple[str, str]] = []
        """(task, user) of every stop."""
        self.running: dict[str, Ask] = {}
        self.conversations: dict[str, list[str]] = {}
        self.connections = 0
        self.pieces = 0
        self.url = ""
        self.changed = asyncio.Event()
        """Set at each stop, and at each begin and end of an answer."""
        self._owners: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def until(self, condition: Callable[[], bool], limit_s: float = 10.0) -> None:
        """Until ``condition`` holds, looked at after each change."""
        async with asyncio.timeout(limit_s):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def forget(self) -> None:
        """No conversation is known any more."""
        self.conversations.clear()
        self._owners.clear()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *rest = head.decode("latin-1").split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (each.partition(":") for each in rest if each)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                await self._request(line.split(" ")[1], headers, json.loads(body or b"{}"), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _request(
        self, path: str, headers: Mapping[str, str], body: dict[str, Any], writer: asyncio.StreamWriter
    ) -> None:
        ask = Ask(self, body, writer)
        if headers.get("authorization") != f"Bearer {KEY}":
            await refuse(401, "unauthorized")(ask)
        elif stop := _STOP.fullmatch(path):
            await self._stop(stop[1], ask)
        elif path == "/v1/chat-messages":
            await self._chat(ask)
        else:
            await refuse(404)(ask)

    async def _stop(self, task: str, ask: Ask) -> None:
        self.stops.append((task, ask.user))
        running = self.running.get(task)
        if running is not None and running.user == ask.user:
            running.stopped.set()
        await ask.reply(200, {"result": "success"})
        self.changed.set()

    async def _chat(self, ask: Ask) -> None:
        self.asked.append(ask)
        behave = self.behaviours.pop(0) if self.behaviours else converse
        known = ask.body.get("conversation_id") or ""
        if behave is converse and not (ask.query and ask.user):
            behave = refuse(400, "invalid_param")
        elif behave is converse and known and self._owners.get(known) != ask.user:
            behave = refuse(404, "not_found")
        else:
            ask.conversation = known or str(uuid.uuid4())
            self._owners.setdefault(ask.conversation, ask.user)
            self.conversations.setdefault(ask.conversation, [])
        self.running[ask.task] = ask
        self.changed.set()
        try:
            await behave(ask)
        finally:
            del self.running[ask.task]
            self.changed.set()
