"""Tasks of one part of a process that nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from parley_runtime.telemetry.logging import get_logger

T = TypeVar("T")

log = get_logger(__name__)


class Tasks:
    """They are kept until they end; one that raises is logged, with ``part``. Those left end with :meth:`close`."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task failed", part=self._part, exc_info=error)

    async def close(self, settle_s: float = 0.0) -> None:
        """Give what runs ``settle_s`` to end, then cancel it."""
        if self._tasks and settle_s:
            await asyncio.wait(self._tasks, timeout=settle_s)
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
