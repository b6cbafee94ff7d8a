"""How a run ends: handed on, recorded, retried, parked, handed over, put off. Each publishes with a confirm before it
acks.
"""

from dataclasses import dataclass

from parley_protocol.events import TurnStatus
from parley_protocol.work import Generate, Job, Record
from parley_runtime.errors import Expired, ParleyError
from parley_runtime.ports import Clock
from parley_runtime.retry import Park, Retry, after_failure, fault_of
from parley_runtime.sink import EventSink
from parley_runtime.store.ports import TurnStore
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter, histogram
from parley_runtime.work.asks import Asks
from parley_runtime.work.envelope import Courier
from parley_runtime.work.lastword import Delivered
from parley_runtime.work.live import End
from parley_runtime.work.options import WorkerOptions
from parley_runtime.work.runs import AnyRun, Runs, count_waste
from parley_runtime.work.stamp import final, repeat, said, stamp

EXPIRED = "The turn's time ran out before it was answered. Ask again, or allow more time."

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Desk:
    """What every stage of a process shares."""

    store: TurnStore
    sink: EventSink
    courier: Courier
    runs: Runs
    asks: Asks
    delivered: Delivered
    clock: Clock
    options: WorkerOptions


class Exits:
    """The ways out. Each returns the outcome's name for the metrics; where nothing could be published the delivery
    stays unacked and comes again.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def forward(self, run: AnyRun, job: Generate | Record) -> str:
        """The handler's job to its own stage. Raises Expired where the deadline comes first."""
        run.leaving = True
        run.output.finish()
        self._desk.sink.touch(run.feed, urgent=True)
        if not await self._publish(run, stamp(run, job, self._desk.clock.monotonic())):
            return "unpublished"
        if isinstance(job, Record):
            self._desk.runs.ended.remember(run)
        await run.lease.ack()
        return "done"

    async def ended(self, run: AnyRun) -> str:
        """It was stopped, superseded or is to be handed over."""
        assert run.end is not None
        run.leaving = True
        if run.end is End.HANDED_OVER:
            count_waste(run, End.HANDED_OVER.value)
            return await self.hand_over(run)
        waited = self._desk.clock.monotonic() - run.ended_at
        histogram(names.CANCEL_SECONDS).labels(run.stage).observe(waited)
        await run.lease.ack()
        return str(run.end.value)

    async def expire(self, run: AnyRun) -> str:
        """Its time is over: a forced record says so."""
        run.leaving = True
        text = await self._text(run)
        now = self._desk.clock.monotonic()
        record = final(run, TurnStatus.EXPIRED, Expired(EXPIRED).fault(), now, text=text, forced=True)
        if not await self._publish(run, record):
            return "unpublished"
        await run.lease.ack()
        return "expired"

    async def fail(self, run: AnyRun, error: Exception) -> str:
        """To the retry ladder, or to a record that tells the client why not."""
        run.leaving = True
        outcome = after_failure(error, run.job.tries, run.remaining_s())
        log.info(
            "job failed",
            stage=run.stage,
            turn=run.key.turn,
            error=type(error).__name__,
            tries=run.job.tries,
            then=type(outcome).__name__.lower(),
        )
        if isinstance(outcome, Retry):
            return await self._retry(run, outcome)
        self._desk.sink.touch(run.feed, urgent=True)
        text = await self._text(run)
        now = self._desk.clock.monotonic()
        record = final(run, TurnStatus.FAILED, fault_of(error), now, text=text, forced=False)
        if not await self._publish(run, record):
            return "unpublished"
        if isinstance(outcome, Park):
            return await self._park(run, error)
        await run.lease.ack()
        return "failed"

    async def _text(self, run: AnyRun) -> str | None:
        """What has been delivered of a turn that ends with ``run``. One that has not come to speak has to ask, unless
        there was none before it. Where nobody answers, a run with a fence has said nothing, and stands by it.
        """
        if run.begun or (run.claimed and not run.repeated):
            return said(run)
        text = await self._desk.delivered(run.key, run.fence)
        return "" if text is None and run.claimed else text

    async def _publish(self, run: AnyRun, job: Job) -> bool:
        """What follows the run, which is ``done`` by it. (A job published once more is not: its copy may be here before
        its confirm, and is no duplicate.)
        """
        taken = await self._desk.courier.forward(job, run.deadline, run.lease.held)
        if taken:
            run.done.set_result(True)
        return taken

    async def hand_over(self, run: AnyRun) -> str:
        """The job ``again`` to its own stage, for another process."""
        run.leaving = True
        job = repeat(run, tries=run.job.tries)
        if not await self._desk.courier.forward(job, run.deadline, run.lease.held):
            return "unpublished"
        await run.lease.ack()
        return End.HANDED_OVER.value

    async def wait(self, run: AnyRun) -> str:
        """Another run answers for the turn: its job comes back later, ``again``, without a try counted, until it finds
        the turn closed or nobody at work on it.

        It is not acked away on that run's word. A claim for an earlier delivery of this very message may be on its way
        to the store still; once it lands, that run speaks for the turn no longer, and the claimer, whose delivery is
        lost, may die: this message alone would stand for the turn then.

        At the turn's deadline it is acked: whoever is at work ends the turn as expired, and so does its gateway.
        """
        run.leaving = True
        if not run.lease.held():
            return "lost"
        log.info("turn is run elsewhere; its job looks again later", stage=run.stage, turn=run.key.turn)
        try:
            taken = await self._climb(run, 0, run.job.tries)
        except Expired:
            await run.lease.ack()
            return "duplicate"
        return "waiting" if taken else "unpublished"

    async def _retry(self, run: AnyRun, outcome: Retry) -> str:
        if run.pieces:
            count_waste(run, "retried")
        try:
            taken = await self._climb(run, outcome.rung, run.job.tries + int(outcome.counted))
        except Expired:
            return await self.expire(run)
        return "retried" if taken else "unpublished"

    async def _climb(self, run: AnyRun, rung: int, tries: int) -> bool:
        """The job ``again`` to a rung of the ladder; False where it could not be published. Raises Expired."""
        counter(names.RETRIES).labels(run.stage, str(rung)).inc()
        job = repeat(run, tries=tries)
        taken = await self._desk.courier.climb(job, rung, run.stage, run.deadline, run.lease.held)
        if taken:
            await run.lease.ack()
        return taken

    async def _park(self, run: AnyRun, error: Exception) -> str:
        """The client has its answer; keep the job with its cause for the operator."""
        try:
            await self._desk.courier.park(run.job, run.lease.queue, fault_of(error))
        except ParleyError as failure:
            # The broker's own dead-lettering keeps the job too.
            log.info("dead letter kept without its cause", stage=run.stage, reason=type(failure).__name__)
            await run.lease.reject()
        else:
            await run.lease.ack()
        return "parked"
