"""The worker loop: takes jobs from stage queues, runs their handlers under fence and deadline, publishes what follows.

    async with open_worker(stages, broker=broker, store=store, control=control, process_id=process.id) as worker:
        process.checks.add("worker", worker.check)
        ...

The turn protocol (docs/protocol) says what is guaranteed; ``work/`` holds the parts.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from parley_protocol.ids import TurnKey
from parley_protocol.routes import QueueSpec, Topology, stage_queue
from parley_protocol.routes import topology as default_topology
from parley_runtime.clock import SystemClock
from parley_runtime.control import ControlPlane
from parley_runtime.ports import Broker, Clock, Delivery
from parley_runtime.sink import EventSink
from parley_runtime.stage import StageSpec
from parley_runtime.store.ports import TurnStore
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.work.asks import Asks
from parley_runtime.work.consumer import StageConsumer
from parley_runtime.work.envelope import Courier, job_message, publish_record, terminal_of
from parley_runtime.work.exits import Desk
from parley_runtime.work.hold import StoreHold
from parley_runtime.work.lastword import Delivered, LastWord
from parley_runtime.work.live import End
from parley_runtime.work.options import Claim, WorkerOptions
from parley_runtime.work.runs import Runs
from parley_runtime.work.serve import Server

__all__ = ["Delivered", "Worker", "WorkerOptions", "job_message", "open_worker", "publish_record", "terminal_of"]

_NOBODY = TurnKey("", "", "")
"""A row that nobody has: reading it shows that the store answers."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Stage:
    server: Server
    consumer: StageConsumer
    hold: StoreHold


class Worker:
    """All stages of one process. Made by :func:`open_worker`.

    ``link`` publishes jobs and ``sink`` events; a service may use both for what it publishes beside its stages, and
    ``delivered`` before it ends a turn of which it knows nothing.
    """

    def __init__(
        self,
        stages: Iterable[StageSpec[Any]],
        desk: Desk,
        *,
        broker: Broker,
        control: ControlPlane,
        options: WorkerOptions,
        topology: Topology,
    ) -> None:
        self.link = desk.courier.link
        self.sink = desk.sink
        self.delivered = desk.delivered
        self._runs = desk.runs
        self._control = control
        self._options = options
        self._tasks: set[asyncio.Task[None]] = set()
        self._stages = [self._stage(spec, desk, broker, _queue(topology, spec.stage)) for spec in stages]
        self._servers = [stage.server for stage in self._stages]

    def _stage(self, spec: StageSpec[Any], desk: Desk, broker: Broker, queue: QueueSpec) -> _Stage:
        hold = StoreHold(spec.stage, self._options.store_hold_s)
        server = Server(spec, desk, hold)
        consumer = StageConsumer(
            broker,
            queue,
            partial(self._take, server),
            stage=spec.stage,
            prefetch=spec.seats,
            answers=partial(desk.store.rows, [_NOBODY]),
        )
        if spec.first or self._options.claim is Claim.ALWAYS:
            hold.on_away = consumer.pause
        return _Stage(server, consumer, hold)

    async def start(self, *, wait_s: float = 30.0) -> None:
        """Consume control, then every stage on a link of its own.

        Raises:
            Unavailable: not consuming within ``wait_s``.
        """
        await self._control.start(wait_s=wait_s)
        for stage in self._stages:
            await stage.consumer.start(wait_s=wait_s)

    def check(self) -> str | None:
        """For readiness: None while control and every stage are being consumed and no delivery waits for the store,
        else what is not.
        """
        trouble = self._control.check()
        if trouble is not None:
            return trouble
        for stage in self._stages:
            away = stage.consumer.paused or stage.hold.trouble
            if away:
                return away
        idle = [stage.consumer.stage for stage in self._stages if not stage.consumer.consuming]
        return f"not consuming: {', '.join(idle)}; see the broker links' state" if idle else None

    @property
    def seats(self) -> int:
        """Seats of all stages."""
        return sum(server.spec.seats for server in self._servers)

    @property
    def busy(self) -> int:
        """Seats at work."""
        return sum(server.busy for server in self._servers)

    @property
    def latencies(self) -> dict[str, float]:
        """Milliseconds in each stage's queue and at work, of its last jobs."""
        found: dict[str, float] = {}
        for server in self._servers:
            found |= server.waits.quantiles() | server.works.quantiles()
        return found

    async def drain(self, deadline_s: float) -> None:
        """Take no new work; let running jobs finish for ``deadline_s``; then publish the rest ``again`` (confirmed)
        and ack it, so that another process goes on at once. What cannot be handed over within ``hand_over_s`` is left
        to the broker's redelivery. Idempotent.
        """
        for stage in self._stages:
            stage.hold.hurry()
            await stage.consumer.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=deadline_s)
        for server in self._servers:
            server.handing_over = True
        for run in self._runs:
            run.stop(End.HANDED_OVER)
        if self._tasks and self._options.hand_over_s:
            await asyncio.wait(self._tasks, timeout=self._options.hand_over_s)

    async def aclose(self) -> None:
        """End what still runs and close the stages' links: unsettled jobs return to their queues. Idempotent."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stage in self._stages:
            await stage.consumer.close()

    def _take(self, server: Server, delivery: Delivery) -> None:
        task = asyncio.get_running_loop().create_task(server.take(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a delivery was left unsettled by a defect", exc_info=task.exception())


@asynccontextmanager
async def open_worker(
    stages: Iterable[StageSpec[Any]],
    *,
    broker: Broker,
    store: TurnStore,
    control: ControlPlane,
    topology: Topology | None = None,
    options: WorkerOptions | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Worker]:
    """A worker that consumes inside the block; register other control handlers before. On leaving, unfinished jobs
    return to the broker: call :meth:`Worker.drain` first for an orderly end. ``control`` is started here and stays
    open. ``topology``: the broker's, where it is not the default one (its arguments hold the admission limit).

    Raises:
        Unavailable: the broker did not answer in time.
    """
    options = options or WorkerOptions()
    clock = clock or SystemClock()
    link = await broker.open("publish")
    sink = await EventSink.open(broker, sender=control.process_id, options=options.sink)
    runs = Runs(control, sink, options)
    asks = Asks(control, options, runs.follow)
    delivered = LastWord(store, asks, options.end_wait_s)
    worker = Worker(
        stages,
        Desk(store, sink, Courier(link, clock, options.publish_s), runs, asks, delivered, clock, options),
        broker=broker,
        control=control,
        options=options,
        topology=topology or default_topology(),
    )
    try:
        await worker.start()
        yield worker
    finally:
        await worker.aclose()
        await sink.aclose()
        await link.close()


def _queue(declared: Topology, stage: str) -> QueueSpec:
    wanted = stage_queue(stage)
    for queue in declared.queues:
        if queue.name == wanted:
            return queue
    raise ValueError(f"the topology has no queue for stage {stage!r}")
