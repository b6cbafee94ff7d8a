"""Helpers of the contract suites: names of one test, what was delivered, and waiting with a deadline."""

import asyncio
import inspect
import secrets
from collections.abc import Callable
from typing import Any

from parley_protocol.routes import ExchangeSpec, QueueSpec, Topology
from parley_runtime.ports import Delivery, Link, Message, Subscription
from parley_testkit.contracts.harness import BrokerUnderTest

WITHIN_S = 30.0
"""Deadline of what must happen; far above what it takes, so that a busy machine fails no test."""

POLL_S = 0.02


class Taken:
    """Deliveries in order of arrival."""

    def __init__(self) -> None:
        self.all: list[Delivery] = []
        self._arrived = asyncio.Event()

    def __call__(self, delivery: Delivery) -> None:
        self.all.append(delivery)
        self._arrived.set()

    @property
    def bodies(self) -> list[str]:
        return [delivery.body.decode() for delivery in self.all]

    async def until(self, count: int, within_s: float = WITHIN_S) -> list[Delivery]:
        """The first ``count`` deliveries."""
        try:
            async with asyncio.timeout(within_s):
                while len(self.all) < count:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise AssertionError(f"{len(self.all)} of {count} deliveries within {within_s:g} s") from None
        return self.all[:count]


async def eventually(read: Callable[[], object], wanted: object, within_s: float = WITHIN_S) -> None:
    """Call ``read`` (and await what it returns) until the result is as wanted."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while True:
        seen = read()
        if inspect.isawaitable(seen):
            seen = await seen
        if seen == wanted:
            return
        if loop.time() > deadline:
            raise AssertionError(f"is {seen!r}, not {wanted!r}, after {within_s:g} s")
        await asyncio.sleep(POLL_S)


class Lab:
    """One test's names and links. The exchange is direct; a queue's routing key is its stem."""

    def __init__(self, under_test: BrokerUnderTest) -> None:
        self.broker = under_test
        self.prefix = f"contract.{secrets.token_hex(4)}"
        self.exchange = f"{self.prefix}.x"
        self._exchanges = [ExchangeSpec(self.exchange, "direct")]
        self._queues: list[QueueSpec] = []

    def fanout(self, stem: str) -> str:
        """Add a fanout exchange."""
        self._exchanges.append(ExchangeSpec(f"{self.prefix}.{stem}", "fanout"))
        return self._exchanges[-1].name

    def queue(
        self, stem: str = "q", *, quorum: bool = True, exchange: str | None = None, **arguments: str | int
    ) -> QueueSpec:
        """Add a queue; ``max_length=3`` becomes ``x-max-length``."""
        spec = self.spec(stem, quorum=quorum, exchange=exchange, **arguments)
        self._queues.append(spec)
        return spec

    def spec(
        self, stem: str, *, quorum: bool = False, exchange: str | None = None, **arguments: str | int
    ) -> QueueSpec:
        """A queue that is not part of the topology."""
        named: dict[str, Any] = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
        if quorum:
            named["x-queue-type"] = "quorum"
        binding = (exchange, "") if exchange is not None else (self.exchange, stem)
        return QueueSpec(f"{self.prefix}.{stem}", named, (binding,))

    def dead_letters(self, stem: str = "dead") -> tuple[str, QueueSpec]:
        """A fanout exchange for dead letters and its queue."""
        exchange = self.fanout(f"{stem}-x")
        return exchange, self.queue(stem, exchange=exchange)

    @property
    def topology(self) -> Topology:
        return Topology(tuple(self._exchanges), tuple(self._queues))

    async def link(self, process: str = "p", purpose: str = "test") -> Link:
        """A link of a new process."""
        broker = await self.broker.process(process, self.topology)
        return await broker.open(purpose, wait_s=WITHIN_S)

    async def put(self, link: Link, stem: str, *bodies: str, **fields: Any) -> None:
        """Publish to a queue of the direct exchange, one after the other."""
        for body in bodies:
            await link.publish(self.exchange, stem, Message(body.encode(), **fields), timeout_s=WITHIN_S)

    async def take(self, link: Link, queue: QueueSpec, taken: Taken, prefetch: int = 10) -> Subscription:
        """Consume, and return when consuming."""
        subscription = await link.subscribe(lambda: queue, taken, prefetch=prefetch)
        await subscription.wait_consuming(WITHIN_S)
        return subscription
