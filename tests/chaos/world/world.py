"""The installation that faults happen to: real processes, each with a link of its own to one real broker.

Started as a whole by :func:`open_world`; what is killed here is started again by the fault that killed it, or by
:meth:`World.steady`.
"""

import asyncio
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from parley_testkit.proxy import CuttableProxy
from parley_testkit.rabbit import RabbitImage, RabbitNode, RealBroker
from parley_testkit.stack import Service, Stack

from .balancer import Backend, Balancer
from .copies import ALL, TOLD_APART, Copies
from .stops import Stops

ROOT = Path(__file__).parents[3]
LAUNCHER = "tests.chaos.inside.probe"
"""Runs a role with hold points."""
ROLES = ("rag", "inference", "gateway")
VOICE_ROLES = ("asr", *ROLES)
CHAR_MS = 8
"""Audio of one character of a spoken answer."""
BACKCHANNEL = "zero"
"""Who says this over an answer wants it to go on."""
SETTLE_S = 5.0
"""A quorum queue declared less than this before a broker's SIGKILL may never have a leader again."""


@dataclass(frozen=True)
class WorldOptions:
    """How big and how quick the installation is."""

    seed: int = 1
    image: str = ""
    """RabbitMQ image; "": a node of the installed RabbitMQ."""
    store: str = ""
    """SQLAlchemy address; "": SQLite in the folder."""
    processes: int = 2
    """Of each role."""
    roles: tuple[str, ...] = ROLES
    tokens: int = 24
    interval_ms: float = 15.0
    sentence: int = 0
    """Tokens of a sentence of an answer; 0: it is one sentence."""
    heartbeat_s: float = 1.0
    claim: str = "redelivered"
    """``always``: every stage claims on every delivery."""
    mutation: str = ""
    """A mechanism to switch off, see mutations.py."""
    folder: Path | None = None
    """Where logs and the store go; None: a folder that is removed after a run without violations."""


@dataclass(eq=False)
class Member:
    """One process, its link to the broker, and its own wall clock."""

    name: str
    service: Service
    proxy: CuttableProxy
    clock: Path
    paused: bool = False
    draining: bool = False

    @property
    def role(self) -> str:
        return self.service.role

    @property
    def pid(self) -> int:
        return self.service.process.pid if self.service.process is not None else 0

    @property
    def running(self) -> bool:
        process = self.service.process
        return process is not None and process.poll() is None

    def open(self) -> bool:
        """Whether a new client should be sent here."""
        return self.running and not self.draining

    async def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        self.paused = False
        await asyncio.to_thread(self.service.end, signal.SIGKILL)

    def signal(self) -> None:
        """SIGTERM, sent when this returns. New clients are sent elsewhere."""
        self.draining = True
        if self.running:
            os.kill(self.pid, signal.SIGTERM)

    async def drained(self) -> int:
        """Its exit code, once it has drained after :meth:`signal`. Raises AssertionError where it hangs."""
        try:
            return await asyncio.to_thread(self.service.wait)
        finally:
            self.draining = False

    def start(self) -> None:
        """Start it where it does not run; see :meth:`ready`."""
        if not self.running:
            self.service.start()

    async def ready(self) -> None:
        """Until ``/readyz`` says so. Raises AssertionError with the end of its log."""
        await asyncio.to_thread(self.service.wait_ready)

    def pause(self) -> None:
        """SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """SIGCONT."""
        self.paused = False
        if self.running:
            os.kill(self.pid, signal.SIGCONT)

    def turn_clock(self, offset_s: float) -> None:
        """Its wall clock tells ``offset_s`` more than the machine's from now on."""
        fresh = self.clock.with_suffix(".new")
        fresh.write_text(f"{offset_s:g}\n", encoding="ascii")
        fresh.replace(self.clock)  # it is read at every look at the clock, and must be whole


