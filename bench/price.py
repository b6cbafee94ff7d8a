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
    """With the guarantee divided by without it: above 1 it costs. Of turns/s the reverse: 1.2 means that there are 20 %
    more without it. Each as (lowest, median, highest) of the rounds. ``added``: it is not shipped, and the price is
    that of having it as well.
    """

    name: str
    what: str
    added: bool = False
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


def plans() -> dict[str, tuple[Price, Plan]]:
    """By name: what is left out or added, and how that is started."""
    made = {
        name: (Price(f"without {name}", one.lost), Plan(launch=dict.fromkeys(ROLES, ("--without", name))))
        for name, one in VARIANTS.items()
    }
    made["claims"] = (
        Price("with claims", "a claim at every stage (PARLEY_CLAIM=always)", added=True),
        Plan(env={"PARLEY_CLAIM": "always"}),
    )
    return made


def _ratios(price: Price, on: list[Sample]) -> None:
    sides = [(one, shipped) if price.added else (shipped, one) for shipped, one in zip(on, price.samples, strict=True)]
    price.first = _spread([having.first_ms / not_.first_ms for having, not_ in sides])
    price.whole = _spread([having.whole_ms / not_.whole_ms for having, not_ in sides])
    price.rate = _spread([not_.turns_s / having.turns_s for having, not_ in sides])
    price.cpu = _spread([having.cpu_us / not_.cpu_us for having, not_ in sides])


async def run(folder: Path, amqp: str, quick: bool, say: Callable[[str], None]) -> Result:
    """``ROUNDS`` rounds of everything as shipped, then of each variant."""
    wanted = plans()
    on: list[Sample] = []
    for number in range(1 if quick else ROUNDS):
        say(f"price: round {number + 1}, as shipped")
        on.append(await sample(folder / f"price-{number}", amqp, Plan(), quick))
        for name, (price, plan) in wanted.items():
            say(f"price: round {number + 1}, {price.name}")
            price.samples.append(await sample(folder / f"price-{number}-{name}", amqp, plan, quick))
    prices = [price for price, _ in wanted.values()]
    for price in prices:
        _ratios(price, on)
    return Result(on, prices)
