"""One run: a world, sessions that ask, faults from a seed, a verdict and a report."""

import asyncio
import random
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .checker.checker import judge
from .checker.stranded import stranded
from .checker.verdict import Verdict
from .crowd.clients import Fleet
from .crowd.plans import Habits
from .crowd.readers import soon
from .crowd.wire import FixedDoor
from .history import Asked, Healed, History, Injected, Received
from .lookout import Lookout
from .matrix import Cell, Matrix, Volley
from .world.faults import CATALOGUE, Aimed, Fault
from .world.waiting import FAULT as AWAY
from .world.world import World, WorldOptions, open_world

FINISH_S = 90.0
"""Longest wait for the ends of open turns, after every fault is healed: more than their longest deadline."""
PROGRESS_S = 10.0
BUSY = Habits()
BROKEN = (AssertionError, RuntimeError, subprocess.SubprocessError)
"""A process that does not become ready or does not end, a broker that does not start or does not obey: the run ends."""


@dataclass(frozen=True)
class RunOptions:
    """``only``: names of the faults to choose from; none: all."""

    world: WorldOptions
    out: Path
    sessions: int = 12
    stoppers: int = 1
    only: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What came of a run. ``injections``: faults that happened; the history has one entry for each turn aimed at."""

    history: History
    verdict: Verdict
    injections: int
    problems: list[str] = field(default_factory=list)
    """What went wrong with the run itself: a process that ended or hung, a client that was sent away."""
    cells: list[Cell] = field(default_factory=list)
    stranded: list[str] = field(default_factory=list)
    """Turns that nobody worked on any more, though no fault had taken their jobs away."""

    @property
    def ok(self) -> bool:
        """Nothing broken or stranded, nothing ended by itself, and every fault happened where it was aimed."""
        return self.verdict.ok and not self.problems and not self.missed and not self.stranded

    @property
    def missed(self) -> list[Cell]:
        """Cells whose fault was not injected at their phase."""
        return [cell for cell in self.cells if cell.missed]


@dataclass
class Running:
    """A run under way."""

    world: World
    history: History
    fleet: Fleet
    say: Callable[[str], None]
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Where it stands."""
        asked = sum(isinstance(one, Asked) for one in self.history.happenings)
        done = sum(
            isinstance(one, Received) and one.frame.get("type") == "turn.done" for one in self.history.happenings
        )
        faults = len(injections(self.history))
        minutes, seconds = divmod(int(self.history.now()), 60)
        return (
            f"{minutes:3d}:{seconds:02d}  turns asked {asked}, ends read {done}, open {self.fleet.open_turns}; "
            f"faults {faults}; troubles {len(self.problems) + len(self.fleet.troubles)}"
        )


def injections(history: History) -> set[tuple[float, str, str]]:
    """Faults that happened, each once however many turns it was aimed at."""
    return {(one.at, one.fault, one.target) for one in history.happenings if isinstance(one, Injected)}


