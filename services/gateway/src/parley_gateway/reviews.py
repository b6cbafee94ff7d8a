"""Reviews that sockets of this gateway watch: one reading of the store for each, whatever the number of its sockets.

News over control moves a task at once; the store is read every few seconds in any case, so that lost news only costs
time, and always for what ends a task.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

import msgspec

from parley_gateway.dialects import review_frames as frames
from parley_protocol.control import ReviewMoved
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.reviews import ReviewStatus
from parley_runtime.control import ControlPlane
from parley_runtime.errors import ParleyError
from parley_runtime.ports import Clock
from parley_runtime.store.review_ports import ReviewRow, ReviewStore
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import gauge

log = get_logger("parley.reviews")

FRESH_S = 0.25
"""A row read within so long answers for another reading."""


class Watcher(Protocol):
    """A socket that watches a task."""

    def moved(self) -> None:
        """The task has come further. Never waits and never raises."""
        ...


class Watched:
    """One task that is watched here."""

    def __init__(self, tenant: str, task: int) -> None:
        self.tenant = tenant
        self.task = task
        self.row: ReviewRow | None = None
        self.complete: msgspec.Raw | None = None
        """The last frame of a completed task, made once."""
        self.watchers: set[Watcher] = set()
        self.read_at = float("-inf")
        self.lock = asyncio.Lock()
        self.poll: asyncio.Task[None] | None = None


class ReviewDesk:
    """One for each gateway."""

    def __init__(self, store: ReviewStore, control: ControlPlane, clock: Clock, *, poll_s: float) -> None:
        self._store = store
        self._clock = clock
        self._poll_s = poll_s
        self._watched: dict[tuple[str, int], Watched] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        control.on(ReviewMoved, self._on_moved)

    async def open(self, tenant: str, task: int) -> Watched:
        """The task, its row read. A caller that will not :meth:`join` it calls :meth:`leave`.

        Raises:
            ProtocolError: there is no such task of this tenant, or the store is away.
        """
        watched = self._watched.setdefault((tenant, task), Watched(tenant, task))
        try:
            await self.fresh(watched, self._poll_s)
        except ProtocolError:
            self._forget(watched)
            raise
        return watched

    def join(self, watched: Watched, watcher: Watcher) -> None:
        """From now on ``watcher`` hears of every move."""
        self._watched.setdefault((watched.tenant, watched.task), watched)
        watched.watchers.add(watcher)
        gauge(names.REVIEWS_WATCHED).set(len(self._watched))
        if watched.poll is None and not _over(watched):
            watched.poll = self._spawn(self._poll(watched))

    def leave(self, watched: Watched, watcher: Watcher) -> None:
        """It hears no more."""
        watched.watchers.discard(watcher)
        self._forget(watched)

    async def fresh(self, watched: Watched, within_s: float = FRESH_S) -> ReviewRow:
        """The row, read within the last ``within_s``. Callers that ask at the same time share one reading.

        Raises:
            ProtocolError: as :meth:`open`.
        """
        async with watched.lock:
            age = self._clock.monotonic() - watched.read_at
            if watched.row is None or (age > within_s and not _over(watched)):
                try:
                    await self._read(watched)
                except ParleyError as error:
                    raise ProtocolError(FaultCode.UNAVAILABLE, str(error)) from error
            if watched.row is None:
                raise ProtocolError(FaultCode.NOT_FOUND, f"there is no review with the id {watched.task}")
            return watched.row

    async def close(self) -> None:
        """Stop reading."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self, watched: Watched) -> None:
        row = await self._store.row(watched.tenant, watched.task)
        if row is not None and row.status is ReviewStatus.COMPLETED and watched.complete is None:
            findings = await self._store.findings(watched.tenant, watched.task)
            watched.complete = msgspec.Raw(msgspec.json.encode(frames.complete(row, findings)))
        watched.read_at = self._clock.monotonic()
        self._move(watched, row)

    def _move(self, watched: Watched, row: ReviewRow | None) -> None:
        if row is None or row == watched.row:
            return
        watched.row = row
        for watcher in tuple(watched.watchers):
            watcher.moved()

    def _on_moved(self, moved: ReviewMoved) -> None:
        watched = self._watched.get((moved.tenant, moved.task))
        if watched is None or watched.row is None or watched.row.status.ended:
            return
        if moved.status.ended:
            self._spawn(self._look(watched))
            return
        row = watched.row
        done = max(row.done, moved.done)
        clauses = max(row.clauses, moved.clauses)
        self._move(watched, msgspec.structs.replace(row, status=moved.status, clauses=clauses, done=done))

    async def _poll(self, watched: Watched) -> None:
        try:
            while watched.watchers and not _over(watched):
                await asyncio.sleep(self._poll_s)
                await self._look(watched)
        finally:
            watched.poll = None

    async def _look(self, watched: Watched) -> None:
        async with watched.lock:
            if _over(watched):
                return
            try:
                await self._read(watched)
            except ParleyError as error:
                log.info("review cannot be read; it is looked at again", task=watched.task, reason=type(error).__name__)

    def _forget(self, watched: Watched) -> None:
        if not watched.watchers and self._watched.get((watched.tenant, watched.task)) is watched:
            del self._watched[watched.tenant, watched.task]
            if watched.poll is not None:
                watched.poll.cancel()
        gauge(names.REVIEWS_WATCHED).set(len(self._watched))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _over(watched: Watched) -> bool:
    """Whether there is nothing more to come."""
    row = watched.row
    return row is not None and row.status.ended and (row.status is ReviewStatus.FAILED or watched.complete is not None)
