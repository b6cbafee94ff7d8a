"""What a process knows of itself: who it is, whether it is ready, which engines it runs, which tasks keep it alive."""

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from parley_protocol.control import EngineInfo, Presence
from parley_runtime.clock import SystemClock
from parley_runtime.ports import Clock
from parley_runtime.settings import CommonSettings
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)

SAME_SIGNAL_S = 1.0

Check = Callable[[], str | None]
"""None: fine; otherwise why the process is not ready. Called on the loop; must not block."""


class Checks:
    """Named reasons for not being ready."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}

    def add(self, name: str, check: Check) -> None:
        """Register ``check``; a second one under the same name replaces the first."""
        self._checks[name] = check

    def run(self) -> dict[str, str | None]:
        """Result of each check. A check that raises is a reason too."""
        return {name: _result(check) for name, check in self._checks.items()}


def _result(check: Check) -> str | None:
    try:
        return check()
    except Exception as error:
        return f"check failed: {type(error).__name__}"


@dataclass(frozen=True, slots=True)
class Figures:
    """What one part of a process adds to its presence; numbers of several parts are summed."""

    seats: int = 0
    busy: int = 0
    sockets: int = 0
    sessions: int = 0
    latencies: dict[str, float] = field(default_factory=dict)


class Process:
    """Identity and state of one process. Made by ``lifecycle``; the composition root hands it on."""

    def __init__(self, role: str, common: CommonSettings, *, clock: Clock | None = None) -> None:
        self.role = role
        self.common = common
        self.clock = clock or SystemClock()
        self.id = common.process_id or f"{role}-{secrets.token_hex(4)}"
        self.checks = Checks()
        self.engines: list[EngineInfo] = []
        self.started = asyncio.Event()
        """Set once everything is built and, as far as the parts know, running."""
        self.stopping = asyncio.Event()
        """Set by the first signal, :meth:`stop` or :meth:`fail`."""
        self.hurry = asyncio.Event()
        """Set by a second signal: leave off draining."""
        self.failure: BaseException | None = None
        self._since = self.clock.monotonic()
        self._stopped_at: float | None = None
        self._figures: list[Callable[[], Figures]] = []
        self._tasks: list[asyncio.Task[Any]] = []

    @property
    def draining(self) -> bool:
        """Whether the process is on its way out: it takes no new work."""
        return self.stopping.is_set()

    def ready(self) -> bool:
        """Started, not draining, and every check is fine."""
        return not any(self.reasons().values())

    def reasons(self) -> dict[str, str | None]:
        """Each check's result, with ``process`` for the life cycle itself."""
        own = "draining" if self.draining else None if self.started.is_set() else "starting"
        return {"process": own, **self.checks.run()}

    def add_figures(self, figures: Callable[[], Figures]) -> None:
        """Let a part add its numbers to :meth:`presence`."""
        self._figures.append(figures)

    def presence(self) -> Presence:
        """What this process says of itself now."""
        parts = [figures() for figures in self._figures]
        latencies: dict[str, float] = {}
        for part in parts:
            latencies.update(part.latencies)
        return Presence(
            id=self.id,
            role=self.role,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=version("parley-runtime"),
            uptime_s=round(self.clock.monotonic() - self._since, 3),
            ready=self.ready(),
            engines=tuple(self.engines),
            seats=sum(part.seats for part in parts),
            busy=sum(part.busy for part in parts),
            sockets=sum(part.sockets for part in parts),
            sessions=sum(part.sessions for part in parts),
            latencies=latencies,
        )

    def spawn(self, name: str, work: Coroutine[Any, Any, object], *, ends: bool = False) -> asyncio.Task[Any]:
        """Run ``work`` as a task that the process depends on: if it raises, or returns although ``ends`` is False, the
        process ends with exit code 1 and a log line that names it. Cancelling it is no failure. Whatever still runs
        when the process has stopped is cancelled, last spawned first.
        """
        task = asyncio.create_task(work, name=name)
        self._tasks.append(task)
        task.add_done_callback(lambda done: self._ended(done, ends))
        return task

    def _ended(self, task: asyncio.Task[Any], ends: bool) -> None:
        self._tasks.remove(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self.fail(task.get_name(), error)
        elif not ends and not self.stopping.is_set():
            self.fail(task.get_name(), RuntimeError("ended although it should run as long as the process"))

    def fail(self, part: str, error: BaseException) -> None:
        """``part`` cannot go on: end the process with exit code 1. Only the first failure counts; all are logged."""
        log.error("part failed", part=part, exc_info=error)
        self.failure = self.failure or error
        self.stopping.set()

    def stop(self, reason: str) -> None:
        """Drain and end with exit code 0; another call hurries, unless it comes within :data:`SAME_SIGNAL_S` of the
        first: a terminal and a supervisor often both signal once.
        """
        now = self.clock.monotonic()
        if self._stopped_at is None:
            self._stopped_at = now
        elif now - self._stopped_at < SAME_SIGNAL_S:
            return
        else:
            self.hurry.set()
        log.info("stopping", reason=reason, hurry=self.hurry.is_set())
        self.stopping.set()

    async def cancel_tasks(self) -> None:
        """Cancel and await every task of :meth:`spawn`, last first."""
        for task in list(reversed(self._tasks)):
            task.cancel()
            await asyncio.wait({task})
