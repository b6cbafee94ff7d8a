"""From a client's ``turn.cancel`` to the seat being free for another turn.

Two ways of looking. *Next turn starts*: the only seat of the only worker is taken, another session's turn waits behind
it; the time runs from writing the cancel frame to that other turn's ``generating`` at its own socket, so it holds the
way of the next job from the broker and of its status to the client too. *Seat given back*: the worker notes the moment
at which the stopped answer's seat was released, on the machine's one monotonic clock.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.client import Asked, Loop, Session, offer, open_sessions
from bench.house import Plan, house
from bench.recovery import until
from bench.saturation import POOL, SHARE, closed
from bench.stack import quantile

CANCELS = 200
ENDLESS = "tokens=100000 every=20"
SHORT = "tokens=1 every=0"
BAR_MS = 100.0


@dataclass
class Cancels:
    """Milliseconds of ``count`` cancels. ``bar``: what p99 must not exceed, 0 for none."""

    load: str
    what: str
    count: int
    p50: float
    p99: float
    worst: float
    bar: float = 0.0


def _row(load: str, what: str, seconds: list[float], bar: float) -> Cancels:
    ms = [value * 1000 for value in seconds]
    return Cancels(load, what, len(ms), quantile(ms, 0.5), quantile(ms, 0.99), max(ms), bar)


def read_stamps(path: Path) -> dict[str, float]:
    """When each turn gave its seat back."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {turn: float(at) for turn, _, at in lines}


def _freed(path: Path, cancelled: dict[str, float]) -> list[float]:
    stamps = read_stamps(path)
    return [stamps[turn] - at for turn, at in cancelled.items()]


def _answering(asked: Asked) -> Callable[[], bool]:
    return lambda: asked.first > 0


def _handed_on(asked: Asked) -> Callable[[], bool]:
    """Its passages are told of once its generation job has been published."""
    return lambda: any(head.type == "retrieval" for _, head in asked.frames or ())


def _over(*turns: Asked) -> Callable[[], bool]:
    return lambda: all(asked.done for asked in turns)


def _stage(asked: Asked, stage: str) -> float:
    found = (at for at, head in asked.frames or () if head.type == "turn.status" and head.stage == stage)
    return next(found, 0.0)


async def idle(folder: Path, amqp: str, count: int) -> list[Cancels]:
    """Nothing else runs; one seat."""
    stamps = folder / "stamps"
    folder.mkdir(parents=True)
    plan = Plan(env={"PARLEY_SEATS": "1"}, launch={"inference": ("--stamps", str(stamps))})
    starts, ends, cancelled = list[float](), list[float](), dict[str, float]()
    async with house(folder, amqp, plan=plan) as running:
        first, second = await open_sessions(running.ports, 2, keep=True)
        for _ in range(count):
            held = first.ask(ENDLESS)
            await until(_answering(held), "an answer")
            next_one = second.ask(SHORT)
            await until(_handed_on(next_one), "the other turn's passages")
            await asyncio.sleep(0.02 + random.random() * 0.02)  # it waits in the queue; out of step with the tokens
            at = cancelled[held.turn] = first.cancel(held)
            await until(_over(held, next_one), "the end of both turns")
            _check(held, "cancelled")
            starts.append(_stage(next_one, "generating") - at)
            ends.append(held.done - at)
        running.alive()
    return [
        _row("idle", "next turn starts, at its socket", starts, BAR_MS),
        _row("idle", "seat given back, in the worker", _freed(stamps, cancelled), BAR_MS),
        _row("idle", "turn.done (cancelled, stored)", ends, 0),
    ]


def _check(asked: Asked, status: str) -> None:
    if asked.status != status:
        raise RuntimeError(f"a turn ended as {asked.status!r}, not as {status}")


async def loaded(folder: Path, amqp: str, rate: float, count: int) -> list[Cancels]:
    """Beside turns that arrive by chance at ``rate`` a second."""
    stamps = folder / "stamps"
    folder.mkdir(parents=True)
    plan = Plan(env={"PARLEY_SEATS": "256"}, launch={"inference": ("--stamps", str(stamps))})
    ends, cancelled = list[float](), dict[str, float]()
    async with house(folder, amqp, plan=plan) as running:
        loop = Loop(await open_sessions(running.ports, POOL))
        mine = await open_sessions(running.ports, 4)
        load = asyncio.create_task(offer(loop, rate, 600))
        try:
            await asyncio.sleep(2)
            each = count // len(mine)
            for took in await asyncio.gather(*(_cancel_often(session, each, cancelled) for session in mine)):
                ends += took
        finally:
            load.cancel()
            await asyncio.wait({load})
        await loop.settle(60)
        loop.close()
        running.alive()
    share = f"{SHARE:.0%} of the peak"
    return [
        _row(share, "seat given back, in the worker", _freed(stamps, cancelled), BAR_MS),
        _row(share, "turn.done (cancelled, stored)", ends, 0),
    ]


async def _cancel_often(session: Session, count: int, cancelled: dict[str, float]) -> list[float]:
    took = []
    for _ in range(count):
        held = session.ask(ENDLESS)
        await until(_answering(held), "an answer")
        await asyncio.sleep(random.random() * 0.05)
        at = cancelled[held.turn] = session.cancel(held)
        await until(_over(held), "the end of the turn")
        _check(held, "cancelled")
        took.append(held.done - at)
    return took


async def run(folder: Path, amqp: str, quick: bool, say: Callable[[str], None], peak: float = 0.0) -> list[Cancels]:
    """Idle, then at 70 % of ``peak`` turns per second (0: it is measured first)."""
    count = 20 if quick else CANCELS
    if not peak:
        async with house(folder / "cancel-peak", amqp) as running:
            peak = (await closed(running, "", 64, warm_s=1, measure_s=3)).turns_s
    say(f"cancel: {count} with nothing else at work")
    rows = await idle(folder / "cancel-idle", amqp, count)
    say(f"cancel: {count} beside {SHARE * peak:.0f} turns/s")
    return rows + await loaded(folder / "cancel-loaded", amqp, SHARE * peak, count)
