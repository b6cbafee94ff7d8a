"""One run of one job: what its handler sees, what control does to it, and which deliveries are behind it."""

import asyncio
import enum
from collections.abc import Coroutine, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from parley_protocol.events import Source
from parley_protocol.ids import TurnKey
from parley_protocol.readings import MetricData
from parley_protocol.work import Job
from parley_runtime.ports import Clock, Delivery
from parley_runtime.run import Output
from parley_runtime.sink import EventSink, Feed

J = TypeVar("J", bound=Job)
T = TypeVar("T")


class End(enum.Enum):
    """Why a run was ended from outside."""

    STOPPED = "stopped"
    SUPERSEDED = "superseded"
    HANDED_OVER = "handed_over"


class RunEnded(Exception):
    """The run was ended from outside; its handler has returned."""


class Lease:
    """The deliveries behind one run: more than one when the broker delivered the job again meanwhile."""

    def __init__(self, delivery: Delivery) -> None:
        self._deliveries = [delivery]

    @property
    def queue(self) -> str:
        """Where the youngest came from."""
        return self._deliveries[-1].queue

    def add(self, delivery: Delivery) -> None:
        """One more delivery of the same job."""
        self._deliveries.append(delivery)

    def held(self) -> bool:
        """Whether one of them is still ours to settle."""
        return any(delivery.alive for delivery in self._deliveries)

    async def proven(self) -> bool:
        """Whether the youngest was still ours at some moment during this call; see ``ports.Delivery``."""
        return await self._deliveries[-1].proven()

    async def ack(self) -> None:
        """Settle all; those whose channel has gone are the broker's to deliver again."""
        for delivery in self._deliveries:
            await delivery.ack()

    async def reject(self) -> None:
        """Dead-letter all."""
        for delivery in self._deliveries:
            await delivery.reject()


class Supervised:
    """Work of a handler that can be ended from outside."""

    def __init__(self, clock: Clock) -> None:
        self.leaving = False
        """The handler has returned; what ends the run is being published."""
        self.end: End | None = None
        self.ended_at = 0.0
        self._clock = clock
        self._task: asyncio.Task[Any] | None = None

    async def supervise(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` so that :meth:`stop` cancels it and nothing else.

        Raises:
            RunEnded: it was stopped, and has returned.
        """
        task = self._task = asyncio.get_running_loop().create_task(work)
        if self.end is not None:
            task.cancel()
        try:
            result: T = await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if self.end is None or (current is not None and current.cancelling()):
                raise
            raise RunEnded from None
        except Exception:
            if self.end is not None:
                raise RunEnded from None
            raise
        finally:
            self._task = None
        if self.end is not None:
            raise RunEnded
        return result

    def stop(self, end: End) -> bool:
        """End the run: nothing more of it is sent, its handler is cancelled. False where it is past that."""
        if self.end is not None or self.leaving:
            return False
        self.end = end
        self.ended_at = self._clock.monotonic()
        if self._task is not None:
            self._task.cancel()
        return True


class LiveRun(Supervised, Generic[J]):
    """Implements ``stage.Run``. Until :meth:`begin` it is only a delivered job; then it has a fence and speaks."""

    def __init__(self, job: J, delivery: Delivery, *, stage: str, first: bool, sink: EventSink, clock: Clock) -> None:
        super().__init__(clock)
        self.stage = stage
        self.first = first
        self.lease = Lease(delivery)
        self.started = clock.monotonic()
        self.deadline = self.started + job.budget_s
        self.claimed = False
        self.repeated = False
        """An earlier run may have spoken: gateways are asked what they have delivered."""
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.output = Output(job.n, job.marks)
        self.feed = Feed(job.key, job.fence, self.output, job.reply_to)
        self._job = job
        self._sink = sink
        self.wait_ms = max(0.0, clock.wall() - job.sent_at) * 1000 if job.sent_at else 0.0
        self.first_at = 0.0
        self.seated = False
        """Its handler has been called: what it makes costs an engine's time."""
        self.begun = False
        """It may speak: where its fence is above 1, gateways have been told so and had time to answer."""
        self.pieces = 0
        """Pieces of text that its handler has made: tokens, where an engine streams one at a time."""

    @property
    def job(self) -> J:
        return self._job

    @property
    def key(self) -> TurnKey:
        return self._job.key

    @property
    def fence(self) -> int:
        return self.feed.fence

    @property
    def prefix(self) -> str:
        return self.output.prefix

    @property
    def text(self) -> str:
        return self.output.text

    def remaining_s(self) -> float:
        """Seconds until the turn's deadline; never below 0."""
        return max(0.0, self.deadline - self._clock.monotonic())

    def status(self, stage: str) -> None:
        """Mark; see ``stage.Run``. Travels with what follows it, so that it costs no message of its own."""
        self.output.status(stage)
        self._sink.touch(self.feed)

    def retrieval(self, intent: str, route: str, sources: Sequence[Source], data: Sequence[MetricData] = ()) -> None:
        """Mark; see ``stage.Run``. Leaves at once, but behind the job where the handler is about to return it."""
        self.output.retrieval(intent, route, sources, data)
        self._sink.touch(self.feed)

    def resume(self, text: str) -> None:
        """Take ``text`` as answered; see ``stage.Run``."""
        if text:
            self._write(text)

    def delta(self, text: str) -> None:
        """More text; see ``stage.Run``."""
        if not text:
            return
        if not self.first_at:
            self.first_at = self._clock.monotonic()
        self.pieces += 1
        self._write(text)

    def begin(self, base: int, fence: int) -> None:
        """The run is ours under ``fence``. Above 1 earlier items may be out: the output starts with a snapshot."""
        self._job = msgspec.structs.replace(self._job, base=base, fence=fence)
        self.claimed = True
        if base > 1:
            self.repeated = True  # a first stage before this base may have handed on a job that has spoken since
        self.feed.fence = fence
        if fence > 1:
            self.output = Output(self._job.n, self._job.marks, replaces=True)
            self.feed.output = self.output

    def adopt(self, delivery: Delivery, base: int, fence: int) -> None:
        """The same job was delivered again: keep the engine, go on under the higher ``fence``."""
        self.lease.add(delivery)
        self._job = msgspec.structs.replace(self._job, base=base, fence=fence)
        self.feed.fence = fence
        self.output.refence()
        self._sink.touch(self.feed, urgent=True)

    def _write(self, text: str) -> None:
        if self.end is not None:
            return
        urgent = self.output.delta(text)
        if urgent or not self.feed.queued:
            self._sink.touch(self.feed, urgent)
