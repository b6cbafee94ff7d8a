"""How long a turn stands still when a process under it is killed with SIGKILL, as its client sees it.

Two of each service; one turn at a time, so that every kill hits it. Times run from the kill (of the broker: from the
moment its port answers again) to the next frame at the socket that the survivors have made.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.broker import OwnBroker, own_broker
from bench.client import Asked, Head, Session, open_sessions
from bench.house import House, Layout, Member, Plan, house
from bench.stack import answering, quantile
from bench.wire import open_socket

KILLS = 20
BROKER_KILLS = 10
LONG = "tokens=100 every=20"
OUTAGE = "tokens=600 every=50"
BEFORE = 10
"""Deltas at the socket before the kill."""
WITHIN_S = 30.0
BAR_S = 2.0


@dataclass
class Recovery:
    """Seconds, one for each kill. ``bar``: what p95 must not exceed, 0 for none; ``restarted``: turns that began
    anew in place of going on."""

    name: str
    what: str
    bar: float
    seconds: list[float] = field(default_factory=list)
    restarted: int = 0

    @property
    def p50(self) -> float:
        return quantile(self.seconds, 0.5)

    @property
    def p95(self) -> float:
        return quantile(self.seconds, 0.95)


async def until(condition: Callable[[], object], what: str, within_s: float = WITHIN_S) -> None:
    """Raises RuntimeError where it does not become true."""
    deadline = time.perf_counter() + within_s
    while not condition():
        if time.perf_counter() > deadline:
            raise RuntimeError(f"{what}: not within {within_s:.0f} s")
        await asyncio.sleep(0.002)


def deltas(asked: Asked, after: float = 0.0) -> list[float]:
    """When answer text came."""
    return [at for at, head in asked.frames or () if head.type == "answer.delta" and at > after]


def after_silence(asked: Asked, killed: float) -> float:
    """Seconds from the kill to the end of the longest silence that followed: what was under way may still arrive."""
    at = [killed, *deltas(asked, killed)]
    ends = max(range(1, len(at)), key=lambda index: at[index] - at[index - 1])
    return at[ends] - killed


def _restarted(asked: Asked) -> bool:
    return any(head.type == "turn.restarted" for _, head in asked.frames or ())


async def _finished(asked: Asked) -> None:
    await until(lambda: asked.done, "the end of the turn", 60)
    if asked.status != "completed":
        raise RuntimeError(f"a turn ended as {asked.status} after a kill")


class Kills:
    """The kills of one installation."""

    def __init__(self, running: House, session: Session, flag: Path) -> None:
        self._house = running
        self._session = session
        self._flag = flag
        self._here = Path(f"{flag}.here")

    async def inference(self, found: Recovery) -> None:
        """Mid-answer."""
        asked = self._session.ask(LONG)
        await until(lambda: len(deltas(asked)) >= BEFORE, "an answer")
        for member in self._house.of("inference"):
            if await member.metric('parley_seats_busy{stage="generate"}'):
                break
        else:
            raise RuntimeError("no process has a seat taken: the answer was over before the kill")
        killed = await self._house.kill(member)
        await _finished(asked)
        found.seconds.append(after_silence(asked, killed))
        found.restarted += _restarted(asked)
        await self._house.again(member)

    async def rag(self, found: Recovery) -> None:
        """While it looks a question up, or while it is about to store a record: whatever the launch holds."""
        self._flag.touch()
        asked = self._session.ask("tokens=5 every=0")
        await until(self._here.exists, "a process at the hold")
        await asyncio.sleep(0.05)  # what it has sent before arrives
        pid = int(self._here.read_text())
        member = next(one for one in self._house.of("rag") if one.pid == pid)
        killed = await self._house.kill(member)
        self._flag.unlink()
        self._here.unlink()
        await _finished(asked)
        at = next(at for at, head in asked.frames or () if at > killed)
        found.seconds.append(at - killed)
        found.restarted += _restarted(asked)
        await self._house.again(member)

    async def gateway(self, back: Recovery, first: Recovery) -> None:
        """Under the socket; the client goes to the other gateway at once."""
        old, ports = self._session, self._house.ports
        asked = old.ask(LONG)
        await until(lambda: len(deltas(asked)) >= BEFORE, "an answer")
        member: Member = self._house.of("gateway")[0]
        killed = await self._house.kill(member)
        await old.socket.closed.wait()
        fresh = Session(await open_socket(ports[1], "/v1/connect"), keep=True)
        await fresh.hello(old.id, old.position, [asked.turn])
        back.seconds.append(time.perf_counter() - killed)
        resumed = fresh.open.get(asked.turn)
        if resumed is None:
            raise RuntimeError("the turn was over before its client came back")
        await _finished(resumed)
        first.seconds.append(deltas(resumed)[0] - killed)
        first.restarted += _restarted(resumed)
        fresh.socket.abort()
        await self._house.again(member)
        self._session = (await open_sessions(ports[:1], 1, keep=True))[0]


async def _series(folder: Path, amqp: str, hold: str, count: int, work: Callable[[Kills], Awaitable[None]]) -> None:
    flag = folder / "hold"
    plan = Plan(launch={"rag": ("--hold", hold, "--flag", str(flag))} if hold else {})
    async with house(folder, amqp, Layout(2, 2, 2), plan) as running:
        kills = Kills(running, (await open_sessions(running.ports[:1], 1, keep=True))[0], flag)
        for _ in range(count):
            await work(kills)


async def services(folder: Path, amqp: str, count: int, say: Callable[[str], None]) -> list[Recovery]:
    """Gateway, inference and rag."""
    inference = Recovery("inference, mid-answer", "next delta", BAR_S)
    back = Recovery("gateway, mid-answer", "client back on the other gateway", 0)
    first = Recovery("gateway, mid-answer", "next delta there", 0)
    rag = Recovery("rag, while retrieving", "next event", 0)
    recorder = Recovery("rag, before the record is stored", "turn.done", 0)
    say(f"recovery: {count} kills of inference")
    await _series(folder / "inference", amqp, "", count, lambda kills: kills.inference(inference))
    say(f"recovery: {count} kills of the gateway")
    await _series(folder / "gateway", amqp, "", count, lambda kills: kills.gateway(back, first))
    say(f"recovery: {count} kills of rag while retrieving")
    await _series(folder / "rag", amqp, "search", count, lambda kills: kills.rag(rag))
    say(f"recovery: {count} kills of rag before a record is stored")
    await _series(folder / "recorder", amqp, "close", count, lambda kills: kills.rag(recorder))
    return [inference, back, first, rag, recorder]


@dataclass
class Outage:
    """What is seen of the broker's outages."""

    degraded: Recovery = field(default_factory=lambda: Recovery("broker", "degraded at the socket, from the kill", 0))
    consuming: Recovery = field(default_factory=lambda: Recovery("broker", "every process consumes again", BAR_S))
    restored: Recovery = field(default_factory=lambda: Recovery("broker", "restored at the socket", 0))
    delta: Recovery = field(default_factory=lambda: Recovery("broker", "next delta", BAR_S))

    def all(self) -> list[Recovery]:
        return [self.degraded, self.consuming, self.restored, self.delta]


