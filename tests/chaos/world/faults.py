"""Everything that can happen to an installation, by name: what it does, whom it hits, how it is taken back.

A fault is an async context manager over an :class:`Aimed`: inside it the fault lasts, after it everything runs again
(a process that was killed is started and ready). Entering returns when the fault has truly happened.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from parley_protocol.routes import CONTROL, DEAD_QUEUE, EVENTS, RETRY_LADDER_S, Stage, retry_exchange, stage_queue

from .copies import Copies
from .world import Member, World

HOUR_S = 3600.0
WORKERS = ("rag", "inference")
PROCESSES = ("gateway", "rag", "inference")
STAGES = ("retrieve", "generate", "record")
ALARM = "1MB"
NO_ALARM = "0.6"


@dataclass
class Aimed:
    """What a fault may use. ``target``: the process it hits, None where it hits something else. ``clients``: whose
    doors a client fault uses; ``turns``: the turns it is aimed at; ``release``: let go the turns that the process of
    this id holds, for a fault that cannot end while they are held.
    """

    world: World
    rng: random.Random
    target: Member | None = None
    clients: Sequence[str] = ()
    turns: Sequence[str] = ()
    copies: Copies | None = None
    release: Callable[[int], None] = lambda _: None

    @property
    def member(self) -> Member:
        assert self.target is not None, "this fault needs a process"
        return self.target


Act = Callable[[Aimed], AbstractAsyncContextManager[None]]


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
async def killed(aimed: Aimed) -> AsyncIterator[None]:
    """SIGKILL."""
    await aimed.member.kill()
    try:
        yield
    finally:
        aimed.member.start()
        await aimed.member.ready()


@asynccontextmanager
async def paused(aimed: Aimed) -> AsyncIterator[None]:
    """SIGSTOP, then SIGCONT."""
    aimed.member.pause()
    try:
        yield
    finally:
        aimed.member.resume()


@asynccontextmanager
async def restarted(aimed: Aimed) -> AsyncIterator[None]:
    """SIGTERM, and a new one when it has drained."""
    aimed.member.signal()
    try:
        yield
    finally:
        await aimed.member.drained()
        aimed.member.start()
        await aimed.member.ready()


@asynccontextmanager
async def rolled(aimed: Aimed) -> AsyncIterator[None]:
    """Every process, one after the other, each ready before the next. Each is told to end while it holds its turns."""
    members = list(aimed.world.members)
    aimed.rng.shuffle(members)
    for member in members:
        pid = member.pid
        member.signal()
        aimed.release(pid)
        await member.drained()
        member.start()
        await member.ready()
    yield


def jumped(offset_s: float) -> Act:
    """The wall clock of one process."""

    @asynccontextmanager
    async def act(aimed: Aimed) -> AsyncIterator[None]:
        aimed.member.turn_clock(offset_s)
        try:
            yield
        finally:
            aimed.member.turn_clock(0.0)

    return act


# ---- links


def _links(aimed: Aimed) -> list[Member]:
    return [aimed.target] if aimed.target is not None else aimed.world.members


@asynccontextmanager
async def cut(aimed: Aimed) -> AsyncIterator[None]:
    """Reset; new connections are let in."""
    for member in _links(aimed):
        member.proxy.cut()
    yield


@asynccontextmanager
async def _restored(aimed: Aimed) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for member in _links(aimed):
            await member.proxy.restore()


@asynccontextmanager
async def refused(aimed: Aimed) -> AsyncIterator[None]:
    """Reset, and no new ones for a while."""
    for member in _links(aimed):
        await member.proxy.refuse()
    async with _restored(aimed):
        yield


@asynccontextmanager
async def silenced(aimed: Aimed) -> AsyncIterator[None]:
    """Half-open: nothing passes, and no side is told."""
    for member in _links(aimed):
        member.proxy.blackhole()
    async with _restored(aimed):
        yield


@asynccontextmanager
async def orphaned(aimed: Aimed) -> AsyncIterator[None]:
    """The process is told, the broker is not: it goes on holding what it had delivered."""
    for member in _links(aimed):
        member.proxy.orphan()
    yield


# ---- the broker


@asynccontextmanager
async def broker_restarted(aimed: Aimed) -> AsyncIterator[None]:
    """Gracefully."""
    await asyncio.to_thread(aimed.world.broker.stop)
    try:
        yield
    finally:
        await asyncio.to_thread(aimed.world.broker.start)


@asynccontextmanager
async def broker_killed(aimed: Aimed) -> AsyncIterator[None]:
    """SIGKILL."""
    await asyncio.to_thread(aimed.world.broker.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(aimed.world.broker.start)


@asynccontextmanager
async def alarmed(aimed: Aimed) -> AsyncIterator[None]:
    """A memory alarm: every connection that publishes is blocked."""
    broker = aimed.world.broker
    await asyncio.to_thread(broker.ctl, "set_vm_memory_high_watermark", "absolute", ALARM)
    try:
        yield
    finally:
        await asyncio.to_thread(broker.ctl, "set_vm_memory_high_watermark", NO_ALARM)


def queue_deleted(pick: Callable[[random.Random, list[str]], str]) -> Act:
    """The queue that ``pick`` chooses among the names of those that there are, under its consumers, with what waits in
    it. One that is not there, since nobody missed it after it was deleted before, stays so.
    """

    @asynccontextmanager
    async def act(aimed: Aimed) -> AsyncIterator[None]:
        listed = await asyncio.to_thread(aimed.world.broker.ctl, "list_queues", "name")
        try:
            await asyncio.to_thread(aimed.world.broker.ctl, "delete_queue", pick(aimed.rng, sorted(listed.split())))
        except RuntimeError as error:
            if "not found" not in str(error).lower():
                raise
        yield

    return act


def _stage(name: str) -> Act:
    return queue_deleted(lambda _, __: stage_queue(name))


def _rung(rng: random.Random, _: list[str]) -> str:
    return retry_exchange(rng.randrange(len(RETRY_LADDER_S)))


def _private(rng: random.Random, there: list[str]) -> str:
    """One process's; their names are new in every run."""
    return rng.choice([name for name in there if name.startswith((f"{EVENTS}.", f"{CONTROL}."))])


