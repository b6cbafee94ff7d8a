"""Virtual time: a loop that jumps to its next timer instead of waiting for it, and a clock for pure cores.

A test marked ``virtual_time`` runs on a :class:`VirtualLoop`. Ready callbacks and sockets come first; only when there
is nothing to do does time jump, so an hour of back-off takes microseconds and always the same path.
"""

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START_S = 1000.0
WALL_AT_START = 1_700_000_000.0
STALL_S = 60.0
"""Real seconds after which a loop with nothing to do and no timer is reported instead of hanging the test run."""


class Stalled(RuntimeError):
    """Everything waits and nothing is scheduled: the test would hang for ever."""


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits while a timer is due in virtual time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START_S
        self.threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        if self.threads:
            # A thread is at work in real time: give it that, and let no virtual time pass meanwhile.
            return super().select(0.05)
        found = super().select(0)
        if found:
            return found
        if timeout is None:
            found = super().select(STALL_S)
            if not found:
                raise Stalled("every task waits and no timer is set")
            return found
        self.now += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time. Executors (``to_thread``) run in real time and hold the clock still; other
    threads are not known to it.
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds."""
        return self._jumping.now

    def jump(self, seconds: float) -> None:
        """Let time pass at once, as when a process was suspended: timers due meanwhile run late."""
        self._jumping.now += seconds

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """As asyncio's; the clock stands still until the call has ended."""
        future = super().run_in_executor(executor, func, *args)
        self._jumping.threads += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _: asyncio.Future[T]) -> None:
        self._jumping.threads -= 1


class VirtualClock:
    """Implements :class:`parley_runtime.ports.Clock`: follows ``loop``, or stands still but for :meth:`advance`."""

    def __init__(self, loop: VirtualLoop | None = None) -> None:
        self._loop = loop
        self._now = START_S

    def monotonic(self) -> float:
        """Virtual seconds."""
        return self._loop.time() if self._loop is not None else self._now

    def wall(self) -> float:
        """Seconds since 1970, moving with :meth:`monotonic`."""
        return WALL_AT_START + self.monotonic() - START_S

    def advance(self, seconds: float) -> None:
        """Let time pass. Time never goes back."""
        if seconds < 0:
            raise ValueError("time never goes back")
        if self._loop is not None:
            self._loop.jump(seconds)
        else:
            self._now += seconds
