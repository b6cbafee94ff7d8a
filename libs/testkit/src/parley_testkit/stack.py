"""A whole installation as its operator runs it: every service a process of its own, on a broker and a store of its own.

All waiting has a deadline, and what a process wrote to its log is shown when it does not do what it should. Methods
block; call them with ``asyncio.to_thread``.
"""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from parley_testkit.rabbit import RabbitNode, free_port

READY_S = 120.0
STOP_S = 60.0
POLL_S = 0.05
KEPT = ("PATH", "LANG", "HOME", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "SYSTEMROOT")
"""What a process is given of this shell's environment."""


def until(condition: Callable[[], Any], what: str, *, limit_s: float = READY_S) -> Any:
    """The first true value of ``condition``, which may fail with an HTTP error meanwhile."""
    deadline = time.monotonic() + limit_s
    while True:
        with contextlib.suppress(httpx.HTTPError):
            value = condition()
            if value:
                return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {limit_s:g} s")
        time.sleep(POLL_S)


async def soon(condition: Callable[[], Any], what: str, *, limit_s: float = READY_S) -> Any:
    """:func:`until`, beside a running loop."""
    return await asyncio.to_thread(until, condition, what, limit_s=limit_s)


@dataclass
class Service:
    """One process. ``port`` is the gateway's, ``health_port`` that of ``/readyz`` and ``/metrics``.

    ``launcher``: module that runs the role given to it; "" runs ``parley_<role>`` itself.
    """

    role: str
    environ: dict[str, str]
    log: Path
    port: int = 0
    health_port: int = 0
    launcher: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def health(self) -> str:
        return f"http://127.0.0.1:{self.health_port}"

    def start(self) -> None:
        """Start it; not waiting for anything."""
        module = [self.launcher, self.role] if self.launcher else [f"parley_{self.role}"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *module],
                env=self.environ,
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def get(self, path: str) -> httpx.Response:
        """From the health port."""
        return httpx.get(self.health + path, timeout=30.0, trust_env=False)

    def ready(self) -> bool:
        """Whether ``/readyz`` says so. Raises AssertionError where the process has ended."""
        assert self.process is not None
        code = self.process.poll()
        assert code is None, f"{self.role} ended with {code}:\n{self.tail()}"
        return self.get("/readyz").status_code == 200

    def wait_ready(self, limit_s: float = READY_S) -> None:
        try:
            until(self.ready, f"{self.role} ready", limit_s=limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    def metrics(self) -> str:
        """The Prometheus text."""
        return self.get("/metrics").text

    def end(self, number: signal.Signals = signal.SIGTERM, limit_s: float = STOP_S) -> int:
        """Signal it and wait; it is killed, and the test fails, where it does not end in time."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait(limit_s)

    def wait(self, limit_s: float = STOP_S) -> int:
        """Until a process that was told to end has ended; as :meth:`end`."""
        process, self.process = self.process, None
        if process is None:
            return 0
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
            raise AssertionError(f"{self.role} did not end within {limit_s:g} s:\n{self.tail()}") from None

    def restart(self) -> None:
        """End it gracefully and start it again on the same ports."""
        self.end()
        self.start()
        self.wait_ready()

    def text(self) -> str:
        """Its whole log."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def tail(self, characters: int = 3000) -> str:
        """The end of its log."""
        return f"--- {self.log.name} ---\n{self.text()[-characters:]}"


@dataclass
class Stack:
    """Services that share a broker's virtual host, a store and a folder."""

    folder: Path
    amqp_url: str
    store: str
    common: dict[str, str] = field(default_factory=dict)
    services: list[Service] = field(default_factory=list)
    launcher: str = ""

    def add(self, role: str, **environ: str) -> Service:
        """A process of ``role``, started; see :meth:`wait`. ``environ`` wins over what all processes are given."""
        number = sum(service.role == role for service in self.services) + 1
        service = Service(role, {}, self.folder / f"{role}-{number}.log", health_port=free_port())
        service.environ = self.environ() | {"PARLEY_HEALTH_PORT": str(service.health_port)}
        if role == "gateway":
            service.port = free_port()
            service.environ["PARLEY_PORT"] = str(service.port)
        service.environ |= environ
        service.launcher = self.launcher
        self.services.append(service)
        service.start()
        return service

    def wait(self) -> None:
        """Until every process is ready."""
        for service in self.services:
            service.wait_ready()

    def of(self, role: str) -> list[Service]:
        return [service for service in self.services if service.role == role]

    @property
    def gateway(self) -> Service:
        return self.of("gateway")[0]

    @property
    def url(self) -> str:
        return self.gateway.url

    @property
    def trace_file(self) -> Path:
        return self.folder / "spans.jsonl"

    def environ(self) -> dict[str, str]:
        """What every process is given, and nothing else of this shell."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        return kept | {
            "AMQP_URL": self.amqp_url,
            "PARLEY_STORE": self.store,
            "PARLEY_DATA": str(self.folder / "data"),
            "PARLEY_TRACE_FILE": str(self.trace_file),
            "PARLEY_CONNECT_RATE": "0",
            "PARLEY_DRAIN_S": "5",
            "PARLEY_PORT": "0",
            **self.common,
        }

    def spans(self) -> list[dict[str, Any]]:
        """Spans that have ended so far."""
        if not self.trace_file.exists():
            return []
        return [json.loads(line) for line in self.trace_file.read_text(encoding="utf-8").splitlines()]

    def logs(self) -> str:
        """Everything that any process wrote."""
        return "\n".join(service.text() for service in self.services)

    def tails(self) -> str:
        return "\n".join(service.tail() for service in self.services)

    def close(self) -> None:
        """End every process: all are signalled first, then awaited. Raises AssertionError for one that hangs."""
        for service in self.services:
            if service.process is not None and service.process.poll() is None:
                service.process.send_signal(signal.SIGTERM)
        hung = []
        for service in self.services:
            try:
                service.end()
            except AssertionError as error:
                hung.append(str(error))
        assert not hung, "\n".join(hung)


class Lab:
    """Makes stacks on one broker node, each in a virtual host and a folder of its own."""

    def __init__(self, node: RabbitNode, folder: Path) -> None:
        self.node = node
        self._folder = folder
        self.stacks: list[Stack] = []

    def vhost(self) -> str:
        """A new virtual host; returns its address."""
        return self.node.add_vhost(f"e2e-{secrets.token_hex(3)}")

    @contextlib.contextmanager
    def stack(
        self, name: str, *, roles: Mapping[str, int] | None = None, store: str = "", **common: str
    ) -> Iterator[Stack]:
        """A running stack; ``roles`` says how many processes of each."""
        folder = self._folder / name
        folder.mkdir(parents=True)
        stack = Stack(folder, self.vhost(), store or f"sqlite+aiosqlite:///{folder / 'parley.db'}", dict(common))
        self.stacks.append(stack)
        try:
            for role, count in (roles or {"rag": 1, "inference": 1, "gateway": 1}).items():
                for _ in range(count):
                    stack.add(role)
            stack.wait()
            yield stack
        finally:
            self.stacks.remove(stack)
            stack.close()
