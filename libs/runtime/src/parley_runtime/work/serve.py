"""One delivery, from decode to ack. The table "A delivery" of the turn protocol, in code."""

import asyncio
from typing import Any

from parley_protocol import codec
from parley_protocol.events import Refusal
from parley_protocol.faults import ProtocolError
from parley_protocol.work import Generate, Record
from parley_runtime.errors import Conflict, Expired, ParleyError
from parley_runtime.ports import Delivery
from parley_runtime.stage import StageSpec
from parley_runtime.telemetry import names, tracing
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter, gauge, histogram
from parley_runtime.telemetry.recent import Recent
from parley_runtime.work.admission import Emit, Go, Refuse, Verdict, Wait
from parley_runtime.work.claims import Claims
from parley_runtime.work.envelope import terminal_of
from parley_runtime.work.exits import Desk, Exits
from parley_runtime.work.hold import GaveUp, StoreHold
from parley_runtime.work.live import End, LiveRun, RunEnded
from parley_runtime.work.runs import AnyRun

CONFLICT = "This turn id was used before with another text. Send the new text under a new turn id."

log = get_logger(__name__)


class Server:
    """Serves the deliveries of one stage. ``take`` never raises; each delivery ends acked, dead-lettered, or left
    unacked because its channel has gone or nothing could be published for it.
    """

    def __init__(self, spec: StageSpec[Any], desk: Desk, hold: StoreHold) -> None:
        self.spec = spec
        self.handing_over = False
        self._desk = desk
        self._claims = Claims(spec, desk, hold)
        self._exits = Exits(desk)
        self._seats = asyncio.Semaphore(spec.seats)
        gauge(names.SEATS).labels(spec.stage).set(spec.seats)
        self._busy = gauge(names.SEATS_BUSY).labels(spec.stage)
        self.busy = 0
        # Looked up once: a labelled child costs more than counting.
        self.waits = Recent(f"{spec.stage}_wait")
        self.works = Recent(f"{spec.stage}_work")
        self._waited = histogram(names.JOB_WAIT_SECONDS).labels(spec.stage).observe
        self._worked = histogram(names.JOB_WORK_SECONDS).labels(spec.stage).observe

    async def take(self, delivery: Delivery) -> None:
        """One delivery to its end."""
        try:
            job = codec.unpack_job(delivery.body)
        except ProtocolError as error:
            await self._undecodable(delivery, error.code.value)
            return
        if not isinstance(job, self.spec.job):
            await self._undecodable(delivery, f"a {type(job).__name__} does not belong here")
            return
        attributes = {
            names.ATTR_SYSTEM: "rabbitmq",
            names.ATTR_DESTINATION: delivery.queue,
            names.ATTR_OPERATION: "process",
            names.ATTR_CONVERSATION: tracing.conversation(job.key.session),
            names.ATTR_STAGE: self.spec.stage,
            names.ATTR_KB: job.kb,
        }
        desk, spec = self._desk, self.spec
        run = LiveRun(job, delivery, stage=spec.stage, first=spec.first, sink=desk.sink, clock=desk.clock)
        parent = tracing.extract(delivery.headers)
        name = names.SPAN_PROCESS.format(destination=self.spec.stage)
        with tracing.span(name, kind="consumer", parent=parent, attributes=attributes) as span:
            outcome = await self._outcome(run, delivery)
            span.set_attribute(names.ATTR_FENCE, run.fence)
            span.set_attribute(names.ATTR_STATUS, outcome)
        self._count(run, outcome)

    async def _undecodable(self, delivery: Delivery, reason: str) -> None:
        counter(names.UNDECODABLE).labels(self.spec.stage).inc()
        log.warning("message cannot be used; dead-lettered", queue=delivery.queue, reason=reason)
        await delivery.reject()

    def _count(self, run: AnyRun, outcome: str) -> None:
        stage = self.spec.stage
        counter(names.JOBS).labels(stage, outcome).inc()
        if run.wait_ms:
            self._waited(run.wait_ms / 1000)
            self.waits.add(run.wait_ms)
        worked = self._desk.clock.monotonic() - run.started
        self._worked(worked)
        self.works.add(worked * 1000)
        log.debug("job served", stage=stage, outcome=outcome, turn=run.key.turn, fence=run.fence)

    async def _outcome(self, run: AnyRun, delivery: Delivery) -> str:
        try:
            return await self._serve(run, delivery)
        except GaveUp:
            return await self._given_up(run)
        except Expired:
            return await self._exits.expire(run)
        except Exception as error:
            if not isinstance(error, ParleyError):
                log.exception("job failed on a defect", stage=self.spec.stage, turn=run.key.turn)
            return await self._exits.fail(run, error)
        finally:
            self._desk.runs.remove(run)
            if not run.done.done():
                run.done.set_result(False)

    async def _given_up(self, run: AnyRun) -> str:
        """The store is away: the job, as it was, for another process or a later time."""
        try:
            return await self._exits.hand_over(run)
        except Expired:
            return await self._exits.expire(run)

    async def _serve(self, run: AnyRun, delivery: Delivery) -> str:
        if run.remaining_s() <= 0:
            return await self._exits.expire(run)
        twin = self._desk.runs.twin(self.spec.stage, run.job, first=self.spec.first)
        if twin is not None and twin.leaving and await self._published(twin, run):
            return await self._exits.wait(run)
        decision = await self._claims.decide(run, delivery)
        if decision is None:
            return "lost"
        if not isinstance(decision, Go):
            return await self._decline(run, decision)
        return await self._enter(run, delivery, decision)

    async def _enter(self, run: AnyRun, delivery: Delivery, decision: Go) -> str:
        """The fence is ours."""
        twin = self._desk.runs.twin(self.spec.stage, run.job, first=self.spec.first)
        if twin is not None and not twin.leaving and decision.fence > twin.fence:
            self._desk.asks.announce(run.key, decision.fence)
            twin.adopt(delivery, decision.base, decision.fence)
            return "adopted"
        run.begin(decision.base, decision.fence)
        return await self._run(run)

    async def _published(self, twin: AnyRun, run: AnyRun) -> bool:
        """The run before is publishing what ends it: wait for that, and see whether it still speaks for the turn.

        Only a run at work may be given a higher fence, since what is being published carries the lower one. And what
        was published counts only while no claim came in between: this very job may have been elsewhere meanwhile.
        """
        await asyncio.wait({twin.done}, timeout=run.remaining_s())
        if not (twin.done.done() and twin.done.result()):
            return False
        return not await self._claims.superseded(twin)

    async def _decline(self, run: AnyRun, decision: Verdict) -> str:
        job = run.job
        outcome = "duplicate"
        match decision:
            case Emit(row):
                self._desk.sink.emit(job.reply_to, job.key, row.fence, terminal_of(row))
                outcome = "closed"
            case Wait():
                return await self._exits.wait(run)
            case Refuse():
                refusal = Refusal(job.submission, Conflict(CONFLICT).fault())
                self._desk.sink.emit(job.reply_to, job.key, job.fence, refusal)
                outcome = "conflict"
        await run.lease.ack()
        return outcome

    async def _run(self, run: AnyRun) -> str:
        self._desk.runs.add(run)
        if self.handing_over:
            run.stop(End.HANDED_OVER)
        limit = asyncio.timeout(run.remaining_s())
        try:
            async with limit:
                job = await run.supervise(self._work(run))
        except RunEnded:
            return await self._exits.ended(run)
        except TimeoutError:
            if not limit.expired():
                raise
            return await self._exits.expire(run)
        return await self._exits.forward(run, job)

    async def _work(self, run: AnyRun) -> Generate | Record:
        async with self._seats:
            self.busy += 1
            self._busy.inc()
            run.seated = True
            try:
                if run.fence > 1 and not run.repeated:
                    self._desk.asks.announce(run.key, run.fence)
                elif run.fence > 1:
                    run.output.prefix = await self._desk.asks.begin(run.key, run.fence) or ""
                    self._desk.sink.touch(run.feed, urgent=True)
                run.begun = True
                result: Generate | Record = await self.spec.handler(run)
                return result
            finally:
                self.busy -= 1
                self._busy.dec()
