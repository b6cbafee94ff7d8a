"""Faults while somebody speaks: each fault in each phase of a spoken turn, one turn at a time.

Phases: ``listening`` (in mid-sentence), ``heard`` (after ``audio.stop``, before ``turn.accepted``), ``answering`` (at
the first word of the answer). The client does what the protocol tells it to: it comes back with its session and
position, and what had not been accepted it says again, under the same id. In the end there must be one turn with one
end, whose question is the undisturbed transcript, and its frames contiguous.
"""

import asyncio
import contextlib
import itertools
import json
import random
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection, connect

from parley_asr.engines.scripted import WORDS, speak

from .world import faults
from .world.faults import Act, Aimed
from .world.world import VOICE_ROLES, Member, World, WorldOptions

RATE = 16_000
PIECE_S = 0.02
SAID = tuple(WORDS[1 + number % 12] for number in range(8))
TEXT = " ".join(SAID)
PHASES = ("listening", "heard", "answering")
TURN_S = 60.0
AGAIN_S = 0.2
FAULTS: dict[str, tuple[str, Act, float]] = {
    **{f"kill-{role}": (role, faults.killed, 0.3) for role in ("asr", "gateway", "rag", "inference")},
    **{f"stop-{role}": (role, faults.paused, 3.2) for role in ("asr", "gateway", "inference")},
    **{f"restart-{role}": (role, faults.restarted, 0.3) for role in ("asr", "gateway")},
    **{f"cut-{role}": (role, faults.cut, 0.3) for role in ("asr", "gateway")},
    **{f"blackhole-{role}": (role, faults.silenced, 3.2) for role in ("asr", "gateway")},
    **{f"orphan-{role}": (role, faults.orphaned, 0.3) for role in ("asr", "gateway")},
    "cut-all": ("", faults.cut, 0.3),
    "alarm": ("", faults.alarmed, 1.5),
    "delete-listen": ("", faults.queue_deleted(lambda _, __: "parley.listen"), 0.3),
    "broker-restart": ("", faults.broker_restarted, 0.3),
    "broker-kill": ("", faults.broker_killed, 0.3),
}
"""Whom it hits ("": all), what it does, how long it lasts."""
STAGES = {"asr": "listen", "inference": "generate"}
TELLING = (
    ("kill-asr", "listening"),
    ("stop-asr", "listening"),
    ("broker-kill", "listening"),
    ("kill-gateway", "heard"),
)
"""What CI runs."""


def speaking(options: WorldOptions) -> WorldOptions:
    """With recognisers, and answers long enough to be spoken over."""
    return replace(options, roles=VOICE_ROLES, tokens=60, interval_ms=25.0, sentence=6)


def whole() -> list[tuple[str, str]]:
    """Every cell."""
    return list(itertools.product(FAULTS, PHASES))


def pieces() -> Iterator[bytes]:
    """What is said."""
    pcm = (speak(SAID, rate=RATE) * 32_767).astype("<i2").tobytes()
    size = int(RATE * PIECE_S) * 2
    for at in range(0, len(pcm), size):
        yield pcm[at : at + size]


@dataclass
class Told:
    """What the client has of its turn, and what it must never see."""

    text: str = ""
    finals: list[str] = field(default_factory=list)
    next_seq: int = 0
    accepted: bool = False
    done: dict[str, Any] | None = None
    broken: list[str] = field(default_factory=list)

    def take(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "turn.accepted":
            self.accepted = True
        if "seq" not in frame:
            return
        if self.done is not None:
            self.broken.append(f"a frame after the end: {frame['type']}")
        if frame["seq"] != self.next_seq:
            self.broken.append(f"seq {frame['seq']} in place of {self.next_seq}")
        self.next_seq = frame["seq"] + 1
        match frame["type"]:
            case "transcript.final":
                self.finals.append(frame["text"])
            case "answer.delta":
                self.text += frame["text"]
            case "turn.restarted":
                self.text = ""
            case "turn.done":
                self.done = frame

    def anew(self) -> None:
        """What was not accepted is said again: its frames begin anew."""
        self.text, self.next_seq = "", 0
        self.finals.clear()


class Speaker:
    """One client that says one turn. ``at`` is called once in each phase."""

    def __init__(self, url: Callable[[], str], turn: str, at: Callable[[str], None]) -> None:
        self.told = Told()
        self._url = url
        self._turn = turn
        self._at = at
        self._session: str | None = None
        self._position: str | None = None

    async def run(self) -> None:
        """Until the turn has ended. Raises TimeoutError after :data:`TURN_S`."""
        async with asyncio.timeout(TURN_S):
            while self.told.done is None:
                with contextlib.suppress(OSError, TimeoutError, websockets.WebSocketException):
                    async with connect(f"{self._url()}/v1/connect", open_timeout=3, close_timeout=1) as socket:
                        await self._converse(socket)
                await asyncio.sleep(AGAIN_S)

    async def _converse(self, socket: ClientConnection) -> None:
        told = self.told
        hello: dict[str, Any] = {"type": "hello", "session": self._session}
        if told.accepted:
            hello |= {"position": self._position, "pending": [self._turn]}
        else:
            told.anew()
        await socket.send(json.dumps(hello))
        talking: asyncio.Task[None] | None = None
        try:
            async for data in socket:
                frame = json.loads(data)
                if frame["type"] == "welcome":
                    self._session = frame["session"]
                if frame["type"] == "welcome" or (frame["type"] == "error" and not told.accepted):
                    told.broken += [] if frame.get("retryable", True) else [f"error {frame['code']}"]
                    talking = talking if told.accepted else await self._anew(socket, talking)
                    continue
                told.take(frame)
                if "seq" in frame:
                    self._position = frame["position"]
                if frame["type"] == "answer.delta":
                    self._at("answering")
                if told.done is not None:
                    return
        finally:
            if talking is not None:
                talking.cancel()
                await asyncio.gather(talking, return_exceptions=True)

    async def _anew(self, socket: ClientConnection, talking: "asyncio.Task[None] | None") -> "asyncio.Task[None]":
        if talking is not None:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)
            await asyncio.sleep(AGAIN_S)
            self.told.anew()
        return asyncio.create_task(self._say(socket))

    async def _say(self, socket: ClientConnection) -> None:
        loop = asyncio.get_running_loop()
        await socket.send(json.dumps({"type": "audio.start", "turn": self._turn}))
        begun, said = loop.time(), list(pieces())
        for number, piece in enumerate(said, 1):
            await socket.send(piece)
            if number == len(said) // 2:
                self._at("listening")
            await asyncio.sleep(max(0.0, begun + number * PIECE_S - loop.time()))
        await socket.send(json.dumps({"type": "audio.stop"}))
        self._at("heard")


