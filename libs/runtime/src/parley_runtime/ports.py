"""What the rest of Parley asks of a message broker. ``amqp/`` and the testkit's in-memory broker implement it; one
contract suite runs on both.

A :class:`Link` is one broker connection with one purpose: publishing, one consumer, or control. A memory alarm that
blocks a publishing link leaves consumers working, and one consumer's fate is not shared by another.
"""

import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from parley_protocol.routes import QueueSpec

Headers = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Message:
    """A message to publish. ``expires_s`` (None: never) is how long it may wait in a queue before it is dead-lettered
    with reason ``expired``. ``durable`` survives a broker restart when it lies in a durable queue.
    """

    body: bytes
    headers: Headers = field(default_factory=dict)
    expires_s: float | None = None
    durable: bool = True


class Delivery(Protocol):
    """A message taken from a queue, unacknowledged. Settled once, and only on the channel that delivered it: after
    that channel has gone, ``ack`` and ``reject`` do nothing and return False (the broker redelivers).
    """

    @property
    def body(self) -> bytes: ...
    @property
    def headers(self) -> Headers:
        """Headers of the publisher, without any the broker added."""
        ...

    @property
    def queue(self) -> str: ...
    @property
    def redelivered(self) -> bool: ...
    @property
    def delivery_count(self) -> int | None:
        """The broker's count of failed deliveries; None where it says nothing. Answers only "certainly first?"."""
        ...

    @property
    def death(self) -> tuple[str, str] | None:
        """(reason, queue) of the last dead-lettering, for instance ``("expired", "parley.retrieve")``. The last: a
        trip through the retry ladder is a dead-lettering too.
        """
        ...

    @property
    def alive(self) -> bool:
        """False once the delivering channel has gone."""
        ...

    async def proven(self) -> bool:
        """Asks the broker, on the delivering channel: True means that this delivery was ours at some moment during the
        call, so that nobody else had been given it before. False: it is lost, or the broker is slow to answer.
        """
        ...

    async def ack(self, *, multiple: bool = False) -> bool:
        """Settle this delivery (and all before it on its subscription)."""
        ...

    async def reject(self) -> bool:
        """Dead-letter this delivery. Never requeues: work is handed over by publishing it ``again``."""
        ...


OnDelivery = Callable[[Delivery], None]
"""Called in order of arrival, on the loop, and must not block: start a task or put into a bounded place."""


class LinkState(enum.Enum):
    """State of a link. ``BLOCKED``: connected, but the broker refuses to read publishes (memory or disk alarm)."""

    CONNECTING = "connecting"
    UP = "up"
    BLOCKED = "blocked"
    CLOSED = "closed"


OnState = Callable[[LinkState, str], None]
"""(state, reason); called on the loop at each change."""


class Subscription(Protocol):
    """A consumer that is re-established on every reconnect until it is cancelled."""

    @property
    def consuming(self) -> bool:
        """True only between the broker's consume-ok and the loss of the channel or a broker-side cancel."""
        ...

    async def wait_consuming(self, timeout_s: float) -> None:
        """Raises Unavailable after ``timeout_s``."""
        ...

    async def cancel(self) -> None:
        """Stop new deliveries; those already handed out can still be settled until the link closes. Idempotent."""
        ...


QueueFactory = Callable[[], QueueSpec]
"""Called before each (re)consume: a private queue gets a new epoch, a shared one the same spec."""


class Link(Protocol):
    """One broker connection: reconnects by itself with jittered back-off until closed."""

    @property
    def state(self) -> LinkState: ...

    def watch(self, on_state: OnState) -> None:
        """Hear of every state change from now on."""
        ...

    async def publish(
        self, exchange: str, key: str, message: Message, *, timeout_s: float = 5.0, mandatory: bool = True
    ) -> None:
        """Returns when the broker has confirmed the message in at least one queue.

        ``timeout_s`` is one total deadline over waiting for a connection, writing and the confirm.

        Raises:
            Unroutable: no queue took it (``mandatory``). It is nowhere.
            Refused: a queue was full (reject-publish) or the broker nacked. It is nowhere.
            Unavailable: no connection in time; it was never written.
            OutcomeUnknown: it was written, and the confirm did not come: it may or may not be in the queue.
        """
        ...

    async def subscribe(
        self,
        queue: QueueFactory,
        on_delivery: OnDelivery,
        *,
        prefetch: int,
        on_ready: Callable[[QueueSpec], Awaitable[None] | None] | None = None,
        replaces: bool = False,
    ) -> Subscription:
        """Declare ``queue()`` with its bindings, consume it with at most ``prefetch`` (>= 1) unsettled deliveries, and
        do so again after every reconnect. ``on_ready`` is called after each consume-ok. ``replaces``: each call of
        ``queue`` names a new queue, and the one before is deleted unread once the new one is being consumed.
        """
        ...

    async def depth(self, queue: str) -> tuple[int, int] | None:
        """(ready messages, consumers) of a queue; None where it does not exist."""
        ...

    async def close(self) -> None:
        """Close the connection; unsettled deliveries return to their queues. Idempotent."""
        ...


class Broker(Protocol):
    """Opens links. One per process, made by the composition root."""

    async def open(self, purpose: str, *, wait_s: float = 30.0) -> Link:
        """A connected link whose connection is named after process and purpose; the durable topology is declared on
        every (re)connect.

        Raises:
            Unavailable: no broker answered within ``wait_s``.
            ConfigError: the broker refused user, password or virtual host (at once, without retrying).
        """
        ...

    async def close(self) -> None:
        """Close every link, last opened first."""
        ...


class Clock(Protocol):
    """Time as the pure cores see it; the testkit's virtual clock implements it."""

    def monotonic(self) -> float:
        """Seconds; never goes back."""
        ...

    def wall(self) -> float:
        """Seconds since 1970, for figures and records only."""
        ...
