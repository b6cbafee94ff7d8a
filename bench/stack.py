"""Processes of a benchmark: started, waited for, measured by CPU time and memory, and always ended."""

import asyncio
import contextlib
import math
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aio_pika
import psutil

from parley_client.up import leash
from parley_protocol.routes import topology

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago, below those that outgoing connections are given."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def cpu_s(pid: int) -> float:
    """CPU seconds used by a process so far."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def rss(pid: int) -> int:
    """Resident bytes of a process."""
    return int(psutil.Process(pid).memory_info().rss)


@dataclass
class Started:
    """A child process."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> None:
        """Raises with the end of its log where it has ended."""
        if self.process.returncode is not None:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{tail}")

    async def ready(self) -> None:
        """Wait for the word ``ready`` on its standard output."""
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 60)
        if line.strip() != b"ready":
            await asyncio.sleep(0.2)
            self.alive()
            raise RuntimeError(f"{self.name} said {line!r} instead of ready")


@dataclass
class Stack:
    """Everything one measurement started."""

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    children: list[Started] = field(default_factory=list)

    async def start(
        self, name: str, module: str, *arguments: str, env: Mapping[str, str] | None = None, pipes: bool = False
    ) -> Started:
        """``python -m module arguments``; standard error goes to a log, the pipes are the caller's where asked for."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as file:
            # Told to stop should this process be killed; in a session of its own, so that Ctrl-C is for us alone.
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), str(signal.SIGTERM.value)),
                sys.executable,
                "-m",
                module,
                *arguments,
                cwd=ROOT,
                env={**os.environ, **self.env, **(env or {})},
                stdin=asyncio.subprocess.PIPE if pipes else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if pipes else file,
                stderr=file,
                start_new_session=True,
            )
        child = Started(name, process, log)
        self.children.append(child)
        return child

    async def stop(self) -> None:
        """End every child, last started first."""
        for child in reversed(self.children):
            if child.process.returncode is None:
                child.process.terminate()
        for child in reversed(self.children):
            try:
                await asyncio.wait_for(child.process.wait(), 10)
            except TimeoutError:
                child.process.kill()
                await child.process.wait()
        self.children.clear()


@contextlib.asynccontextmanager
async def stack(folder: Path, env: Mapping[str, str]) -> AsyncIterator[Stack]:
    """A Stack that ends with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Stack(folder, env)
    try:
        yield made
    finally:
        await made.stop()


async def answering(port: int, path: str, child: Started, *, within_s: float = 60.0, pause_s: float = 0.1) -> None:
    """Wait until an HTTP GET of ``path`` answers with 200 to 299; ``pause_s`` between two looks."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        child.alive()
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            status = await reader.readline()
            writer.close()
            if b" 2" in status[:13]:
                return
        if asyncio.get_running_loop().time() > deadline:
            raise RuntimeError(f"{child.name} did not answer {path} within {within_s:.0f} s")
        await asyncio.sleep(pause_s)


async def purge(amqp: str) -> None:
    """Delete the durable queues of a measurement before, so that its unfinished work does not reach the next one."""
    connection = await aio_pika.connect(amqp)
    async with connection:
        channel = await connection.channel()
        for queue in topology().queues:
            await channel.queue_delete(queue.name)


def broker_pid(port: int) -> int:
    """The process that listens on the broker's port."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            return int(connection.pid)
    raise RuntimeError(f"nothing listens on port {port}")


def quantile(values: Sequence[float], q: float) -> float:
    """The q-quantile by nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]
