"""The CPU, shared among streams: each has its turn for a bounded piece of work, off the event loop."""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol


class Worked(Protocol):
    """Something with work to do now and then. Its methods are called on the loop."""

    def take(self) -> Callable[[], None] | None:
        """A bounded piece of work, to be done on a thread; None where there is none."""
        ...

    def done(self, error: BaseException | None) -> None:
        """That piece has been done. Whatever it found out is where the two of them agreed."""
        ...


class Pool:
    """Threads, and a queue in which each of the :class:`Worked` stands once at most."""

    def __init__(self, threads: int = 0, *, at_least: int = 1) -> None:
        """``threads`` 0: twice as many as there are cores, and ``at_least`` so many: what a model decodes in one call
        has to be asked for at once.
        """
        self.threads = threads or max(at_least, 2 * (os.cpu_count() or 1))
        self._executor = ThreadPoolExecutor(self.threads, thread_name_prefix="asr")
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Worked] = deque()
        self._queued: set[int] = set()
        self._at_work = 0

    def touch(self, worked: Worked) -> None:
        """``worked`` may have something to do."""
        if id(worked) in self._queued:
            return
        self._queued.add(id(worked))
        self._ready.append(worked)
        self._next()

    def run(self, work: Callable[[], None]) -> "asyncio.Future[None]":
        """Work outside any turn."""
        return self._loop.run_in_executor(self._executor, work)

    async def aclose(self) -> None:
        """Forget what waits, and wait for what is at work."""
        self._ready.clear()
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)

    def _next(self) -> None:
        while self._ready and self._at_work < self.threads:
            worked = self._ready.popleft()
            work = worked.take()
            if work is None:
                self._queued.discard(id(worked))
                continue
            self._at_work += 1
            self.run(work).add_done_callback(partial(self._done, worked))

    def _done(self, worked: Worked, future: "asyncio.Future[None]") -> None:
        self._at_work -= 1
        self._queued.discard(id(worked))
        worked.done(None if future.cancelled() else future.exception())
        self.touch(worked)
        self._next()
