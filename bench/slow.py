"""1,000 sessions that ask for long answers and stop reading: memory of the processes, and what others feel of it.

Their connections are like a distant client's (small segments, small buffers), so that it is the gateway that has to
cope and not the kernel. The same answers to the same number of sessions that do read stand beside it: the difference is
what slow readers cost. Other sessions ask short questions until the first of the long answers ends: storing a thousand
of those is work of another kind.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.client import Loop, Session, Times, offer, open_sessions, open_slow_session, times
from bench.house import ROLES, House, Plan, house
from bench.idle import raise_file_limit
from bench.stack import rss

SESSIONS = 1000
TOKENS = 120
EVERY_MS = 300
TOKEN_BYTES = 2000
SPREAD_S = 15.0
"""Over which the sessions begin, so that their answers do not all end, and are stored, in one second."""
OTHERS = 50
OTHERS_RATE = 20.0
LOOK_S = 0.1
ENDED_S = 180.0
MIB = 1024 * 1024
SHORT = "tokens=20 every=0"


@dataclass
class Slow:
    """MiB by kind of process: before the answers, the most until the last was stored, and 5 s after that."""

    name: str
    sessions: int
    answer_kib: float
    before: dict[str, float]
    during: dict[str, float]
    after: dict[str, float]
    closed: int
    """Sockets that the gateway gave up, each with a code that lets its client resume."""
    others: Times
    """Of the other sessions' turns, while the answers streamed."""
    series: list[tuple[float, float]] = field(default_factory=list)
    """Seconds and the gateway's MiB."""


def _memory(running: House) -> dict[str, float]:
    return {role: sum(rss(member.pid) for member in running.of(role)) / MIB for role in ROLES}


async def _watch(running: House, peak: dict[str, float], series: list[tuple[float, float]]) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        now = _memory(running)
        for role, value in now.items():
            peak[role] = max(peak.get(role, 0.0), value)
        series.append((round(loop.time() - began, 2), round(now["gateway"], 1)))
        await asyncio.sleep(LOOK_S)


async def _closed(running: House) -> int:
    lines = (await running.of("gateway")[0].metrics()).splitlines()
    return int(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("parley_closes_total{")))


async def _all_ended(running: House) -> None:
    deadline = asyncio.get_running_loop().time() + ENDED_S
    while await running.of("gateway")[0].metric("parley_turns_open"):
        if asyncio.get_running_loop().time() > deadline:
            raise RuntimeError(f"answers had not ended after {ENDED_S:.0f} s")
        await asyncio.sleep(0.5)


async def _begin(sessions: Sequence[Session], question: str, reading: bool) -> None:
    """Ask, one after another; who does not read stops as soon as it has asked."""
    for session in sessions:
        session.ask(question)
        if not reading:
            session.socket.pause()
        await asyncio.sleep(SPREAD_S / len(sessions))


async def measure(folder: Path, amqp: str, count: int, tokens: int, reading: bool) -> Slow:
    """One installation, one storm of answers."""
    question = f"tokens={tokens} every={EVERY_MS} tag={'x' * TOKEN_BYTES}"
    plan = Plan(env={"PARLEY_SEATS": str(count + 64), "PARLEY_QUEUED_TURNS": "64"})
    seconds = tokens * EVERY_MS / 1000
    async with house(folder, amqp, plan=plan) as running:
        loop = Loop(await open_sessions(running.ports, OTHERS), SHORT)
        sessions = [await open_slow_session(running.ports[0]) for _ in range(count)]
        await offer(loop, OTHERS_RATE, 2.0, seed=3)
        await loop.settle()
        loop.ended.clear()
        before, peak, series = _memory(running), dict[str, float](), list[tuple[float, float]]()
        watching = asyncio.create_task(_watch(running, peak, series))
        asking = asyncio.create_task(_begin(sessions, question, reading))
        lags = await offer(loop, OTHERS_RATE, seconds)
        await loop.settle(60)
        await asking
        await _all_ended(running)
        await asyncio.sleep(5)
        watching.cancel()
        after, lost = _memory(running), await _closed(running)
        running.alive()
        for session in sessions:
            session.socket.abort()
        loop.close()
    name = "that read" if reading else "that stop reading"
    size = tokens * TOKEN_BYTES / 1024
    return Slow(name, count, size, before, peak, after, lost, times(loop.ended, lags), series)


async def run(folder: Path, amqp: str, quick: bool, say: Callable[[str], None]) -> list[Slow]:
    """With readers, then without."""
    raise_file_limit()
    count, tokens = (100, 60) if quick else (SESSIONS, TOKENS)
    rows = []
    for reading in (True, False):
        say(f"slow readers: {count} sessions {'that read' if reading else 'that stop reading'}")
        rows.append(await measure(folder / f"slow-{reading}", amqp, count, tokens, reading))
    return rows
