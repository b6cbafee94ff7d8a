"""Links and subscriptions of the in-memory broker."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from parley_protocol.routes import QueueSpec, Topology
from parley_runtime.errors import ConfigError, OutcomeUnknown, Unavailable
from parley_runtime.ports import LinkState, Message, OnDelivery, OnState, QueueFactory
from parley_testkit.memory.delivery import Lane
from parley_testkit.memory.server import Server

_log = logging.getLogger(__name__)

OnReady = Callable[[QueueSpec], Awaitable[None] | None]


class Wire(Protocol):
    """What a link needs of the broker it is connected to."""

    server: Server
    topology: Topology

    @property
    def blocked(self) -> bool: ...
    def read(self, exchange: str, key: str, message: Message, *, mandatory: bool) -> asyncio.Task[bool]:
        """Publish once the broker reads; False if the confirm is lost on the way."""
        ...


class MemorySubscription:
    """Implements :class:`parley_runtime.ports.Subscription`."""

    def __init__(
        self,
        link: "MemoryLink",
        queue: QueueFactory,
        on_delivery: OnDelivery,
        *,
        prefetch: int,
        on_ready: OnReady | None,
        replaces: bool,
    ) -> None:
        if prefetch < 1:
            raise ValueError("prefetch must be at least 1")
        self._link, self._queue, self._on_delivery = link, queue, on_delivery
        self._prefetch, self._on_ready, self._replaces = prefetch, on_ready, replaces
        self._lane: Lane | None = None
        self._name = ""
        self._lost = asyncio.Event()
        self._consuming = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="memory subscription")

    @property
    def consuming(self) -> bool:
        return self._consuming.is_set()

    async def wait_consuming(self, timeout_s: float) -> None:
        """As the port says."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._consuming.wait()
        except TimeoutError:
            raise Unavailable(f"not consuming after {timeout_s:g} s") from None

    async def cancel(self) -> None:
        """As the port says."""
        self._consuming.clear()
        self._task.cancel()
        await asyncio.wait({self._task})
        if self._lane is not None:
            self._lane.stop()

    def cut(self) -> None:
        """The connection is lost: what is unsettled returns."""
        self._consuming.clear()
        if self._lane is not None:
            self._lane.end()
        self._lost.set()

    def end(self) -> None:
        """The link closes."""
        self._task.cancel()
        self.cut()

    async def _run(self) -> None:
        while True:
            await self._link.connected.wait()
            if not self._link.connected.is_set():
                continue
            self._lost.clear()
            try:
                spec = self._consume()
            except ConfigError as error:
                _log.warning("consume failed: %s", error)
                await asyncio.sleep(1.0)
                continue
            await self._tell_ready(spec)
            if self._replaces and self._name not in {"", spec.name}:
                self._link.server.delete_queue(self._name)
            self._name = spec.name
            await self._lost.wait()

    def _consume(self) -> QueueSpec:
        spec = self._queue()
        queue = self._link.server.declare_queue(spec)
        self._lane = Lane(queue, self._on_delivery, self._prefetch, self._broker_cancelled)
        queue.attach(self._lane)
        self._consuming.set()
        return spec

    def _broker_cancelled(self) -> None:
        self._consuming.clear()
        self._lost.set()

    async def _tell_ready(self, spec: QueueSpec) -> None:
        try:
            told = self._on_ready(spec) if self._on_ready is not None else None
            if inspect.isawaitable(told):
                await told
        except Exception:
            _log.exception("on_ready failed")


class Condition:
    """Where a link stands. ``epoch`` counts lost connections."""

    def __init__(self) -> None:
        self.state = LinkState.CONNECTING
        self.epoch = 0
        self.watchers: list[OnState] = []
        self._changed = asyncio.Event()

    def enter(self, state: LinkState, reason: str) -> None:
        """Tell watchers, if it is another state."""
        if state is self.state:
            return
        self.state = state
        self._changed.set()
        self._changed = asyncio.Event()
        for watcher in self.watchers:
            watcher(state, reason)

    async def until_writable(self) -> None:
        """Raises Unavailable where the link is closed."""
        while self.state is not LinkState.UP:
            if self.state is LinkState.CLOSED:
                raise Unavailable("the link is closed")
            await self._changed.wait()

    async def until_lost(self, epoch: int) -> None:
        """Until the connection of ``epoch`` is lost."""
        while self.epoch == epoch:
            await self._changed.wait()


