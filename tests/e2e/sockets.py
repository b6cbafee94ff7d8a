"""A socket client without any of the client library's patience: it fails where a frame breaks a promise."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from parley_protocol.speech import AnswerAudio, decode_audio

LIMIT_S = 60.0


@dataclass
class Seen:
    """What a client has of one turn, over all its sockets."""

    next_seq: int = 0
    text: str = ""
    restarts: int = 0
    done: dict[str, Any] | None = None

    def take(self, frame: dict[str, Any]) -> None:
        assert self.done is None, f"a frame after done: {frame}"
        assert frame["seq"] == self.next_seq, f"expected seq {self.next_seq}: {frame}"
        self.next_seq += 1
        match frame["type"]:
            case "answer.delta":
                self.text += frame["text"]
            case "turn.restarted":
                self.text = ""
                self.restarts += 1
            case "turn.done":
                assert frame["text"] == self.text
                self.done = frame


@dataclass
class Memory:
    """What a client carries from socket to socket."""

    session: str = ""
    position: str | None = None
    turns: dict[str, Seen] = field(default_factory=dict)


class Socket:
    """One connection of a client."""

    def __init__(self, ws: ClientConnection, memory: Memory) -> None:
        self.ws = ws
        self.memory = memory
        self.frames: list[dict[str, Any]] = []
        self.audio = bytearray()
        """Of spoken answers: no gap, no repetition."""

    def _hear(self, header: AnswerAudio, pcm: bytes) -> dict[str, Any]:
        assert header.at == len(self.audio) // 2
        self.audio += pcm
        return {"type": "answer.audio", "turn": header.turn}

    def seen(self, turn: str) -> Seen:
        return self.memory.turns.setdefault(turn, Seen())

    async def send(self, **frame: Any) -> None:
        await self.ws.send(json.dumps(frame))

    async def hello(self, **fields: Any) -> dict[str, Any]:
        await self.send(type="hello", **fields)
        welcome = await self.until("welcome")
        self.memory.session = welcome["session"]
        return welcome

    async def resume(self) -> dict[str, Any]:
        """Hello with all that the memory holds."""
        memory = self.memory
        pending = [turn for turn, seen in memory.turns.items() if seen.done is None]
        return await self.hello(session=memory.session, position=memory.position, pending=pending)

    async def start(self, turn: str, text: str = "why?", **fields: Any) -> None:
        self.seen(turn)
        await self.send(type="turn.start", turn=turn, text=text, **fields)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(LIMIT_S):
            data = await self.ws.recv()
        if isinstance(data, bytes):
            return self._hear(*decode_audio(data))
        frame: dict[str, Any] = json.loads(data)
        self.frames.append(frame)
        if "seq" in frame:
            self.seen(frame["turn"]).take(frame)
            self.memory.position = frame["position"]
        return frame

    async def until(self, kind: str, turn: str | None = None) -> dict[str, Any]:
        while True:
            frame = await self.next()
            if frame["type"] == kind and turn in (None, frame.get("turn")):
                return frame

    async def until_text(self, turn: str, characters: int) -> None:
        """At least so many characters of the answer."""
        while len(self.seen(turn).text) < characters:
            await self.next()

    async def until_done(self, turn: str) -> dict[str, Any]:
        return await self.until("turn.done", turn)

    async def closed(self) -> tuple[int, str]:
        """Close code and reason; frames before it are read."""
        with suppress(ConnectionClosed):
            async with asyncio.timeout(LIMIT_S):
                async for data in self.ws:
                    self.frames.append(json.loads(data))
        assert self.ws.close_code is not None
        return self.ws.close_code, self.ws.close_reason or ""


@asynccontextmanager
async def opened(
    url: str, memory: Memory | None = None, *, greet: bool = True, query: str = "", **options: Any
) -> AsyncIterator[Socket]:
    """A socket at the gateway ``url``; with ``greet`` it has said hello."""
    address = url.replace("http://", "ws://") + "/v1/connect" + query
    async with connect(address, proxy=None, compression=None, close_timeout=2, **options) as ws:
        socket = Socket(ws, memory or Memory())
        if greet:
            await socket.hello()
        yield socket
