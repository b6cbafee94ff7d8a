"""A server that keeps every promise of the native protocol in one process's memory, to try the clients on. It answers
with the words of a scripted question. ``break_on`` may spoil frames before they are sent.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from .wire import decode

Frame = dict[str, Any]
Spoil = Callable[[Frame], list[Frame]]
LIMITS = {"frame": 262_144, "text": 16_000, "queued_turns": 8, "rate": 0.0}
LATENCY = {"accepted_ms": 1.0, "first_token_ms": 1.0, "total_ms": 1.0}


@dataclass(eq=False)
class Turn:
    """``frames`` grow until the last is ``turn.done``; ``grown`` is set anew at each."""

    id: str
    text: str
    deadline: float
    frames: list[Frame] = field(default_factory=list)
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    accepted: bool = False
    cancelled: bool = False

    @property
    def done(self) -> bool:
        return bool(self.frames) and self.frames[-1]["type"] == "turn.done"

    def tell(self, type: str, **fields: Any) -> None:
        seq = len(self.frames)
        self.frames.append({"type": type, "turn": self.id, "seq": seq, "position": f"{self.id}/{seq}", **fields})
        self.changed()

    def changed(self) -> None:
        grown, self.grown = self.grown, asyncio.Event()
        grown.set()


@dataclass(eq=False)
class Talk:
    """One session."""

    id: str
    turns: dict[str, Turn] = field(default_factory=dict)
    queue: asyncio.Queue[Turn] = field(default_factory=asyncio.Queue)


@dataclass(eq=False)
class MimicDoor:
    """A port of its own, so that one client's sockets are known."""

    server: Server
    gateway: str = "gateway-1"
    sockets: set[ServerConnection] = field(default_factory=set)
    reading: asyncio.Event = field(default_factory=asyncio.Event)
    drops: int = 0
    stalls: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    def drop(self, *, elsewhere: bool = False) -> int:
        self.drops += 1
        sockets = tuple(self.sockets)
        for socket in sockets:
            socket.transport.abort()
        if elsewhere:
            self.gateway = "gateway-2" if self.gateway == "gateway-1" else "gateway-1"
        return len(sockets)

    def stall(self) -> None:
        self.stalls += 1
        self.reading.clear()

    def read(self) -> None:
        self.reading.set()


class Mimic:
    """``doors`` makes doors to it. ``refuse``: how many starts are refused as overloaded before any is taken."""

    def __init__(self, *, spoil: Spoil | None = None, refuse: int = 0) -> None:
        self.made: dict[str, MimicDoor] = {}
        self._talks: dict[str, Talk] = {}
        self._spoil = spoil or (lambda frame: [frame])
        self._refuse = refuse
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["Mimic"]:
        """Everything ends with it."""
        try:
            yield self
        finally:
            for door in self.made.values():
                door.drop()
                door.server.close()
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def doors(self, client: str) -> MimicDoor:
        """The door of ``client``."""
        if client not in self.made:

            async def handle(socket: ServerConnection) -> None:
                await self._handle(self.made[client], socket)

            names: Any = ["parley.v1.json", "parley.v1.msgpack"]
            server = await serve(handle, "127.0.0.1", 0, subprotocols=names, compression=None)
            door = self.made[client] = MimicDoor(server)
            door.reading.set()
        return self.made[client]

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle(self, door: MimicDoor, socket: ServerConnection) -> None:
        door.sockets.add(socket)
        try:
            with contextlib.suppress(ConnectionClosed):
                await _Visit(self, door, socket).run()
        finally:
            door.sockets.discard(socket)

    def talk(self, id: str | None) -> Talk:
        """The session ``id``, or a new one."""
        if id is None or id not in self._talks:
            id = f"session-{len(self._talks) + 1}"
            self._talks[id] = Talk(id)
            self._spawn(_work(self._talks[id]))
        return self._talks[id]

    def refused(self) -> bool:
        """Whether this start is not taken."""
        self._refuse -= 1
        return self._refuse >= 0

    def spoiled(self, frame: Frame) -> list[Frame]:
        """What is sent in its place."""
        return self._spoil(frame)


async def _work(talk: Talk) -> None:
    """One turn after another."""
    while True:
        turn = await talk.queue.get()
        turn.accepted = True
        turn.changed()
        await _answer(turn)