class MemoryLink:
    """Implements :class:`parley_runtime.ports.Link`. Deadlines run on the loop's clock."""

    def __init__(self, wire: Wire, purpose: str) -> None:
        self.purpose = purpose
        self.connected = asyncio.Event()
        self._wire = wire
        self._condition = Condition()
        self._subscriptions: list[MemorySubscription] = []

    @property
    def server(self) -> Server:
        return self._wire.server

    @property
    def state(self) -> LinkState:
        return self._condition.state

    def watch(self, on_state: OnState) -> None:
        self._condition.watchers.append(on_state)

    async def publish(
        self, exchange: str, key: str, message: Message, *, timeout_s: float = 5.0, mandatory: bool = True
    ) -> None:
        """As the port says."""
        epoch = None
        try:
            async with asyncio.timeout(timeout_s):
                await self._condition.until_writable()
                epoch = self._condition.epoch
                await self._confirmed(epoch, exchange, key, message, mandatory=mandatory)
        except TimeoutError:
            if epoch is None:
                raise Unavailable(f"could not publish within {timeout_s:g} s") from None
            raise OutcomeUnknown(f"no confirm within {timeout_s:g} s") from None

    async def _confirmed(self, epoch: int, exchange: str, key: str, message: Message, *, mandatory: bool) -> None:
        if self._wire.blocked:
            self._condition.enter(LinkState.BLOCKED, "memory alarm")
        sent = self._wire.read(exchange, key, message, mandatory=mandatory)
        lost = asyncio.ensure_future(self._condition.until_lost(epoch))
        try:
            # Written is written: a caller that is cancelled now does not stop the broker from taking the message.
            await asyncio.wait({sent, lost}, return_when=asyncio.FIRST_COMPLETED)
            if sent.done() and sent.result():
                return
            await lost
            sent.cancel()
            raise OutcomeUnknown("the connection was lost before the confirm")
        finally:
            lost.cancel()

    async def subscribe(
        self,
        queue: QueueFactory,
        on_delivery: OnDelivery,
        *,
        prefetch: int,
        on_ready: OnReady | None = None,
        replaces: bool = False,
    ) -> MemorySubscription:
        """As the port says. Returns at once."""
        subscription = MemorySubscription(
            self, queue, on_delivery, prefetch=prefetch, on_ready=on_ready, replaces=replaces
        )
        self._subscriptions.append(subscription)
        return subscription

    async def depth(self, queue: str) -> tuple[int, int] | None:
        """As the port says."""
        try:
            async with asyncio.timeout(5.0):
                await self.connected.wait()
        except TimeoutError:
            raise Unavailable(f"the broker did not tell the depth of {queue!r}") from None
        found = self.server.queues.get(queue)
        return None if found is None else (len(found.ready), len(found.consumers))

    async def close(self) -> None:
        """As the port says."""
        self.drop()
        await asyncio.sleep(0)

    def connect(self) -> None:
        """Declare the topology and come up; nothing if up or closed. Raises ConfigError."""
        if self.state is not LinkState.CONNECTING:
            return
        for exchange in self._wire.topology.exchanges:
            self.server.declare_exchange(exchange)
        for queue in self._wire.topology.queues:
            self.server.declare_queue(queue)
        self._condition.enter(LinkState.UP, "connected")
        self.connected.set()

    def cut(self) -> None:
        """Lose the connection."""
        if self.state is LinkState.CLOSED:
            return
        self._sever()
        self._condition.enter(LinkState.CONNECTING, "the connection was lost")

    def drop(self) -> None:
        """Lose the connection for good, without a goodbye."""
        self._sever()
        for subscription in self._subscriptions:
            subscription.end()
        self._condition.enter(LinkState.CLOSED, "closed")

    def _sever(self) -> None:
        self.connected.clear()
        self._condition.epoch += 1
        for subscription in self._subscriptions:
            subscription.cut()

    def unblock(self) -> None:
        if self.state is LinkState.BLOCKED:
            self._condition.enter(LinkState.UP, "unblocked")