@asynccontextmanager
async def doubled(aimed: Aimed) -> AsyncIterator[None]:
    """Every work message of the turns once more, as it was: now, and again when the turns have ended. Where no turns
    are named: all messages that pass in the meantime. Raises RuntimeError where turns are named and none of their
    messages was seen.
    """
    assert aimed.copies is not None, "this fault needs copies"
    if aimed.turns:
        await aimed.copies.repeat(aimed.turns)
    yield
    if not await aimed.copies.repeat(aimed.turns) and aimed.turns:
        raise RuntimeError("no work message of the turns was seen, so none was delivered twice")


# ---- clients


@asynccontextmanager
async def dropped(aimed: Aimed) -> AsyncIterator[None]:
    """Each client once; it comes back to the other gateway."""
    for client in aimed.clients:
        (await aimed.world.balancer.door(client)).drop(elsewhere=True)
    yield


@asynccontextmanager
async def flapping(aimed: Aimed) -> AsyncIterator[None]:
    """Each client again and again, to and fro."""

    doors = [await aimed.world.balancer.door(client) for client in aimed.clients]

    def drop() -> None:
        for door in doors:
            door.drop(elsewhere=True)

    async def flap() -> None:
        while True:
            await asyncio.sleep(aimed.rng.uniform(0.02, 0.4))
            drop()

    drop()
    task = asyncio.ensure_future(flap())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def unread(aimed: Aimed) -> AsyncIterator[None]:
    """The clients read nothing."""
    doors = [await aimed.world.balancer.door(client) for client in aimed.clients]
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
            Fault(f"delete-{stage}", f"the queue of {stage} is deleted", "broker", _stage(stage), loses=True)
            for stage in STAGES
        ),
        Fault("delete-knowledge", "the queue of commands on knowledge is deleted", "broker", _stage(Stage.KNOWLEDGE)),
        Fault("delete-retry", "a rung of the retry ladder is deleted", "broker", queue_deleted(_rung), loses=True),
        Fault(
            "delete-dead",
            "the queue of dead letters is deleted",
            "broker",
            queue_deleted(lambda _, __: DEAD_QUEUE),
            loses=True,
        ),
        Fault("delete-private", "the queue that one process alone reads is deleted", "broker", queue_deleted(_private)),
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
