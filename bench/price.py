"""What each guarantee costs: the same installation with and without it, in turn, round after round.

A ratio is made within its round, so that what slows the machine slows both sides; the table gives the median ratio and
its range over the rounds.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.client import Loop, open_sessions, times
from bench.house import ROLES, House, Plan, house
from bench.saturation import closed
from bench.without import VARIANTS

ROUNDS = 5
SESSIONS = 64
ALONE = 120
"""Turns asked one at a time."""
PACE_S = 0.01
OWN = ("gateway", "rag", "inference", "broker")


@dataclass
class Sample:
    """One installation in one round. Milliseconds at low load; turns per second and CPU per turn at the peak."""

    first_ms: float
    whole_ms: float
    turns_s: float
    cpu_us: float


@dataclass
class Price:
    """With all guarantees divided by without this one: above 1 it costs. Of turns/s the reverse: 1.2 means that without
    it there are 20 % more. Each as (lowest, median, highest) of the rounds.
    """

    name: str
    lost: str
    samples: list[Sample] = field(default_factory=list)
    first: tuple[float, float, float] = (0, 0, 0)
    whole: tuple[float, float, float] = (0, 0, 0)
    rate: tuple[float, float, float] = (0, 0, 0)
    cpu: tuple[float, float, float] = (0, 0, 0)


@dataclass
class Result:
    """``on``: everything as shipped, a sample per round."""

    on: list[Sample]
    prices: list[Price]


async def alone(running: House, turns: int) -> tuple[float, float]:
    """p50 of first token and of the whole turn, one turn at a time."""
    loop = Loop(await open_sessions(running.ports, 1))
    try:
        for _ in range(turns + 20):
            loop.sessions[0].ask()
            await loop.settle()
            await asyncio.sleep(PACE_S)
    finally:
        loop.close()
    found = times(loop.ended[20:])
    return found.first_p50, found.whole_p50


async def sample(folder: Path, amqp: str, plan: Plan, quick: bool) -> Sample:
    """Start it, ask alone, then at the peak, end it."""
    async with house(folder, amqp, plan=plan) as running:
        first, whole = await alone(running, 20 if quick else ALONE)
        warm, measure = (0.5, 1.5) if quick else (1.5, 4.0)
        peak = await closed(running, "", SESSIONS, warm_s=warm, measure_s=measure)
    return Sample(first, whole, peak.turns_s, sum(peak.cpu_us[role] for role in OWN))


def _spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), median(values), max(values)


def plans() -> dict[str, tuple[str, Plan]]:
    """By name: what is lost, and how it is started."""
    return {name: (one.lost, Plan(launch=dict.fromkeys(ROLES, ("--without", name)))) for name, one in VARIANTS.items()}


async def run(folder: Path, amqp: str, quick: bool, say: Callable[[str], None]) -> Result:
    """``ROUNDS`` rounds of everything as shipped, then of each variant."""
    wanted = plans()
    prices = {name: Price(name, lost) for name, (lost, _) in wanted.items()}
    on: list[Sample] = []
    for number in range(1 if quick else ROUNDS):
        say(f"price: round {number + 1}, as shipped")
        on.append(await sample(folder / f"price-{number}", amqp, Plan(), quick))
        for name, (_, plan) in wanted.items():
            say(f"price: round {number + 1}, without {name}")
            prices[name].samples.append(await sample(folder / f"price-{number}-{name}", amqp, plan, quick))
    for price in prices.values():
        pairs = list(zip(on, price.samples, strict=True))
        price.first = _spread([with_.first_ms / off.first_ms for with_, off in pairs])
        price.whole = _spread([with_.whole_ms / off.whole_ms for with_, off in pairs])
        price.rate = _spread([off.turns_s / with_.turns_s for with_, off in pairs])
        price.cpu = _spread([with_.cpu_us / off.cpu_us for with_, off in pairs])
    return Result(on, list(prices.values()))