@dataclass(eq=False)
class World:
    """Everything a fault can reach."""

    options: WorldOptions
    folder: Path
    broker: RealBroker
    stack: Stack
    stops: Stops
    members: list[Member] = field(default_factory=list)
    balancer: Balancer = field(init=False)

    def __post_init__(self) -> None:
        self.balancer = Balancer([], self.options.seed)

    def copies(self) -> Copies:
        """Of the jobs that this installation can tell from their originals."""
        return Copies(ALL if self.options.claim == "always" else TOLD_APART)

    def of(self, role: str) -> list[Member]:
        return [member for member in self.members if member.role == role]

    def by_pid(self, pid: int) -> Member | None:
        """The member that runs as ``pid``; None where that process is gone."""
        return next((member for member in self.members if member.pid == pid), None)

    async def steady(self) -> list[str]:
        """Every link whole, every process running and ready; returns who had ended by itself. Raises AssertionError
        for one that does not come.
        """
        ended = [member.name for member in self.members if not member.running]
        for member in self.members:
            await member.proxy.restore()
            if member.paused:
                member.resume()
            member.start()
        await asyncio.gather(*(member.ready() for member in self.members))
        return ended

    def tails(self) -> str:
        """The end of every log."""
        return self.stack.tails()

    async def add(self, role: str) -> Member:
        """A process of ``role`` with its link, started."""
        name = f"{role}-{len(self.of(role)) + 1}"
        proxy = CuttableProxy("127.0.0.1", self.broker.port)
        await proxy.start()
        clock = self.folder / f"{name}.clock"
        clock.write_text("0\n", encoding="ascii")
        service = self.stack.add(
            role,
            AMQP_URL=f"amqp://guest:guest@127.0.0.1:{proxy.port}/",
            PARLEY_CHAOS_CLOCK=str(clock),
        )
        member = Member(name, service, proxy, clock)
        self.members.append(member)
        return member

    async def close(self) -> None:
        """End every process; a process that does not end on SIGTERM is an AssertionError."""
        await self.balancer.close()
        await self.stops.close()
        for member in self.members:
            if member.paused:
                member.resume()
            await member.proxy.restore()
        try:
            await asyncio.to_thread(self.stack.close)
        finally:
            for member in self.members:
                await member.proxy.close()


@asynccontextmanager
async def open_world(options: WorldOptions) -> AsyncIterator[World]:
    """A world that is ready, and is gone afterwards; its folder stays where one was named."""
    async with AsyncExitStack() as closing:
        folder = _folder(options, closing)
        broker = await asyncio.to_thread(_broker, options.image)
        closing.callback(broker.close)
        store = options.store or f"sqlite+aiosqlite:///{folder / 'parley.db'}"
        stops = Stops(Path(tempfile.gettempdir()) / f"parley-chaos-{secrets.token_hex(4)}.sock")
        closing.callback(stops.path.unlink, missing_ok=True)
        await stops.start()
        stack = Stack(folder, broker.url, store, _environ(options, stops.path), launcher=LAUNCHER)
        world = World(options, folder, broker, stack, stops)
        closing.push_async_callback(world.close)
        began = asyncio.get_running_loop().time()
        for role in options.roles:
            for _ in range(options.processes):
                await world.add(role)
        await asyncio.gather(*(member.ready() for member in world.members))
        world.balancer = Balancer(
            [Backend(member.name, member.service.port, member.open) for member in world.of("gateway")], options.seed
        )
        await asyncio.sleep(max(0.0, SETTLE_S - (asyncio.get_running_loop().time() - began)))
        yield world


def _environ(options: WorldOptions, socket: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PARLEY_CHAOS_PROBE": str(socket),
        "PARLEY_CHAOS_MUTATION": options.mutation,
        "PARLEY_CLAIM": options.claim,
        "PARLEY_HEARTBEAT_S": f"{options.heartbeat_s:g}",
        "PARLEY_ENGINE": "scripted",
        "PARLEY_ASR_ENGINE": "scripted",
        "PARLEY_ASR_VAD": "energy",
        "PARLEY_ASR_SEATS": "4",
        "PARLEY_SCRIPT_TOKENS": str(options.tokens),
        "PARLEY_SCRIPT_INTERVAL_MS": f"{options.interval_ms:g}",
        "PARLEY_SCRIPT_SENTENCE": f"{options.sentence}",
        "PARLEY_SPEECH_ENGINE": "tone",
        "PARLEY_TONE_CHAR_MS": f"{CHAR_MS}",
        "PARLEY_FLOOR_LEAST_S": "0.3",
        "PARLEY_FLOOR_BACKCHANNELS": BACKCHANNEL,
        "PARLEY_LOG_LEVEL": "debug",
        "PARLEY_MESSAGE_RATE": "0",
        "PARLEY_SEND_S": "3",
        "PARLEY_TRACE_FILE": "",
    }


def _broker(image: str) -> RealBroker:
    """Started; blocks."""
    if image:
        return RabbitImage(image)
    node = RabbitNode()
    try:
        node.start()
    except BaseException:
        node.close()
        raise
    return node


def _folder(options: WorldOptions, closing: AsyncExitStack) -> Path:
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        return options.folder
    folder = Path(tempfile.mkdtemp(prefix="parley-chaos-"))

    def remove(kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            with suppress(OSError):
                sys.stderr.write(f"logs are in {folder}\n")

    closing.push(remove)
    return folder
