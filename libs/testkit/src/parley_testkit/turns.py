"""A gateway's half of the turn protocol, as small as tests of workers need it."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from parley_protocol import codec
from parley_protocol.control import Audience, Begin, Prefix
from parley_protocol.events import Batch, Delta, Event, Reply, Snapshot, TurnEvents
from parley_protocol.ids import TurnKey
from parley_protocol.routes import WORK, event_queue, stage_queue, topology
from parley_protocol.work import AnyJob, Job
from parley_runtime.control import ControlPlane
from parley_runtime.ports import Broker, Delivery, Link, Subscription
from parley_runtime.work.envelope import job_message, stage_of

E = TypeVar("E", bound=Event)


class Collector:
    """Things that arrive, and a way to await them. ``until`` fails the test after ``limit_s`` instead of hanging."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Something arrived."""
        self._changed.set()

    async def until(self, condition: Callable[[], bool], *, limit_s: float = 30.0) -> None:
        """Returns once ``condition`` holds; it is looked at after each arrival. Raises TimeoutError."""
        async with asyncio.timeout(limit_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class FakeGateway(Collector):
    """Consumes an event queue, keeps what it hears, answers ``begin`` with ``prefixes``."""

    def __init__(self, link: Link, control: ControlPlane) -> None:
        super().__init__()
        self.id = control.process_id
        self.control = control
        self.batches: list[Batch] = []
        self.replies: list[Reply] = []
        self.begins: list[Begin] = []
        self.prefixes: dict[TurnKey, str | None] = {}
        self._link = link
        self._subscription: Subscription | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, broker: Broker, name: str) -> "FakeGateway":
        """A gateway with process id ``name``, consuming."""
        control = await ControlPlane.open(broker, process_id=name, audience=Audience.GATEWAYS)
        gateway = cls(await broker.open("events"), control)
        control.on(Begin, gateway._on_begin)
        await control.start()
        await gateway.listen()
        return gateway

    async def listen(self) -> None:
        """Consume the event queue."""
        self._subscription = await self._link.subscribe(
            lambda: event_queue(self.id, "1"), self._on_delivery, prefetch=100
        )
        await self._subscription.wait_consuming(30)

    async def publish(self, job: Job, *, timeout_s: float = 5.0) -> None:
        """Put ``job`` into its stage's queue. Raises as ``Link.publish``."""
        await self._link.publish(WORK, stage_of(job), job_message(job), timeout_s=timeout_s)

    async def close(self) -> None:
        """Gone, with its queues."""
        await self.control.aclose()
        await self._link.close()

    def turns(self, key: TurnKey) -> list[TurnEvents]:
        """What came for ``key``, in order."""
        return [turn for batch in self.batches for turn in batch.turns if turn.key == key]

    def events(self, key: TurnKey, fence: int | None = None) -> list[Event]:
        """Events of ``key`` (of one fence), in order."""
        return [event for turn in self.turns(key) if fence in {None, turn.fence} for event in turn.events]

    def of(self, key: TurnKey, kind: type[E]) -> list[E]:
        """Events of one kind."""
        return [event for event in self.events(key) if isinstance(event, kind)]

    def text(self, key: TurnKey) -> str:
        """The answer as snapshots and deltas give it."""
        text = ""
        for event in self.events(key):
            if isinstance(event, Delta):
                text = text[: event.at] + event.text
            elif isinstance(event, Snapshot) and event.text is not None:
                text = event.text
        return text

    def _on_begin(self, begin: Begin) -> None:
        self.begins.append(begin)
        if begin.key in self.prefixes:
            self.control.post(begin.worker, Prefix(begin.key, begin.fence, self.id, self.prefixes[begin.key]))
        self.changed()

    def _on_delivery(self, delivery: Delivery) -> None:
        message = codec.unpack_gateway(delivery.body)
        if isinstance(message, Batch):
            self.batches.append(message)
        elif isinstance(message, Reply):
            self.replies.append(message)
        self.changed()
        task = asyncio.get_running_loop().create_task(_ack(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class JobTap(Collector):
    """Takes messages off a queue and keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.deliveries: list[Delivery] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, broker: Broker, queue: str) -> "JobTap":
        """Consume ``queue``: a stage, or a queue's name."""
        tap = cls()
        link = await broker.open(f"tap:{queue}")
        spec = next(spec for spec in topology().queues if spec.name in {queue, stage_queue(queue)})
        subscription = await link.subscribe(lambda: spec, tap._on_delivery, prefetch=1000)
        await subscription.wait_consuming(30)
        return tap

    @property
    def jobs(self) -> list[AnyJob]:
        """What came, decoded."""
        return [codec.unpack_job(delivery.body) for delivery in self.deliveries]

    async def next(self, count: int = 1, *, limit_s: float = 30.0) -> AnyJob:
        """The ``count``-th job since the start."""
        return codec.unpack_job((await self.delivery(count, limit_s=limit_s)).body)

    async def delivery(self, count: int = 1, *, limit_s: float = 30.0) -> Delivery:
        """The ``count``-th delivery since the start."""
        await self.until(lambda: len(self.deliveries) >= count, limit_s=limit_s)
        return self.deliveries[count - 1]

    def _on_delivery(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self.changed()
        task = asyncio.get_running_loop().create_task(_ack(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _ack(delivery: Delivery) -> None:
    await delivery.ack()
