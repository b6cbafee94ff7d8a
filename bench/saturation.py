"""Turns per second when every session asks again at once, what a turn costs each kind of process, and latency at 70 %.

Closed loop: a session asks, waits for ``turn.done`` and asks again. Sessions are doubled until that gives no more. The
whole path is real: sockets, broker, claim, search, scripted engine, record. Where the machine has fewer cores than
there are processes, adding processes cannot add turns: the CPU of a turn then says what one core would carry.
"""

import asyncio
import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.client import Loop, Times, offer, open_sessions, times
from bench.house import House, Layout, Meter, house

LAYOUTS = (Layout(1, 1, 1), Layout(1, 2, 2), Layout(1, 4, 4), Layout(2, 2, 2), Layout(4, 4, 4))
SESSIONS = (16, 32, 64, 128, 256)
GAIN = 1.04
"""Twice the sessions must give so much more; the climb ends when that fails twice in a row."""
WARM_S = 2.0
MEASURE_S = 6.0
SHARE = 0.7
POOL = 400
"""Sessions of the open loop."""
OPEN_S = 20.0


@dataclass
class Peak:
    """The best of one layout's climb. ``cpu_us``: of a turn, by kind of process; ``busy``: share of all CPU that is in
    use, ``ours`` by these processes and this client.
    """

    layout: str
    sessions: int
    turns_s: float
    first_p50: float
    whole_p50: float
    whole_p99: float
    busy: float
    ours: float
    cpu_us: dict[str, float]


@dataclass
class Loaded:
    """Latency at a part of the peak, turns arriving by chance."""

    share: float
    turns_s: float
    busy: float
    times: Times


@dataclass
class Result:
    """Both."""

    peaks: list[Peak]
    loaded: Loaded


async def closed(running: House, layout: str, sessions: int, *, warm_s: float, measure_s: float) -> Peak:
    """One point: ``sessions`` that never rest."""
    loop = Loop(await open_sessions(running.ports, sessions))
    meter = Meter(running)
    try:
        loop.start()
        await asyncio.sleep(warm_s)
        loop.ended.clear()
        meter.start()
        await asyncio.sleep(measure_s)
        cost, ended = meter.stop(), list(loop.ended)
        await loop.settle()
    finally:
        loop.close()
    running.alive()
    found = times(ended)
    if found.failed:
        raise RuntimeError(f"{found.failed} turns were not answered: {sorted({one.status for one in ended})}")
    rate = len(ended) / cost.seconds
    per = cost.per(len(ended))
    return Peak(layout, sessions, rate, found.first_p50, found.whole_p50, found.whole_p99, cost.busy, cost.ours, per)


async def climb(folder: Path, amqp: str, layout: Layout, quick: bool, say: Callable[[str], None]) -> Peak:
    """Double the sessions while that helps."""
    best: Peak | None = None
    misses = 0
    async with house(folder, amqp, layout) as running:
        for sessions in SESSIONS[2:4] if quick else SESSIONS:
            warm, measure = (1.0, 2.0) if quick else (WARM_S, MEASURE_S)
            found = await closed(running, str(layout), sessions, warm_s=warm, measure_s=measure)
            say(f"saturation: gateways / rag / inference {layout}, {sessions} sessions: {found.turns_s:.0f} turns/s")
            misses = 0 if best is None or found.turns_s >= GAIN * best.turns_s else misses + 1
            best = found if best is None else max(best, found, key=lambda one: one.turns_s)
            if misses == 2:
                break
    assert best is not None
    return best


async def loaded(folder: Path, amqp: str, rate: float, seconds: float, say: Callable[[str], None]) -> Loaded:
    """Turns at ``rate`` a second, due by chance, on one process of each kind."""
    say(f"load: {rate:.0f} turns/s, {SHARE:.0%} of the peak, for {seconds:.0f} s")
    async with house(folder, amqp) as running:
        loop = Loop(await open_sessions(running.ports, POOL))
        meter = Meter(running)
        try:
            await offer(loop, rate / 2, min(3.0, seconds), seed=7)
            await loop.settle()
            loop.ended.clear()
            gc.collect()
            gc.disable()
            meter.start()
            lags = await offer(loop, rate, seconds)
            cost = meter.stop()
            await loop.settle(60)
        finally:
            gc.enable()
            loop.close()
        running.alive()
    return Loaded(SHARE, len(loop.ended) / seconds, cost.busy, times(loop.ended, lags))


async def run(folder: Path, amqp: str, quick: bool, say: Callable[[str], None]) -> Result:
    """Every layout, then 70 % of the first one's peak."""
    peaks = []
    for number, layout in enumerate(LAYOUTS[:2] if quick else LAYOUTS):
        peaks.append(await climb(folder / f"peak-{number}", amqp, layout, quick, say))
    found = await loaded(folder / "loaded", amqp, SHARE * peaks[0].turns_s, 5.0 if quick else OPEN_S, say)
    return Result(peaks, found)
