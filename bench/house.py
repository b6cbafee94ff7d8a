"""A whole Parley of real processes for one measurement: any number of each kind, killed and started again at will."""

import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from bench.stack import Stack, Started, answering, broker_pid, cpu_s, free_port, purge, stack
from bench.throughput import parley_env

ROLES = ("gateway", "rag", "inference")


@dataclass
class Layout:
    """How many processes of each kind."""

    gateways: int = 1
    rags: int = 1
    inferences: int = 1

    def __str__(self) -> str:
        return f"{self.gateways} / {self.rags} / {self.inferences}"


@dataclass
class Member:
    """One process. ``port`` serves /readyz and /metrics; of a gateway also its sockets."""

    role: str
    name: str
    port: int
    health: int
    child: Started
    env: Mapping[str, str] = field(default_factory=dict)
    """Of this one alone."""

    @property
    def pid(self) -> int:
        return self.child.pid

    async def metrics(self) -> str:
        """Its Prometheus text."""
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"http://127.0.0.1:{self.health}/metrics", timeout=10)).text

    async def metric(self, line: str) -> float:
        """The value of the series whose name and labels are ``line``; 0 where there is none."""
        for found in (await self.metrics()).splitlines():
            if found.startswith(line + " "):
                return float(found.rpartition(" ")[2])
        return 0.0


@dataclass
class Plan:
    """Environment of all, and for a role what is started in its place: a module and its arguments."""

    env: Mapping[str, str] = field(default_factory=dict)
    launch: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By role: flags of ``bench.launch``."""


@dataclass
class House:
    """A running installation."""

    running: Stack
    plan: Plan
    amqp: str
    members: list[Member] = field(default_factory=list)

    def of(self, role: str) -> list[Member]:
        """The processes of one kind."""
        return [member for member in self.members if member.role == role]

    @property
    def ports(self) -> list[int]:
        """Of the gateways' sockets."""
        return [member.port for member in self.of("gateway")]

    async def spawn(self, role: str, name: str, port: int, health: int, own: Mapping[str, str]) -> Started:
        """Start one process; not waiting for it."""
        env = (
            {"PARLEY_HEALTH_PORT": str(health)} | ({"PARLEY_PORT": str(port)} if role == "gateway" else {}) | dict(own)
        )
        flags = self.plan.launch.get(role)
        if flags is None:
            return await self.running.start(name, f"parley_{role}", env=env)
        return await self.running.start(name, "bench.launch", role, *flags, env=env)

    async def add(self, role: str, **env: str) -> Member:
        """One more process of a kind, with settings of its own; not waiting for it."""
        name = f"{role}-{len(self.of(role)) + 1}"
        port, health = free_port(), free_port()
        member = Member(role, name, port, health, await self.spawn(role, name, port, health, env), env)
        self.members.append(member)
        return member

    async def ready(self) -> None:
        """Until every process says so."""
        for member in self.members:
            await answering(member.health, "/readyz?without=workers", member.child)

    async def kill(self, member: Member) -> float:
        """SIGKILL; returns when."""
        os.kill(member.pid, signal.SIGKILL)
        return time.perf_counter()

    async def again(self, member: Member) -> None:
        """Start a killed process on its ports and wait until it is ready."""
        await member.child.process.wait()
        member.child = await self.spawn(member.role, member.name, member.port, member.health, member.env)
        await answering(member.health, "/readyz?without=workers", member.child)

    def alive(self) -> None:
        """Raises with the log of a process that has ended."""
        for member in self.members:
            member.child.alive()


@contextlib.asynccontextmanager
async def house(
    folder: Path, amqp: str, layout: Layout | None = None, plan: Plan | None = None
) -> AsyncIterator[House]:
    """A ready installation with queues and a store of its own; ``scripted`` answers of 20 tokens unless told else."""
    layout, plan = layout or Layout(), plan or Plan()
    await purge(amqp)
    scripted = {"PARLEY_ENGINE": "scripted", "PARLEY_SCRIPT_TOKENS": "20", "PARLEY_SCRIPT_INTERVAL_MS": "0"}
    env = parley_env(folder, amqp, 0) | scripted | dict(plan.env)
    async with stack(folder, env) as running:
        made = House(running, plan, amqp)
        for role, count in zip(ROLES, (layout.gateways, layout.rags, layout.inferences), strict=True):
            for _ in range(count):
                await made.add(role)
        await made.ready()
        yield made


@dataclass
class Cost:
    """CPU of a stretch of time: seconds by role, and the share of the whole machine that was busy, ours or not."""

    cpu: dict[str, float]
    busy: float
    seconds: float

    @property
    def ours(self) -> float:
        """The share of the machine that these processes used."""
        return sum(self.cpu.values()) / (self.seconds * (psutil.cpu_count() or 1))

    def per(self, count: int) -> dict[str, float]:
        """Microseconds by role for each of ``count``."""
        return {role: value / max(1, count) * 1e6 for role, value in self.cpu.items()}


class Meter:
    """Takes :class:`Cost` between :meth:`start` and :meth:`stop`; ``client`` is this process."""

    def __init__(self, house: House) -> None:
        self._pids = {role: [member.pid for member in house.of(role)] for role in ROLES}
        self._pids["broker"] = [broker_pid(urlsplit(house.amqp).port or 5672)]
        self._pids["client"] = [os.getpid()]
        self._cpu: dict[str, float] = {}
        self._idle = 0.0
        self._began = 0.0

    def _now(self) -> dict[str, float]:
        return {role: sum(cpu_s(pid) for pid in pids) for role, pids in self._pids.items()}

    def start(self) -> None:
        """From here on."""
        self._cpu, self._idle, self._began = self._now(), _idle_s(), time.perf_counter()

    def stop(self) -> Cost:
        """Up to here."""
        seconds = time.perf_counter() - self._began
        cpu = {role: value - self._cpu[role] for role, value in self._now().items()}
        idle = (_idle_s() - self._idle) / (seconds * (psutil.cpu_count() or 1))
        return Cost(cpu, min(1.0, max(0.0, 1.0 - idle)), seconds)


def _idle_s() -> float:
    found = psutil.cpu_times()
    return float(found.idle + getattr(found, "iowait", 0.0))