async def _outage(running: House, session: Session, node: OwnBroker, seen: Outage) -> None:
    told: dict[str, float] = {}

    def take(head: Head, at: float) -> None:
        told.setdefault(head.type, at)

    asked = session.ask(OUTAGE)
    await until(lambda: len(deltas(asked)) >= BEFORE, "an answer")
    session.on_head = take
    killed = await node.kill()
    await until(lambda: "degraded" in told, "degraded")
    seen.degraded.seconds.append(told["degraded"] - killed)
    told.clear()
    answered = await node.restart()
    for member in running.members:
        await answering(member.health, "/readyz?without=workers", member.child, pause_s=0.01)
    seen.consuming.seconds.append(time.perf_counter() - answered)
    await until(lambda: "restored" in told and "answer.delta" in told, "restored and a delta")
    seen.restored.seconds.append(max(0.0, told["restored"] - answered))
    seen.delta.seconds.append(max(0.0, deltas(asked, answered)[0] - answered))
    seen.delta.restarted += _restarted(asked)
    session.on_head = None
    session.cancel(asked)
    await until(lambda: asked.done, "the end of the turn", 60)


async def broker(folder: Path, count: int, say: Callable[[str], None]) -> list[Recovery]:
    """SIGKILL and a new start of a node of our own, with every process and an answer on it."""
    seen = Outage()
    async with own_broker(folder / "node") as node, house(folder, node.url, Layout(2, 2, 2)) as running:
        session = (await open_sessions(running.ports[:1], 1, keep=True))[0]
        for number in range(count):
            say(f"recovery: kill {number + 1} of {count} of the broker")
            await _outage(running, session, node, seen)
    return seen.all()


async def run(folder: Path, amqp: str, quick: bool, say: Callable[[str], None]) -> list[Recovery]:
    """Every kind of kill."""
    found = await services(folder / "recovery", amqp, 3 if quick else KILLS, say)
    return found + await broker(folder / "outage", 2 if quick else BROKER_KILLS, say)
