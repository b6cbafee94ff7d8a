"""Sessions on raw sockets that ask and take times: closed loops, and open loops without coordinated omission.

Costs one small decode per frame, so that a core of the machine is left to what is measured; what it costs is printed.
"""

import asyncio
import itertools
import json
import random
import socket as sockets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from bench.stack import quantile
from bench.wire import Socket, open_socket

QUESTION = "what is a fence?"


class Head(msgspec.Struct):
    """What is read of a frame."""

    type: str
    turn: str = ""
    position: str = ""
    session: str = ""
    status: str = ""
    stage: str = ""
    code: str = ""


_numbers = itertools.count(1)
"""Turn ids differ between all sessions of a run."""
_head = msgspec.json.Decoder(Head)


class Asked:
    """One turn, in seconds of ``time.perf_counter`` (0: not yet). ``due``: when it was to be asked."""

    __slots__ = ("done", "due", "first", "frames", "status", "turn")

    def __init__(self, turn: str, due: float) -> None:
        self.turn = turn
        self.due = due
        self.first = 0.0
        self.done = 0.0
        self.status = ""
        self.frames: list[tuple[float, Head]] | None = None


OnDone = Callable[["Session", Asked], None]


class Session:
    """One socket that has said hello. ``keep``: every frame's head and time is kept with its turn."""

    def __init__(self, socket: Socket, *, keep: bool = False) -> None:
        self.socket = socket
        self.keep = keep
        self.id = ""
        self.position = ""
        self.open: dict[str, Asked] = {}
        self.on_done: OnDone | None = None
        self.on_head: Callable[[Head, float], None] | None = None
        self.errors: list[str] = []
        self._welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        socket.on_frame = self._take

    async def hello(self, session: str = "", position: str = "", pending: Sequence[str] = ()) -> None:
        """Say hello and await the welcome; with ``session``, come back to it."""
        frame: dict[str, object] = {"type": "hello"}
        if session:
            frame |= {"session": session, "position": position or None, "pending": list(pending)}
            for turn in pending:
                self.open[turn] = self._asked_now(turn)
        self.socket.send(json.dumps(frame))
        await asyncio.wait_for(self._welcome, 30)

    def ask(self, text: str = QUESTION, due: float = 0.0) -> Asked:
        """Start a turn now."""
        asked = self._asked_now(f"{next(_numbers):016x}", due)
        self.open[asked.turn] = asked
        self.socket.send(f'{{"type":"turn.start","turn":"{asked.turn}","text":"{text}"}}')
        return asked

    def cancel(self, asked: Asked) -> float:
        """Write ``turn.cancel``; returns when."""
        self.socket.send(f'{{"type":"turn.cancel","turn":"{asked.turn}"}}')
        return time.perf_counter()

    def _asked_now(self, turn: str, due: float = 0.0) -> Asked:
        asked = Asked(turn, due or time.perf_counter())
        asked.frames = [] if self.keep else None
        return asked

    def _take(self, frame: bytes) -> None:
        if frame[:1] != b"{":
            return
        head, now = _head.decode(frame), time.perf_counter()
        if self.on_head is not None:
            self.on_head(head, now)
        if head.position:
            self.position = head.position
        if head.type == "welcome":
            self.id = head.session
            if not self._welcome.done():
                self._welcome.set_result(None)
        elif head.type == "error":
            self.errors.append(head.code)
            self._end(self.open.pop(head.turn, None), now, head.code)
        elif (asked := self.open.get(head.turn)) is not None:
            self._of_turn(asked, head, now)

    def _of_turn(self, asked: Asked, head: Head, now: float) -> None:
        if asked.frames is not None:
            asked.frames.append((now, head))
        if head.type == "answer.delta" and not asked.first:
            asked.first = now
        elif head.type == "turn.done":
            del self.open[asked.turn]
            self._end(asked, now, head.status)

    def _end(self, asked: Asked | None, now: float, status: str) -> None:
        if asked is None:
            return
        asked.done, asked.status = now, status
        if self.on_done is not None:
            self.on_done(self, asked)


