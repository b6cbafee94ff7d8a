"""The CPU, shared among streams: each has its turn for a bounded piece of work, off the event loop."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

W = TypeVar("W")
"""Whoever has something to do now and then."""
T = TypeVar("T")
"""A bounded piece of it."""


class Pool(Generic[W, T]):
    """Threads, and a queue in which everybody stands once at most. ``take`` and ``done`` are called on the loop,
    ``run`` on a thread.

    ``take`` gives somebody's next piece of work, or None; ``run`` does up to ``most`` pieces at once, those of whoever
    is in the queue at the moment; ``done`` is told of each, with what ``run`` raised.
    """

    def __init__(
        self,
        threads: int,
        *,
        take: Callable[[W], T | None],
        run: Callable[[Sequence[T]], None],
        done: Callable[[W, BaseException | None], None],
        most: int = 1,
        name: str = "asr",
    ) -> None:
        self.threads = threads
        self._take = take
        self._run = run
        self._tell = done
        self._most = most
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._loop = asyncio.get_running_loop()
        self._ready: deque[W] = deque()
        self._queued: set[int] = set()
        self._at_work = 0
        self._due = self._closed = False

    def touch(self, worked: W) -> None:
        """``worked`` may have something to do."""
        if id(worked) in self._queued:
            return
        self._queued.add(id(worked))
        self._ready.append(worked)
        if not self._due:
            self._due = True
            self._loop.call_soon(self._next)  # whoever else is touched in this tick goes with it

    async def aclose(self) -> None:
        """Forget what waits, and wait for what is at work. Nothing is begun any more."""
        self._closed = True
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)

    def _next(self) -> None:
        self._due = False
        while self._ready and self._at_work < self.threads and not self._closed:
            batch = self._batch()
            if not batch:
                return
            self._at_work += 1
            future = self._loop.run_in_executor(self._executor, self._run, list(batch.values()))
            future.add_done_callback(partial(self._done, list(batch)))

    def _batch(self) -> dict[W, T]:
        batch: dict[W, T] = {}
        while self._ready and len(batch) < self._most:
            worked = self._ready.popleft()
            work = self._take(worked)
            if work is None:
                self._queued.discard(id(worked))
            else:
                batch[worked] = work
        return batch

    def _done(self, batch: list[W], future: "asyncio.Future[None]") -> None:
        self._at_work -= 1
        error = None if future.cancelled() else future.exception()
        for worked in batch:
            self._queued.discard(id(worked))
            self._tell(worked, error)
            self.touch(worked)
