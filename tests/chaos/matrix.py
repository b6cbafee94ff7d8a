"""Each fault in each phase of a turn: a fixed list of volleys, run one after the other on one world.

A volley is one fault and one turn for each phase. Every turn is brought to its phase and held there, in the process
that the fault will hit where the phase is in a process of that kind; then the fault happens, once, and all are let go.
A volley of the phase ``waiting`` has one turn, which waits in the broker's queue while no worker is there.
Meanwhile other sessions ask without pause.
"""

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from parley_client import Done

from .crowd.clients import Fleet
from .history import Healed, History, Injected
from .inside.points import IN_ORDER, POINTS
from .world.faults import CATALOGUE, PROCESSES, Aimed, Fault
from .world.stops import Reached, Stop
from .world.waiting import WAITING, Untaken
from .world.world import Member, World

HOLD_S = 45.0
"""Longest way of a turn to its phase."""
TRIES = 20
"""Turns asked until one is in the process that the fault is to hit."""
DONE_S = 120.0
BUDGET_S = 60.0
ROLL_BUDGET_S = 110.0
"""Of turns that are held until it is their process's time to end: on a busy machine the last one's comes late."""
LOSING_BUDGET_S = 10.0
"""Of turns whose job the fault may take away: they end at their deadline."""
ROLE_OF = {point: role for role, points in POINTS.items() for point in points}
FULL = ("kill", "stop", "cut", "blackhole", "orphan", "restart")
"""Process faults of the matrix for every role; a pause and a refusal are left to the random runs."""
WHILE_WAITING = (
    "kill-gateway",
    "cut-gateway",
    "kill-rag",
    "cut-all",
    "alarm",
    "delete-retrieve",
    "broker-restart",
    "broker-kill",
)
"""Faults that can take from a turn what it waits in, or who asked it."""


@dataclass(frozen=True)
class Volley:
    """``lasts_s``: how long after the turns are let go the fault is taken back."""

    fault: str
    phases: tuple[str, ...] = IN_ORDER
    lasts_s: float = 0.3
    tokens: int = 24


@dataclass
class Cell:
    """One turn of a volley. ``missed``: why the fault was not injected at its phase; "" where it was."""

    fault: str
    phase: str
    turn: str = ""
    target: str = ""
    missed: str = ""


@dataclass
class Aim:
    """A turn on its way to a phase, or held there."""

    client: str
    turn: str
    stop: Stop
    task: "asyncio.Task[Done | None]"
    reached: Reached | None = None
    waits: bool = False
    """In the broker's queue."""


def whole() -> list[Volley]:
    """The matrix of CI."""
    volleys = [
        Volley(f"{kind}-{role}", lasts_s=3.2 if kind in ("stop", "blackhole") else 0.2)
        for kind in FULL
        for role in PROCESSES
    ]
    volleys += [Volley(f"clock-{way}-{role}", lasts_s=1.0) for way in ("ahead", "back") for role in PROCESSES]
    volleys += [
        Volley("duplicate"),
        Volley("drop"),
        Volley("flap", lasts_s=2.0),
        Volley("unread", ("first", "answer"), lasts_s=3.0, tokens=20_000),
        Volley("alarm", lasts_s=1.5),
        Volley("cut-all"),
        Volley("blackhole-all", lasts_s=3.2),
        *(Volley(f"delete-{stage}") for stage in ("retrieve", "generate", "record")),
        Volley("broker-restart"),
        Volley("broker-kill"),
        Volley("roll"),
        *(Volley(name, (WAITING,), lasts_s=1.5 if name == "alarm" else 0.3) for name in WHILE_WAITING),
    ]
    return volleys


def telling() -> list[Volley]:
    """A few that say most about a broker."""
    names = ("kill-rag", "kill-inference", "orphan-inference", "delete-generate", "alarm", "broker-kill")
    chosen = [volley for volley in whole() if volley.fault in names]
    assert {volley.fault for volley in chosen} == set(names)
    return chosen


