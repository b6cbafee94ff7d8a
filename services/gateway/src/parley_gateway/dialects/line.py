"""The questions of one socket, worked on one after another."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)

Work = Callable[[], Awaitable[None]]


class Line:
    """First in, first out, ``limit`` waiting at most. An empty line has no task.

    Work that raises is logged and does not hold up what comes after it.
    """

    __slots__ = ("_limit", "_task", "_waiting")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[Work] = deque()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether something is being worked on or waits."""
        return self._task is not None and not self._task.done()

    def put(self, work: Work) -> bool:
        """Take ``work`` in; False where as many wait as may."""
        if len(self._waiting) >= self._limit:
            return False
        self._waiting.append(work)
        if not self.busy:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="dialect line")
        return True

    def clear(self) -> int:
        """Forget what waits; returns how many. What is being worked on goes on."""
        count = len(self._waiting)
        self._waiting.clear()
        return count

    def close(self) -> int:
        """Forget what waits and cancel what is being worked on; returns how many waited."""
        count = self.clear()
        if self._task is not None:
            self._task.cancel()
        return count

    def outlive(self, tasks: set[asyncio.Task[None]]) -> int:
        """Forget what waits; what is being worked on goes on, as one of ``tasks``. Returns how many waited."""
        if self._task is not None:
            tasks.add(self._task)
            self._task.add_done_callback(tasks.discard)
        return self.clear()

    async def idle(self) -> None:
        """Returns when nothing is being worked on any more."""
        while self.busy and self._task is not None:
            with suppress(asyncio.CancelledError):
                await asyncio.wait({self._task})

    async def _run(self) -> None:
        try:
            while self._waiting:
                work = self._waiting.popleft()
                try:
                    await work()
                except Exception:
                    log.exception("work of a dialect failed on a defect")
        finally:
            self._task = None
