"""What a turn costs in each documented dialect, beside native turns on the same installation in the same run.

Closed loop: each socket asks, waits for the end of its answer and asks again. CPU is the sum of all processes and the
broker, without this client; the scripted engine answers everybody, so what differs is the dialect.
"""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.client import QUESTION, Loop, open_sessions
from bench.house import House, Meter, Plan, house
from bench.wire import Socket, open_socket

SOCKETS = 16
WARM_S = 1.5
MEASURE_S = 5.0
LIMIT = 1.3
"""A dialect may cost so much more CPU for a turn than a native one."""
ROUNDS = 2
"""Native and dialects in turn; the better round of each counts."""


@dataclass
class Row:
    """One dialect. ``cpu_us``: of a turn, by kind of process; ``ratio``: all but the client, to native."""

    name: str
    turns_s: float
    cpu_us: dict[str, float]
    ratio: float = 1.0

    @property
    def total_us(self) -> float:
        """Of a turn, without the client."""
        return sum(value for role, value in self.cpu_us.items() if role != "client")


@dataclass(frozen=True)
class Spoken:
    """How a dialect is spoken: where, the message of a question, and whether a frame ends its answer."""

    path: Callable[[House], Awaitable[str]]
    ask: str
    ends: Callable[[bytes], bool]


class Asker:
    """One socket in a closed loop."""

    def __init__(self, socket: Socket, spoken: Spoken) -> None:
        self.ended = 0
        self.running = True
        self._socket, self._spoken = socket, spoken
        socket.on_frame = self._take

    def ask(self) -> None:
        self._socket.send(self._spoken.ask)

    def close(self) -> None:
        self.running = False
        self._socket.abort()

    def _take(self, frame: bytes) -> None:
        if self._spoken.ends(frame):
            self.ended += 1
            if self.running:
                self.ask()


def _at(path: str) -> Callable[[House], Awaitable[str]]:
    async def found(_: House) -> str:
        return path

    return found


async def _tutor(running: House) -> str:
    """A session of its own for each socket."""
    async with httpx.AsyncClient(trust_env=False) as http:
        body = {"tutor_id": 1, "student_id": next(_students), "kb_id": None}
        answer = await http.post(f"http://127.0.0.1:{running.ports[0]}/v1/sessions", json=body, timeout=10)
        answer.raise_for_status()
    url: str = answer.json()["engine_url"]
    return "/" + url.split("://", 1)[1].split("/", 1)[1]


_students = itertools.count(1)
_NOW = "2026-01-01T00:00:00Z"
_SAID = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": QUESTION}]}
_RESPONSE = {"conversation": "none", "output_modalities": ["text"], "input": [_SAID]}
SPOKEN: dict[str, Spoken] = {
    "D0 data assistant": Spoken(
        _at("/"), json.dumps({"message": QUESTION}), lambda frame: b'"status":"success"' in frame
    ),
    "D1 contact chat": Spoken(
        _at("/contact"),
        json.dumps({"type": "chat_message", "message": QUESTION, "timestamp": _NOW}),
        lambda frame: b'"type":"chat_message",' in frame,
    ),
    "D2 tutor session": Spoken(
        _tutor, json.dumps({"type": "text", "content": QUESTION}), lambda frame: b'"type":"text"' in frame
    ),
    "D4 realtime ASR text": Spoken(
        _at("/ws/realtime-asr"),
        json.dumps({"type": "asr_chunk", "text": QUESTION, "is_final": True}),
        lambda frame: b'"final":true' in frame,
    ),
    "OpenAI Realtime, text": Spoken(
        _at("/v1/realtime?model=parley"),
        json.dumps({"type": "response.create", "response": _RESPONSE}),
        lambda frame: b'"type":"response.done"' in frame,
    ),
}


async def _native(running: House, seconds: float) -> Row:
    loop = Loop(await open_sessions(running.ports, SOCKETS))
    meter = Meter(running)
    try:
        loop.start()
        await asyncio.sleep(WARM_S)
        loop.ended.clear()
        meter.start()
        await asyncio.sleep(seconds)
        cost, count = meter.stop(), len(loop.ended)
        await loop.settle()
    finally:
        loop.close()
    return Row("native", count / cost.seconds, cost.per(count))


async def _dialect(running: House, name: str, seconds: float) -> Row:
    spoken = SPOKEN[name]
    port = running.ports[0]
    askers = [Asker(await open_socket(port, await spoken.path(running)), spoken) for _ in range(SOCKETS)]
    meter = Meter(running)
    try:
        for asker in askers:
            asker.ask()
        await asyncio.sleep(WARM_S)
        before = sum(asker.ended for asker in askers)
        meter.start()
        await asyncio.sleep(seconds)
        cost, count = meter.stop(), sum(asker.ended for asker in askers) - before
    finally:
        for asker in askers:
            asker.close()
    if not count:
        raise RuntimeError(f"{name}: no question was answered")
    return Row(name, count / cost.seconds, cost.per(count))


async def run(folder: Path, amqp: str, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Native first, then each dialect; the cheaper round of each."""
    best: dict[str, Row] = {}
    seconds = 1.0 if quick else MEASURE_S
    async with house(folder / "dialects", amqp, plan=Plan(env={"MAX_SESSIONS": "1000"})) as running:
        for number in range(1 if quick else ROUNDS):
            for name in ("native", *SPOKEN):
                if name == "native":
                    row = await _native(running, seconds)
                else:
                    row = await _dialect(running, name, seconds)
                say(f"dialects: round {number + 1}, {name}: {row.turns_s:.0f} turns/s, {row.total_us:.0f} us each")
                best[name] = min(best.get(name, row), row, key=lambda one: one.total_us)
        running.alive()
    native = best["native"].total_us
    for row in best.values():
        row.ratio = row.total_us / native
    return list(best.values())
