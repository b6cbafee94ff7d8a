"""AmqpBroker and its links: the wiring of supervisor, publisher and subscriptions."""

import asyncio
from functools import partial

from parley_protocol.routes import Topology
from parley_runtime.amqp.address import parse
from parley_runtime.amqp.declaring import Declared
from parley_runtime.amqp.faults import WireError, wire_errors
from parley_runtime.amqp.leaderless import prepare
from parley_runtime.amqp.mending import Mender
from parley_runtime.amqp.publisher import WINDOW, Publisher
from parley_runtime.amqp.subscriber import AmqpSubscription, OnReady
from parley_runtime.amqp.supervisor import Supervisor
from parley_runtime.amqp.wire import Wire, dial
from parley_runtime.errors import Unavailable
from parley_runtime.ports import LinkState, Message, OnDelivery, OnState, QueueFactory

NOT_FOUND = 404
DEPTH_S = 5.0


class AmqpLink:
    """Implements :class:`parley_runtime.ports.Link`."""

    def __init__(self, supervisor: Supervisor, topology: Topology, *, window: int) -> None:
        self._supervisor = supervisor
        self._mender = Mender(supervisor, topology, partial(prepare, topology=topology))
        self._publisher = Publisher(supervisor, self._mender.unroutable, window=window)
        self._subscriptions: list[AmqpSubscription] = []

    @property
    def state(self) -> LinkState:
        return self._supervisor.state

    def watch(self, on_state: OnState) -> None:
        self._supervisor.watch(on_state)

    async def publish(
        self, exchange: str, key: str, message: Message, *, timeout_s: float = 5.0, mandatory: bool = True
    ) -> None:
        """As the port says."""
        await self._publisher.publish(exchange, key, message, timeout_s=timeout_s, mandatory=mandatory)

    async def subscribe(
        self,
        queue: QueueFactory,
        on_delivery: OnDelivery,
        *,
        prefetch: int,
        on_ready: OnReady | None = None,
        replaces: bool = False,
    ) -> AmqpSubscription:
        """As the port says. Returns at once; ``wait_consuming`` waits for the consume-ok."""
        subscription = AmqpSubscription(
            self._supervisor, queue, on_delivery, prefetch=prefetch, on_ready=on_ready, replaces=replaces
        )
        self._subscriptions.append(subscription)
        return subscription

    async def depth(self, queue: str) -> tuple[int, int] | None:
        """(ready messages, consumers); None where there is no such queue. Raises Unavailable after 5 s."""
        try:
            async with asyncio.timeout(DEPTH_S):
                wire = await self._supervisor.connected()
                with wire_errors():
                    return await _depth(wire, queue)
        except TimeoutError:
            raise Unavailable(f"the broker did not tell the depth of {queue!r}: {self._supervisor.why()}") from None
        except WireError as error:
            if error.reply_code == NOT_FOUND:
                return None
            raise Unavailable(f"the broker did not tell the depth of {queue!r}: {error}") from error

    async def start(self, wait_s: float) -> None:
        """Connect for the first time."""
        await self._supervisor.start(wait_s)

    async def close(self) -> None:
        """As the port says."""
        for subscription in self._subscriptions:
            await subscription.stop()
        self._subscriptions.clear()
        await self._mender.close()
        await self._supervisor.close()


async def _depth(wire: Wire, queue: str) -> tuple[int, int]:
    channel = await wire.open_channel()
    answer = await channel.queue_declare(queue, passive=True)
    await channel.close()
    return int(answer.message_count or 0), int(answer.consumer_count or 0)


class AmqpBroker:
    """Implements :class:`parley_runtime.ports.Broker` on RabbitMQ 3.10 and later.

    ``name`` is the process's; each link's connection is called ``name:purpose``. ``heartbeat_s`` (whole seconds, >= 1)
    is AMQP's: at 5 a silent peer is noticed within 14 s. ``window`` bounds the publishes in flight on one link.
    A queue of the topology that is deleted is declared again by its consumers, or when a publish finds it missing.
    """

    def __init__(
        self, url: str, *, name: str, topology: Topology, heartbeat_s: float = 5, window: int = WINDOW
    ) -> None:
        self._heartbeat_s = max(1, round(heartbeat_s))
        self._address = parse(url, heartbeat_s=self._heartbeat_s)
        self._name, self._topology, self._window = name, topology, window
        self._declared = Declared(partial(prepare, topology=topology))
        self._links: list[AmqpLink] = []

    async def open(self, purpose: str, *, wait_s: float = 30.0) -> AmqpLink:
        """As the port says."""
        supervisor = Supervisor(
            partial(dial, self._address, name=f"{self._name}:{purpose}", heartbeat_s=self._heartbeat_s),
            self._declared,
            name=self._name,
            purpose=purpose,
        )
        link = AmqpLink(supervisor, self._topology, window=self._window)
        try:
            await link.start(wait_s)
        except BaseException:
            await link.close()
            raise
        self._links.append(link)
        return link

    async def close(self) -> None:
        """Close every link, last opened first."""
        while self._links:
            await self._links.pop().close()
