"""One queue: order, length limit, time to live, expiry, prefetch, redelivery and its count."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from parley_protocol.routes import QueueSpec
from parley_runtime.ports import Headers

_arrivals = itertools.count()


@dataclass(slots=True)
class Stored:
    """A message in a queue. ``count`` is the broker's number of failed deliveries, ``expires_at`` in loop time."""

    body: bytes
    headers: Headers
    key: str
    durable: bool
    death: tuple[str, str] | None = None
    expires_at: float | None = None
    count: int = 0
    redelivered: bool = False
    arrival: int = field(default_factory=lambda: next(_arrivals))


class Consumer(Protocol):
    """Where a queue delivers to."""

    @property
    def room(self) -> bool: ...
    def deliver(self, stored: Stored) -> None: ...
    def ended(self) -> None:
        """The queue has gone."""
        ...


class Rules:
    """A queue's arguments, read."""

    def __init__(self, spec: QueueSpec) -> None:
        arguments: dict[str, Any] = dict(spec.arguments)
        self.quorum = arguments.get("x-queue-type") == "quorum"
        self.max_length: int | None = arguments.get("x-max-length")
        self.refuses = arguments.get("x-overflow") == "reject-publish"
        self.delivery_limit: int | None = arguments.get("x-delivery-limit") if self.quorum else None
        self.ttl_s = _seconds(arguments.get("x-message-ttl"))
        self.unused_s = _seconds(arguments.get("x-expires"))

    def over(self, length: int) -> bool:
        """Whether a queue of ``length`` holds more than it may."""
        return self.max_length is not None and length > self.max_length


class Alarm:
    """One timer that is set anew, or stopped."""

    def __init__(self) -> None:
        self._handle: asyncio.TimerHandle | None = None

    def set(self, when: float, then: Callable[[], object]) -> None:
        """Call ``then`` at ``when`` (loop time), and at no time set before."""
        self.stop()
        self._handle = asyncio.get_running_loop().call_at(when, then)

    def stop(self) -> None:
        """It does not go off."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


DeadLetter = Callable[["MemoryQueue", Stored, str], None]
Expired = Callable[["MemoryQueue"], None]


class MemoryQueue:
    """A durable classic or quorum queue. Deliveries happen in a later turn of the loop, one message after the other."""

    def __init__(self, spec: QueueSpec, dead_letter: DeadLetter, expired: Expired) -> None:
        self.spec = spec
        self.rules = Rules(spec)
        self.ready: deque[Stored] = deque()
        self.consumers: deque[Consumer] = deque()
        self._dead_letter, self._expired = dead_letter, expired
        self._loop = asyncio.get_running_loop()
        self._pumping: asyncio.Handle | None = None
        self._head_alarm = Alarm()
        self._unused_alarm = Alarm()
        self.touch()

    @property
    def full(self) -> bool:
        """True if a publish would be refused."""
        return self.rules.refuses and self.rules.over(len(self.ready) + 1)

    def put(self, stored: Stored, expires_s: float | None) -> None:
        """Append; the shorter of the message's and the queue's time to live counts, in this queue only."""
        lives = [s for s in (expires_s, self.rules.ttl_s) if s is not None]
        stored.expires_at = self._loop.time() + min(lives) if lives else None
        self.ready.append(stored)
        while not self.rules.refuses and self.rules.over(len(self.ready)):
            self._dead_letter(self, self.ready.popleft(), "maxlen")
        self.stir()

    def put_back(self, returned: list[Stored]) -> None:
        """Unsettled messages come back: to their old place in a classic queue, behind the waiting ones in a quorum
        queue (RabbitMQ does that or the opposite; this is the harder case). A quorum queue counts, and parks what is
        over its delivery limit.
        """
        limit = self.rules.delivery_limit
        for stored in returned:
            stored.redelivered = True
            stored.count += 1
            if limit is not None and stored.count > limit:
                self._dead_letter(self, stored, "delivery_limit")
            else:
                self.ready.append(stored)
        if not self.rules.quorum:
            self.ready = deque(sorted(self.ready, key=lambda stored: stored.arrival))
        self.stir()

    def reject(self, stored: Stored) -> None:
        """Dead-letter a delivered message."""
        self._dead_letter(self, stored, "rejected")

    def attach(self, consumer: Consumer) -> None:
        self.consumers.append(consumer)
        self._unused_alarm.stop()
        self.stir()

    def detach(self, consumer: Consumer) -> None:
        if consumer in self.consumers:
            self.consumers.remove(consumer)
            self.touch()

    def touch(self) -> None:
        """Start the time after which an unused queue goes."""
        self._unused_alarm.stop()
        if self.rules.unused_s is not None and not self.consumers:
            self._unused_alarm.set(self._loop.time() + self.rules.unused_s, lambda: self._expired(self))

    def forget_transient(self) -> None:
        """What a broker restart does; a quorum queue keeps everything."""
        if not self.rules.quorum:
            self.ready = deque(stored for stored in self.ready if stored.durable)
        self.stir()

    def end(self) -> None:
        """The queue is deleted, with what is in it."""
        self.ready.clear()
        self._unused_alarm.stop()
        self._head_alarm.stop()
        if self._pumping is not None:
            self._pumping.cancel()
        for consumer in tuple(self.consumers):
            consumer.ended()
        self.consumers.clear()

    def stir(self) -> None:
        """Look at the head in the next turn of the loop."""
        if self._pumping is None:
            self._pumping = self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = None
        self._drop_expired()
        while self.ready:
            consumer = self._next_consumer()
            if consumer is None:
                break
            consumer.deliver(self.ready.popleft())
        self._drop_expired()

    def _next_consumer(self) -> Consumer | None:
        for _ in range(len(self.consumers)):
            consumer = self.consumers[0]
            self.consumers.rotate(-1)
            if consumer.room:
                return consumer
        return None

    def _drop_expired(self) -> None:
        """Only the head expires: a message behind one that lives longer waits, as in RabbitMQ."""
        self._head_alarm.stop()
        while self.ready and self.ready[0].expires_at is not None:
            when = self.ready[0].expires_at
            if when > self._loop.time():
                self._head_alarm.set(when, self.stir)
                return
            self._dead_letter(self, self.ready.popleft(), "expired")


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