async def _answer(turn: Turn) -> None:
    tag, tokens, every = (re.search(rf"{name}=(\S+)", turn.text) for name in ("tag", "tokens", "every"))
    mark = f"{tag[1]}." if tag else ""
    count, pause = int(tokens[1]) if tokens else 3, float(every[1]) / 1000 if every else 0.0
    loop, told, status = asyncio.get_running_loop(), "", "completed"
    turn.tell("turn.status", stage="generating")
    for number in range(1, count + 1):
        await asyncio.sleep(pause)
        if turn.cancelled or loop.time() > turn.deadline:
            status = "cancelled" if turn.cancelled else "expired"
            break
        word = f"{mark}t{number}" + (" " if number < count else "")
        told += word
        turn.tell("answer.delta", text=word)
    turn.tell("turn.done", status=status, text=told, usage=None, sources=[], latency=LATENCY)


class _Visit:
    """One socket."""

    def __init__(self, mimic: Mimic, door: MimicDoor, socket: ServerConnection) -> None:
        self._mimic = mimic
        self._door = door
        self._socket = socket
        self._pack = socket.subprotocol == "parley.v1.msgpack"
        self._telling: set[str] = set()
        self._order = asyncio.Lock()

    async def send(self, frame: Frame) -> None:
        await self._door.reading.wait()
        for each in self._mimic.spoiled(frame):
            data = msgspec.msgpack.encode(each) if self._pack else msgspec.json.encode(each).decode()
            await self._socket.send(data)

    async def _read(self) -> Frame:
        return decode(await self._socket.recv())

    async def run(self) -> None:
        hello = await self._read()
        talk = self._mimic.talk(hello.get("session"))
        resumed = "session" in hello
        await self.send(
            {
                "type": "welcome",
                "session": talk.id,
                "resumed": resumed,
                "gap": False,
                "heartbeat_s": 25.0,
                "limits": LIMITS,
            }
        )
        known, _, seq = str(hello.get("position", "")).rpartition("/")
        for id in dict.fromkeys([known, *hello.get("pending", ())]):
            if id in talk.turns:
                self._tell(talk.turns[id], int(seq) + 1 if id == known else 0)
        while True:
            await self._take(talk, await self._read())

    async def _take(self, talk: Talk, frame: Frame) -> None:
        turn = talk.turns.get(frame.get("turn", ""))
        if frame["type"] == "turn.cancel" and turn is not None:
            turn.cancelled = True
        elif frame["type"] == "turn.start" and turn is not None and turn.text != frame["text"]:
            await self._error("conflict", turn.id, retryable=False)
        elif frame["type"] == "turn.start" and turn is None and self._mimic.refused():
            await self._error("overloaded", frame["turn"], retryable=True, retry_after_ms=20)
        elif frame["type"] == "turn.start":
            self._start(talk, turn, frame)

    def _start(self, talk: Talk, turn: Turn | None, frame: Frame) -> None:
        if turn is None:
            if frame.get("interrupt"):
                for other in talk.turns.values():
                    other.cancelled = True
            deadline = asyncio.get_running_loop().time() + frame.get("deadline_ms", 60_000) / 1000
            turn = talk.turns[frame["turn"]] = Turn(frame["turn"], frame["text"], deadline)
            talk.queue.put_nowait(turn)
        self._tell(turn, 0, accept=True)

    async def _error(self, code: str, turn: str, **fields: Any) -> None:
        await self.send({"type": "error", "code": code, "message": "no", "turn": turn, **fields})

    def _tell(self, turn: Turn, seq: int, *, accept: bool = False) -> None:
        if turn.id not in self._telling:
            self._telling.add(turn.id)
            self._mimic._spawn(self._follow(turn, seq, accept=accept))

    async def _follow(self, turn: Turn, seq: int, *, accept: bool) -> None:
        with contextlib.suppress(ConnectionClosed):
            async with self._order:  # turns of a session one after another
                while accept and not turn.accepted:
                    await turn.grown.wait()
                if accept:
                    await self.send({"type": "turn.accepted", "turn": turn.id})
                while seq < len(turn.frames) or not turn.done:
                    if seq >= len(turn.frames):
                        await turn.grown.wait()
                        continue
                    await self.send(turn.frames[seq])
                    seq += 1
