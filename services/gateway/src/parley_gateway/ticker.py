"""One timer for all turns: a heap of promised times. A turn that flows only moves its own time, not the heap."""

import asyncio
import heapq
import itertools
from collections.abc import Callable

from parley_gateway.core.entry import Entry
from parley_runtime.ports import Clock
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)

AGAIN_S = 1.0
"""When a turn whose look has failed on a defect is looked at again."""


class Ticker:
    """Calls ``on_due(entry, now)`` at ``entry.due()`` or a little later. A call that fails is logged, and made again
    after :data:`AGAIN_S`; it delays no other turn's.
    """

    def __init__(self, clock: Clock, on_due: Callable[[Entry, float], None]) -> None:
        self._clock = clock
        self._on_due = on_due
        self._heap: list[tuple[float, int, Entry]] = []
        self._order = itertools.count()
        self._handle: asyncio.TimerHandle | None = None
        self._armed = 0.0

    def promise(self, entry: Entry) -> None:
        """Look at the turn when it next wants it, where that is earlier than was promised before."""
        due = entry.due()
        if entry.ended or (entry.due_at and entry.due_at <= due):
            return
        self._push(entry, due)
        if self._handle is None or due < self._armed:
            self._arm(due)

    def close(self) -> None:
        """Call nothing any more."""
        if self._handle is not None:
            self._handle.cancel()
        self._heap.clear()

    def _push(self, entry: Entry, due: float) -> None:
        entry.due_at = due
        heapq.heappush(self._heap, (due, next(self._order), entry))

    def _arm(self, due: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._armed = due
        delay = max(0.0, due - self._clock.monotonic())
        self._handle = asyncio.get_running_loop().call_later(delay, self._run)

    def _run(self) -> None:
        self._handle = None
        now = self._clock.monotonic()
        while self._heap and self._heap[0][0] <= now:
            due, _, entry = heapq.heappop(self._heap)
            if entry.ended or entry.due_at != due:
                continue
            entry.due_at = 0.0
            try:
                if entry.due() <= now:
                    self._on_due(entry, now)
                self.promise(entry)
            except Exception:
                log.exception("a turn failed on a defect as its time came", turn=entry.turn.key.turn)
                self._push(entry, now + AGAIN_S)
        if self._heap:  # a promise made above armed the timer for its own time only
            self._arm(self._heap[0][0])
