"""Everything that can happen to an installation, by name: what it does, whom it hits, how it is taken back.

A fault is an async context manager over a :class:`Scene`: inside it the fault lasts, after it everything runs again
(a process that was killed is started and ready). Entering returns when the fault has truly happened.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from .copies import Copies
from .world import Member, World

HOUR_S = 3600.0
WORKERS = ("rag", "inference")
PROCESSES = ("gateway", "rag", "inference")
STAGES = ("retrieve", "generate", "record")
ALARM = "1MB"
NO_ALARM = "0.6"


@dataclass
class Scene:
    """What a fault may use. ``target``: the process it hits, None where it hits something else. ``clients``: whose
    doors a client fault uses; ``turns``: the turns it is aimed at.
    """

    world: World
    rng: random.Random
    target: Member | None = None
    clients: Sequence[str] = ()
    turns: Sequence[str] = ()
    copies: Copies | None = None

    @property
    def member(self) -> Member:
        assert self.target is not None, "this fault needs a process"
        return self.target


Act = Callable[[Scene], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """``hits``: a role, ``broker``, ``links`` or ``clients``. ``lasts_s``: how long, at least and at most, before it
    is taken back. ``loses``: turns that it touches may end ``expired``, at their deadline, and no sooner.
    """

    name: str
    what: str
    hits: str
    act: Act
    lasts_s: tuple[float, float] = (0.0, 0.5)
    loses: bool = False
    needs_copies: bool = field(default=False)

    @property
    def aims_at_process(self) -> bool:
        return self.hits in PROCESSES


# ---- processes


@asynccontextmanager
async def killed(scene: Scene) -> AsyncIterator[None]:
    """SIGKILL."""
    await scene.member.kill()
    try:
        yield
    finally:
        scene.member.start()
        await scene.member.ready()


@asynccontextmanager
async def paused(scene: Scene) -> AsyncIterator[None]:
    """SIGSTOP, then SIGCONT."""
    scene.member.pause()
    try:
        yield
    finally:
        scene.member.resume()


@asynccontextmanager
async def restarted(scene: Scene) -> AsyncIterator[None]:
    """SIGTERM, and a new one when it has drained."""
    drained = asyncio.ensure_future(scene.member.terminate())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        await drained
        scene.member.start()
        await scene.member.ready()


@asynccontextmanager
async def rolled(scene: Scene) -> AsyncIterator[None]:
    """Every process, one after the other, each ready before the next."""
    members = list(scene.world.members)
    scene.rng.shuffle(members)

    async def roll() -> None:
        for member in members:
            await member.terminate()
            member.start()
            await member.ready()

    rolling = asyncio.ensure_future(roll())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        await rolling


def jumped(offset_s: float) -> Act:
    """The wall clock of one process."""

    @asynccontextmanager
    async def act(scene: Scene) -> AsyncIterator[None]:
        scene.member.turn_clock(offset_s)
        try:
            yield
        finally:
            scene.member.turn_clock(0.0)

    return act


# ---- links


def _links(scene: Scene) -> list[Member]:
    return [scene.target] if scene.target is not None else scene.world.members


@asynccontextmanager
async def cut(scene: Scene) -> AsyncIterator[None]:
    """Reset; new connections are let in."""
    for member in _links(scene):
        member.proxy.cut()
    yield


@asynccontextmanager
async def refused(scene: Scene) -> AsyncIterator[None]:
    """Reset, and no new ones for a while."""
    for member in _links(scene):
        await member.proxy.refuse()
    try:
        yield
    finally:
        for member in _links(scene):
            await member.proxy.restore()


@asynccontextmanager
async def silenced(scene: Scene) -> AsyncIterator[None]:
    """Half-open: nothing passes, and no side is told."""
    for member in _links(scene):
        member.proxy.blackhole()
    try:
        yield
    finally:
        for member in _links(scene):
            await member.proxy.restore()


@asynccontextmanager
async def orphaned(scene: Scene) -> AsyncIterator[None]:
    """The process is told, the broker is not: it goes on holding what it had delivered."""
    for member in _links(scene):
        member.proxy.orphan()
    yield


# ---- the broker


@asynccontextmanager
async def broker_restarted(scene: Scene) -> AsyncIterator[None]:
    """Gracefully."""
    await asyncio.to_thread(scene.world.broker.stop)
    try:
        yield
    finally:
        await asyncio.to_thread(scene.world.broker.start)


@asynccontextmanager
async def broker_killed(scene: Scene) -> AsyncIterator[None]:
    """SIGKILL."""
    await asyncio.to_thread(scene.world.broker.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(scene.world.broker.start)


@asynccontextmanager
async def alarmed(scene: Scene) -> AsyncIterator[None]:
    """A memory alarm: every connection that publishes is blocked."""
    broker = scene.world.broker
    await asyncio.to_thread(broker.ctl, "set_vm_memory_high_watermark", "absolute", ALARM)
    try:
        yield
    finally:
        await asyncio.to_thread(broker.ctl, "set_vm_memory_high_watermark", NO_ALARM)


def queue_deleted(stage: str) -> Act:
    """The queue of a stage, under its consumers, with what waits in it."""

    @asynccontextmanager
    async def act(scene: Scene) -> AsyncIterator[None]:
        await asyncio.to_thread(scene.world.broker.ctl, "delete_queue", f"parley.{stage}")
        yield

    return act


@asynccontextmanager
async def doubled(scene: Scene) -> AsyncIterator[None]:
    """Every work message of the turns once more, as it was: now, and again when the turns have ended. Where no turns
    are named: all messages that pass in the meantime. Raises RuntimeError where turns are named and none of their
    messages was seen.
    """
    assert scene.copies is not None, "this fault needs copies"
    if scene.turns:
        await scene.copies.repeat(scene.turns)
    yield
    if not await scene.copies.repeat(scene.turns) and scene.turns:
        raise RuntimeError("no work message of the turns was seen, so none was delivered twice")


# ---- clients


@asynccontextmanager
async def dropped(scene: Scene) -> AsyncIterator[None]:
    """Each client once; it comes back to the other gateway."""
    for client in scene.clients:
        (await scene.world.balancer.door(client)).drop(elsewhere=True)
    yield


@asynccontextmanager
async def flapping(scene: Scene) -> AsyncIterator[None]:
    """Each client again and again, to and fro."""

    async def flap() -> None:
        while True:
            for client in scene.clients:
                (await scene.world.balancer.door(client)).drop(elsewhere=True)
            await asyncio.sleep(scene.rng.uniform(0.02, 0.4))

    task = asyncio.ensure_future(flap())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def unread(scene: Scene) -> AsyncIterator[None]:
    """The clients read nothing."""
    doors = [await scene.world.balancer.door(client) for client in scene.clients]
    for door in doors:
        door.stall()
    try:
        yield
    finally:
        for door in doors:
            door.read()


def _process_faults() -> list[Fault]:
    found = []
    for role in PROCESSES:
        one = f"{'an' if role == 'inference' else 'a'} {role} process"
        found += [
            Fault(f"kill-{role}", f"SIGKILL of {one}, then a new one", role, killed),
            Fault(f"stop-{role}", f"{one} hangs for longer than 2.5 heartbeats", role, paused, (3.5, 8.0)),
            Fault(f"pause-{role}", f"{one} hangs for a moment", role, paused, (0.3, 1.5)),
            Fault(f"restart-{role}", f"SIGTERM of {one} under load, then a new one", role, restarted),
            Fault(f"cut-{role}", f"the connections of {one} are reset", role, cut),
            Fault(f"refuse-{role}", f"{one} cannot reach the broker", role, refused, (0.5, 4.0)),
            Fault(f"blackhole-{role}", f"the connections of {one} are half-open", role, silenced, (3.5, 6.0)),
            Fault(f"orphan-{role}", f"the broker keeps dead connections of {one}", role, orphaned),
            Fault(f"clock-ahead-{role}", f"the clock of {one} is an hour ahead", role, jumped(HOUR_S), (0.5, 5.0)),
            Fault(f"clock-back-{role}", f"the clock of {one} goes an hour back", role, jumped(-HOUR_S), (0.5, 5.0)),
        ]
    return found


CATALOGUE: dict[str, Fault] = {
    fault.name: fault
    for fault in [
        *_process_faults(),
        Fault("cut-all", "all connections to the broker are reset", "links", cut),
        Fault("blackhole-all", "all connections to the broker are half-open", "links", silenced, (3.5, 6.0)),
        Fault("broker-restart", "the broker is stopped and started", "broker", broker_restarted, (0.0, 2.0)),
        Fault("broker-kill", "SIGKILL of the broker, then its start", "broker", broker_killed, (0.0, 2.0)),
        Fault("alarm", "a memory alarm blocks publishing", "broker", alarmed, (1.0, 4.0)),
        *(
            Fault(f"delete-{stage}", f"the queue of {stage} is deleted", "broker", queue_deleted(stage), loses=True)
            for stage in STAGES
        ),
        Fault(
            "duplicate",
            "work messages are delivered twice, also after the end of their turns",
            "turns",
            doubled,
            (0.5, 1.0),
            needs_copies=True,
        ),
        Fault("drop", "clients lose their socket and come back to the other gateway", "clients", dropped),
        Fault("flap", "clients lose their sockets over and over", "clients", flapping, (1.0, 4.0)),
        Fault("unread", "clients stop reading, then read on", "clients", unread, (1.0, 5.0)),
        Fault("roll", "a rolling restart of every process", "rolling", rolled),
    ]
}
"""By name."""