async def open_sessions(ports: Sequence[int], count: int, *, keep: bool = False) -> list[Session]:
    """``count`` sessions, spread over the gateways."""
    made = []
    for number in range(count):
        session = Session(await open_socket(ports[number % len(ports)], "/v1/connect"), keep=keep)
        await session.hello()
        made.append(session)
    return made


async def open_slow_session(port: int, *, segment: int = 1400, buffer: int = 8192) -> Session:
    """A session over a connection like a distant client's: small segments and a small receive buffer, so that the
    kernel does not hide that nobody reads."""
    raw = sockets.socket()
    raw.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_MAXSEG, segment)
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, buffer)
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(raw, ("127.0.0.1", port))
    _, socket = await loop.create_connection(Socket, sock=raw)
    socket.handshake("127.0.0.1", port, "/v1/connect")
    await asyncio.wait_for(socket.opened, 30)
    session = Session(socket)
    await session.hello()
    return session


class Loop:
    """Turns of many sessions: each ended turn is kept, and followed by another while ``again`` is set."""

    def __init__(self, sessions: Sequence[Session], text: str = QUESTION) -> None:
        self.sessions = sessions
        self.text = text
        self.again = False
        self.ended: list[Asked] = []
        for session in sessions:
            session.on_done = self._done

    def start(self) -> None:
        """A turn for every session, and the next one as soon as it has ended."""
        self.again = True
        for session in self.sessions:
            session.ask(self.text)

    async def settle(self, within_s: float = 30.0) -> None:
        """Ask no more and wait for what is open. Raises RuntimeError for turns that do not end."""
        self.again = False
        deadline = time.perf_counter() + within_s
        while any(session.open for session in self.sessions):
            if time.perf_counter() > deadline:
                left = sum(len(session.open) for session in self.sessions)
                raise RuntimeError(f"{left} turns did not end within {within_s:.0f} s")
            await asyncio.sleep(0.02)

    def _done(self, session: Session, asked: Asked) -> None:
        self.ended.append(asked)
        if self.again:
            session.ask(self.text)

    def close(self) -> None:
        """Drop the sockets."""
        self.again = False
        for session in self.sessions:
            session.on_done = None
            session.socket.abort()


@dataclass
class Times:
    """Milliseconds of ``turns`` turns that were answered, beside ``failed`` that were not. ``lag_p99``: how late the
    load generator itself was.
    """

    turns: int
    failed: int
    first_p50: float
    first_p99: float
    whole_p50: float
    whole_p99: float
    lag_p99: float = 0.0


def times(asked: Sequence[Asked], lags: Sequence[float] = ()) -> Times:
    """Of turns that have ended, from when each was due. Raises RuntimeError where none was answered."""
    good = [one for one in asked if one.status == "completed"]
    if not good:
        raise RuntimeError(f"no turn was answered; statuses: {sorted({one.status for one in asked})}")
    first = [(one.first - one.due) * 1000 for one in good]
    whole = [(one.done - one.due) * 1000 for one in good]
    q = quantile
    return Times(
        len(good),
        len(asked) - len(good),
        q(first, 0.5),
        q(first, 0.99),
        q(whole, 0.5),
        q(whole, 0.99),
        q(lags, 0.99) * 1000 if lags else 0.0,
    )


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Times of a Poisson process, in seconds from its start; the same for the same seed."""
    chance, at, found = random.Random(seed), 0.0, list[float]()
    while (at := at + chance.expovariate(rate)) < seconds:
        found.append(at)
    return found


async def offer(loop: Loop, rate: float, seconds: float, *, seed: int = 1) -> list[float]:
    """Ask at the times of a Poisson process, session after session, whether or not earlier turns have ended; returns
    how late each was asked. Latency counts from when a turn was due, so that a stall is not left out.
    """
    lags = []
    began = time.perf_counter()
    for number, at in enumerate(arrivals(rate, seconds, seed)):
        due = began + at
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        now = time.perf_counter()
        lags.append(now - due)
        loop.sessions[number % len(loop.sessions)].ask(loop.text, due)
    await asyncio.sleep(max(0.0, began + seconds - time.perf_counter()))
    return lags