@asynccontextmanager
async def running(options: RunOptions, say: Callable[[str], None]) -> AsyncIterator[Running]:
    """A world under load. The folder ``out`` gets the history while it happens, every process's log, and ``still.txt``
    where turns stood still.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    history = History(options.out / "history.jsonl")
    try:
        async with open_world(options.world) as world:
            say(f"ready: {len(world.members)} processes, logs in {world.folder}")
            fleet = Fleet(
                world.balancer.door,
                history,
                sessions=options.sessions,
                stoppers=options.stoppers,
                seed=options.world.seed,
                habits=BUSY,
            )
            lookout = asyncio.ensure_future(Lookout(world, history, options.out / "still.txt").run())
            try:
                async with fleet:
                    yield Running(world, history, fleet, say)
            finally:
                lookout.cancel()
                (end,) = await asyncio.gather(lookout, return_exceptions=True)
                if not isinstance(end, asyncio.CancelledError):
                    say(f"nobody looked out for turns that stood still: {end!r}")
    finally:
        history.close()


async def matrix(options: RunOptions, volleys: Sequence[Volley], say: Callable[[str], None]) -> Outcome:
    """Every volley whose fault is among ``only``."""
    chosen = [volley for volley in volleys if not options.only or volley.fault in options.only]
    async with running(options, say) as run:
        firing = Matrix(run.world, run.history, run.fleet, options.world.seed, say)
        try:
            await firing.run(chosen)
        except BROKEN as error:
            run.problems.append(str(error))
        outcome = await _end(run)
        outcome.cells = firing.cells
        outcome.problems += [f"{name} ended by itself" for name in firing.ended]
        return outcome


async def storm(options: RunOptions, minutes: float, stop: asyncio.Event, say: Callable[[str], None]) -> Outcome:
    """Random faults at random moments, one at a time, until ``stop`` or for so many minutes."""
    async with running(options, say) as run:
        telling = asyncio.ensure_future(_tell(run))
        try:
            await _rage(run, options, time.monotonic() + minutes * 60, stop)
        except BROKEN as error:
            run.problems.append(str(error))
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
        return await _end(run)


@dataclass(frozen=True)
class Step:
    """One fault of a storm: after a pause of ``wait_s``, at the target that ``draw`` (0 to 1) says, for ``lasts_s``."""

    wait_s: float
    fault: Fault
    draw: float
    lasts_s: float


def schedule(seed: int, only: Sequence[str] = ()) -> Iterator[Step]:
    """The same steps for the same seed and names, without end: each fault once in every round, in an order of its
    own.
    """
    rng = random.Random(f"storm/{seed}")
    names = sorted(only or CATALOGUE)
    while True:
        rng.shuffle(names)
        for name in names:
            fault = CATALOGUE[name]
            yield Step(rng.uniform(0.2, 3.0), fault, rng.random(), rng.uniform(*fault.lasts_s))


async def _rage(run: Running, options: RunOptions, until: float, stop: asyncio.Event) -> None:
    for step in schedule(options.world.seed, options.only):
        if await soon(stop, step.wait_s) or time.monotonic() > until:
            return
        await _strike(run, step, stop)


async def _strike(run: Running, step: Step, stop: asyncio.Event) -> None:
    world, fault = run.world, step.fault
    rng = random.Random(step.draw)
    members = world.of(fault.hits) if fault.aims_at_process else []
    target = members[int(step.draw * len(members))] if members else None
    clients = [name for name, door in world.balancer.doors.items() if door.lines]
    copies = world.copies() if fault.needs_copies else None
    aimed = Aimed(world, rng, target, clients=rng.sample(clients, -(-len(clients) // 3)), copies=copies)
    name = target.name if target is not None else fault.hits
    if copies is not None:
        await copies.open(world.broker.url)
    try:
        began = run.history.now()
        run.history.add(Injected(began, fault.name, name))
        async with fault.act(aimed):
            await soon(stop, step.lasts_s)
        run.history.add(Healed(run.history.now(), fault.name, name))
    finally:
        if copies is not None:
            await copies.close()
    run.say(f"{began:7.1f} s  {fault.name} ({name}) for {run.history.now() - began:.1f} s")
    run.problems += [f"{one} ended by itself after {fault.name}" for one in await world.steady()]


async def _tell(run: Running) -> None:
    while True:
        await asyncio.sleep(PROGRESS_S)
        run.say(run.line())


async def _end(run: Running) -> Outcome:
    """Everything healed, every turn ended and read again; then the verdict."""
    run.problems += [f"{name} ended by itself" for name in await run.world.steady()]
    run.say("healed; waiting for the ends of open turns, then every turn is read again")

    async def fresh() -> FixedDoor:
        """A gateway that has served nobody: what it tells is what is stored."""
        member = await run.world.add("gateway")
        await member.ready()
        return FixedDoor(member.service.url, member.name)

    await run.fleet.finish(FINISH_S, fresh)
    run.say(run.line())
    problems = [*run.problems, *(f"{one.client} at {one.at:.1f} s: {one.what}" for one in run.fleet.troubles)]
    verdict = await asyncio.to_thread(judge, run.history.happenings)
    left = await asyncio.to_thread(stranded, run.history.happenings, verdict, _loses, AWAY)
    return Outcome(run.history, verdict, len(injections(run.history)), problems, stranded=left)


def _loses(fault: str) -> bool:
    return CATALOGUE[fault].loses