@dataclass
class Matrix:
    """Runs volleys. ``say`` gets a line for each."""

    world: World
    history: History
    fleet: Fleet
    seed: int
    say: Callable[[str], None] = print
    cells: list[Cell] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    """Processes that ended by themselves."""

    def __post_init__(self) -> None:
        self._count = 0
        self._untaken = Untaken(self.world, self.history)

    async def run(self, volleys: Iterable[Volley]) -> list[Cell]:
        """Every volley, each on an installation that is whole; returns one cell for each phase of each."""
        for volley in volleys:
            began = self.history.now()
            cells = await self._fire(volley)
            self.cells += cells
            hits = sum(not cell.missed for cell in cells)
            took = self.history.now() - began
            self.say(f"{began:6.1f} s  {volley.fault:<22} {hits:>2}/{len(cells)} phases  {took:.1f} s")
        return self.cells

    async def _fire(self, volley: Volley) -> list[Cell]:
        fault = CATALOGUE[volley.fault]
        # A draw of its own, so that a volley run alone is the same one.
        rng = random.Random(f"{self.seed}/{volley.fault}")
        target = rng.choice(self.world.of(fault.hits)) if fault.aims_at_process else None
        copies = self.world.copies() if fault.needs_copies else None
        aims: list[Aim] = []
        self._untaken = Untaken(self.world, self.history)
        try:
            if WAITING in volley.phases:
                await self._untaken.begin()
            if copies is not None:
                await copies.open(self.world.broker.url)
            found = await asyncio.gather(
                *(self._aim(volley, phase, fault, target, aims) for phase in volley.phases), return_exceptions=True
            )
            cells = [
                one if isinstance(one, Cell) else Cell(volley.fault, phase, missed=f"{type(one).__name__}: {one}")
                for phase, one in zip(volley.phases, found, strict=True)
            ]
            held = self._held(cells, aims)
            aimed = Aimed(
                self.world,
                rng,
                target,
                clients=[aim.client for aim in aims if aim.turn in {cell.turn for cell in held}],
                turns=[cell.turn for cell in held],
                copies=copies,
                release=lambda pid: _release(aims, pid),
            )
            await self._hit(volley, fault, aimed, held, aims)
            await self._ends(aims)
        finally:
            await self._untaken.end()
            for aim in aims:
                self.world.stops.forget(aim.turn)
            await _gone(aim.task for aim in aims)
            if copies is not None:
                await copies.close()
        self.ended += await self.world.steady()
        return cells

    def _held(self, cells: list[Cell], aims: list[Aim]) -> list[Cell]:
        """The cells whose turns are at their phases still."""
        holding = {aim.turn for aim in aims if aim.stop.holds or aim.waits}
        for cell in cells:
            if not cell.missed and cell.turn not in holding:
                cell.missed = "the turn went on before the others had come to their phases"
        return [cell for cell in cells if not cell.missed]

    async def _hit(self, volley: Volley, fault: Fault, aimed: Aimed, held: list[Cell], aims: list[Aim]) -> None:
        name = aimed.target.name if aimed.target is not None else fault.hits
        at = self.history.now()
        for cell in held:
            cell.target = name
            self.history.add(Injected(at, fault.name, name, cell.phase, cell.turn))
        async with fault.act(aimed):
            for aim in aims:
                aim.stop.release()
            await self._untaken.end()
            await asyncio.sleep(volley.lasts_s)
            if fault.needs_copies:
                await self._ends(aims)
        self.history.add(Healed(self.history.now(), fault.name, name))

    async def _ends(self, aims: list[Aim]) -> None:
        """Until the clients have their ends, or have waited long enough: what is missing is the checker's to say."""
        if aims:
            await asyncio.wait([aim.task for aim in aims], timeout=DONE_S)

    async def _aim(self, volley: Volley, phase: str, fault: Fault, target: Member | None, aims: list[Aim]) -> Cell:
        for _ in range(TRIES):
            aim = await self._ask(volley, phase, fault, target)
            aims.append(aim)
            if phase == WAITING:
                await self._untaken.holds(aim.turn, HOLD_S)
                aim.waits = True
                return Cell(volley.fault, phase, aim.turn)
            aim.reached = await aim.stop.reached(HOLD_S)
            if target is None or self._touches(aim, target):
                return Cell(volley.fault, phase, aim.turn)
            aim.stop.release()
        return Cell(volley.fault, phase, missed=f"none of {TRIES} turns came to {target and target.name}")

    async def _ask(self, volley: Volley, phase: str, fault: Fault, target: Member | None) -> Aim:
        self._count += 1
        turn = f"hold-{self._count}-{volley.fault}-{phase}"
        client = f"aim-{turn}"
        if target is not None and target.role == "gateway":
            others = [member.name for member in self.world.of("gateway") if member is not target]
            (await self.world.balancer.door(client)).avoid = others[0]
        stop = self.world.stops.arm(turn, phase)
        asking = self.fleet.ask_one(
            turn,
            tokens=volley.tokens,
            every_ms=15.0 if volley.tokens < 100 else 0.0,
            # Half of the answers can be repeated by another run, the others differ with each.
            salt=self._count % 2 == 0,
            deadline_s=LOSING_BUDGET_S if fault.loses else ROLL_BUDGET_S if fault.hits == "rolling" else BUDGET_S,
        )
        return Aim(client, turn, stop, asyncio.ensure_future(asking))

    def _touches(self, aim: Aim, target: Member) -> bool:
        """Whether the turn was last seen, among processes of the target's role, in the target; true where none saw it
        yet.
        """
        seen = [reached for reached in self.world.stops.passed.get(aim.turn, []) if reached.role == target.role]
        return not seen or seen[-1].pid == target.pid


def _release(aims: Iterable[Aim], pid: int) -> None:
    """What the process of this id holds."""
    for aim in aims:
        if aim.reached is not None and aim.reached.pid == pid:
            aim.stop.release()


async def _gone(tasks: Iterable["asyncio.Task[Done | None]"]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
