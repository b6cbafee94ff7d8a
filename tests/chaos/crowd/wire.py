"""What both kinds of clients share: their way into the history, and a socket without any of the library's patience."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from ..history import Closed, History, Opened, Received, Sent

OPEN_S = 5.0
"""Limit for one attempt to connect."""
MAX_FRAME = 8 * 1024 * 1024

_from_json = msgspec.json.Decoder()
_from_pack = msgspec.msgpack.Decoder()
_to_json = msgspec.json.Encoder()


class Door(Protocol):
    """Where one client connects."""

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``."""

    @property
    def gateway(self) -> str:
        """The gateway that the newest connection leads to."""

    def drop(self, *, elsewhere: bool = False) -> int:
        """Reset the client's connections, say how many. ``elsewhere``: the next one leads to another gateway."""

    def stall(self) -> None:
        """Pass nothing to the client until :meth:`read`."""

    def read(self) -> None:
        """Pass everything again."""


@dataclass(frozen=True)
class FixedDoor:
    """Always the same gateway."""

    url: str
    gateway: str

    def drop(self, *, elsewhere: bool = False) -> int:
        """Nothing: sockets end when their client ends them."""
        return 0

    def stall(self) -> None:
        """Nothing."""

    def read(self) -> None:
        """Nothing."""


Doors = Callable[[str], Awaitable[Door]]
"""The door of a client by its name, always the same one."""


class Note:
    """Writes one client's wire into the history; a ``parley_client`` observer."""

    def __init__(self, history: History, client: str, door: Door) -> None:
        self.history = history
        self.client = client
        self.door = door
        self.sockets = 0
        self.dropped = False
        self.session: str | None = None
        self.promised: dict[str, None] = {}
        """Turns that the server has accepted or spoken of, in order."""

    def drop(self, *, elsewhere: bool = False) -> None:
        """Reset the connection; its end is the client's own doing."""
        if self.door.drop(elsewhere=elsewhere):
            self.dropped = True

    def opened(self, socket: int) -> None:
        self.sockets = socket
        self.dropped = False
        self.history.add(Opened(self.history.now(), self.client, socket, self.door.gateway))

    def sent(self, socket: int, data: str | bytes) -> None:
        self.history.add(Sent(self.history.now(), self.client, socket, decode(data)))

    def received(self, socket: int, data: str | bytes) -> None:
        frame = decode(data)
        self.history.add(Received(self.history.now(), self.client, socket, frame))
        if frame["type"] == "welcome":
            self.session = frame.get("session")
        elif frame["type"] == "turn.accepted" or "seq" in frame:
            self.promised[str(frame.get("turn"))] = None

    def closed(self, socket: int, code: int, *, own: bool) -> None:
        self.history.add(Closed(self.history.now(), self.client, socket, code, own or self.dropped))
        self.dropped = False


def decode(data: str | bytes) -> dict[str, Any]:
    """A frame as a plain dict; what is none has the type ``?``, which no rule allows."""
    try:
        frame = _from_json.decode(data) if isinstance(data, str) else _from_pack.decode(data)
    except msgspec.DecodeError as error:
        return {"type": "?", "error": str(error)}
    return frame if isinstance(frame, dict) and "type" in frame else {"type": "?", "value": frame}


class Raw:
    """One socket at a time, JSON frames. ``position`` is that of the last frame read, whatever it was."""

    def __init__(self, note: Note, session: str | None = None) -> None:
        self.note = note
        self.session = session
        self.position: str | None = None
        self.pending: list[str] = []
        self.starts: dict[str, dict[str, Any]] = {}
        """Turns asked and not yet accepted: sent again on every new socket."""
        self.socket: ClientConnection | None = None

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Connected and greeted. Raises OSError, TimeoutError or WebSocketException where no gateway takes it."""
        url = self.note.door.url.replace("http://", "ws://") + "/v1/connect"
        async with connect(
            url,
            subprotocols=["parley.v1.json"],  # type: ignore[list-item]  # a NewType of str
            max_size=MAX_FRAME,
            compression=None,
            open_timeout=OPEN_S,
            close_timeout=1.0,
            ping_interval=None,
            proxy=None,
            max_queue=1,
        ) as socket:
            self.socket = socket
            number = self.note.sockets + 1
            self.note.opened(number)
            own = True
            try:
                await self._hello()
                yield
            except ConnectionClosed:
                own = False
                raise
            finally:
                await socket.close()
                self.note.closed(number, socket.close_code or 1006, own=own)
                self.socket = None

    async def _hello(self) -> None:
        fields = {"session": self.session, "position": self.position, "pending": self.pending}
        await self.send({"type": "hello"} | {name: value for name, value in fields.items() if value})
        while (frame := await self.read())["type"] != "welcome":
            pass
        self.session = frame["session"]
        for start in tuple(self.starts.values()):
            await self.send(start)

    async def send(self, frame: dict[str, Any]) -> None:
        """Raises ConnectionClosed."""
        assert self.socket is not None
        data = _to_json.encode(frame).decode()
        self.note.sent(self.note.sockets, data)
        await self.socket.send(data)

    async def read(self) -> dict[str, Any]:
        """The next frame. Raises ConnectionClosed."""
        assert self.socket is not None
        data = await self.socket.recv()
        self.note.received(self.note.sockets, data)
        frame = decode(data)
        turn = str(frame.get("turn"))
        if frame["type"] == "turn.accepted" or "seq" in frame:
            self.position = frame.get("position", self.position)
            if self.starts.pop(turn, None) is not None:
                self.pending.append(turn)
        if frame["type"] == "turn.done" and turn in self.pending:
            self.pending.remove(turn)
        return frame


GONE = (OSError, TimeoutError, WebSocketException)
"""What a connection that cannot be had, or is lost, raises."""