@dataclass(frozen=True)
class Cell:
    """What came of one fault in one phase: ``broken`` is empty where every promise was kept."""

    fault: str
    phase: str
    seconds: float
    broken: tuple[str, ...]


async def at_work(world: World, role: str) -> Member:
    """The process of that role that is at work, where that can be told."""
    members = world.of(role)
    stage = STAGES.get(role)
    for member in members if stage else []:
        text = await asyncio.to_thread(member.service.metrics)
        if f'parley_seats_busy{{stage="{stage}"}} 1.0' in text:
            return member
    return members[0]


class VoiceMatrix:
    """Runs cells, one after the other, on a world with recognisers."""

    def __init__(self, world: World, say: Callable[[str], None] = print) -> None:
        self._world = world
        self._say = say
        self._count = 0

    async def run(self, cells: Iterable[tuple[str, str]]) -> list[Cell]:
        """Every cell on an installation that is whole."""
        found = []
        for fault, phase in cells:
            loop = asyncio.get_running_loop()
            began = loop.time()
            broken = await self._fire(fault, phase)
            broken += [f"{name} ended by itself" for name in await self._world.steady()]
            cell = Cell(fault, phase, loop.time() - began, tuple(broken))
            self._say(f"{fault:<16} {phase:<10} {cell.seconds:5.1f} s  {'; '.join(broken) or 'kept'}")
            found.append(cell)
        return found

    async def _fire(self, fault: str, phase: str) -> list[str]:
        self._count += 1
        turn = f"v{self._count}-{fault}-{phase}"
        role, act, lasts_s = FAULTS[fault]
        reached = asyncio.Event()
        speaker = Speaker(self._gateway, turn, lambda at: reached.set() if at == phase else None)
        speaking = asyncio.create_task(speaker.run())
        waiting = asyncio.create_task(reached.wait())
        await asyncio.wait({speaking, waiting}, timeout=TURN_S, return_when=asyncio.FIRST_COMPLETED)
        if not reached.is_set():
            speaking.cancel()
            await asyncio.gather(speaking, waiting, return_exceptions=True)
            return [f"the turn never came to {phase}"]
        target = await at_work(self._world, role) if role else None
        async with act(Aimed(self._world, random.Random(turn), target)):
            await asyncio.sleep(lasts_s)
        try:
            await speaking
        except TimeoutError:
            return [*speaker.told.broken, "no end"]
        return [*speaker.told.broken, *self._judge(turn, speaker.told)]

    def _gateway(self) -> str:
        """The first that runs: so that whom a fault hits is known."""
        found = next(member for member in self._world.of("gateway") if member.open() and not member.paused)
        return found.service.url.replace("http", "ws")

    def _judge(self, turn: str, told: Told) -> list[str]:
        done, rows = told.done, self._rows(turn)
        assert done is not None
        broken = []
        if done["status"] != "completed":
            broken.append(f"ended {done['status']}")
        if any(final != TEXT for final in told.finals):
            broken.append(f"heard {told.finals}")
        if done["text"] != told.text:
            broken.append("the deltas are not the text")
        if rows != [(TEXT, "completed", done["text"])]:
            broken.append(f"stored {rows}")
        return broken

    def _rows(self, turn: str) -> list[tuple[str, str, str]]:
        path = self._world.stack.store.removeprefix("sqlite+aiosqlite:///")
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
            rows = database.execute("SELECT question, status, text FROM turns WHERE turn = ?", (turn,)).fetchall()
        return [(json.loads(question), status, json.loads(text)) for question, status, text in rows]
