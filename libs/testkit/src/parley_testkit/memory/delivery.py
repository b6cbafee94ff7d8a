"""A delivery and the channel ("lane") it came on."""

import asyncio
import logging
from collections.abc import Callable

from parley_runtime.ports import OnDelivery
from parley_testkit.memory.queue import MemoryQueue, Stored

_log = logging.getLogger(__name__)


class Lane:
    """A consumer on a channel of its own. Ends once, then everything unsettled goes back to the queue."""

    def __init__(self, queue: MemoryQueue, on_delivery: OnDelivery, prefetch: int, on_end: Callable[[], None]) -> None:
        self.queue = queue
        self.alive = True
        self._on_delivery = on_delivery
        self._prefetch = prefetch
        self._unsettled: dict[int, Stored] = {}
        self._next = 0
        self._on_end = on_end

    @property
    def unsettled(self) -> int:
        return len(self._unsettled)

    @property
    def room(self) -> bool:
        return len(self._unsettled) < self._prefetch

    def deliver(self, stored: Stored) -> None:
        self._next += 1
        self._unsettled[self._next] = stored
        delivery = MemoryDelivery(self, self._next, stored)
        try:
            self._on_delivery(delivery)
        except Exception:
            _log.exception("on_delivery failed")
            for rejected in self.take(self._next, multiple=False):
                self.queue.reject(rejected)

    def take(self, tag: int, *, multiple: bool) -> list[Stored]:
        """Remove what is settled by ``tag``; nothing where it was settled before or the lane has ended."""
        if not self.alive or tag not in self._unsettled:
            return []
        tags = [one for one in self._unsettled if one <= tag] if multiple else [tag]
        taken = [self._unsettled.pop(one) for one in tags]
        self.queue.stir()
        return taken

    def stop(self) -> None:
        """No new deliveries."""
        self.queue.detach(self)

    def end(self) -> None:
        """The channel closes: unsettled messages return."""
        if not self.alive:
            return
        self.alive = False
        self.queue.detach(self)
        returned = list(self._unsettled.values())
        self._unsettled.clear()
        if returned:
            self.queue.put_back(returned)

    def ended(self) -> None:
        """The queue was deleted."""
        self._unsettled.clear()
        self.alive = False
        self._on_end()


class MemoryDelivery:
    """Implements :class:`parley_runtime.ports.Delivery`."""

    def __init__(self, lane: Lane, tag: int, stored: Stored) -> None:
        self._lane, self._tag = lane, tag
        self.body = stored.body
        self.headers = {key: value for key, value in stored.headers.items() if not key.startswith("x-")}
        self.redelivered = stored.redelivered
        self.death = stored.death
        self.delivery_count = stored.count if lane.queue.rules.quorum and stored.count else None

    @property
    def queue(self) -> str:
        return self._lane.queue.spec.name

    @property
    def alive(self) -> bool:
        return self._lane.alive

    async def proven(self) -> bool:
        """As the port says."""
        await asyncio.sleep(0)
        return self._lane.alive

    async def ack(self, *, multiple: bool = False) -> bool:
        """As the port says."""
        return bool(self._lane.take(self._tag, multiple=multiple))

    async def reject(self) -> bool:
        """As the port says."""
        taken = self._lane.take(self._tag, multiple=False)
        for stored in taken:
            self._lane.queue.reject(stored)
        return bool(taken)
