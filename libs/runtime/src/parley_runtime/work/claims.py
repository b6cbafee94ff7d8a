"""Whether, and under which fence, a delivery of one stage is run: what the store and the other workers say of it."""

from functools import partial
from typing import Any

from parley_protocol.ids import TurnKey
from parley_protocol.work import Retrieve
from parley_runtime.errors import Unavailable
from parley_runtime.ports import Delivery
from parley_runtime.stage import StageSpec
from parley_runtime.store.ports import Claimed, Crossed
from parley_runtime.telemetry import names
from parley_runtime.telemetry.metrics import counter
from parley_runtime.work.admission import Answer, Go, Step, Verdict, Wait, expected_fence, first_step, verdict
from parley_runtime.work.exits import Desk
from parley_runtime.work.hold import StoreHold
from parley_runtime.work.options import Claim
from parley_runtime.work.runs import AnyRun

RECLAIMS = 8
"""Claims of one delivery that may be crossed by others before it counts as a failed try."""


class Claims:
    """Of one stage.

    A claim lands only above a fence that was the row's while the delivery was ours. So a fence is never claimed over
    the head of whoever was given the message after us: each row's fence belongs to a run whose message is still
    unsettled, or has been given to somebody who will claim a higher one.
    """

    def __init__(self, spec: StageSpec[Any], desk: Desk, hold: StoreHold) -> None:
        self._spec = spec
        self._desk = desk
        self._hold = hold
        self._always = desk.options.claim is Claim.ALWAYS

    async def decide(self, run: AnyRun, delivery: Delivery) -> Verdict | None:
        """None: the delivery is no longer ours, and nothing stands in its way elsewhere.

        Raises:
            Expired, GaveUp: as ``StoreHold.call``.
            Unavailable: others claim the row all the time.
        """
        job, first = run.job, self._spec.first
        redelivered, count = delivery.redelivered, delivery.delivery_count
        step = first_step(job, first_stage=first, redelivered=redelivered, delivery_count=count, always=self._always)
        if step is Step.GO:
            return Go(job.base, job.fence)
        fence = expected_fence(job, first_stage=first, redelivered=redelivered, delivery_count=count)
        if step is Step.ASK_THEN_CLAIM_FIRST and await self._alive(run):
            return Wait()
        claim = await self._reclaim(run) if fence is None else await self._claim(run, fence)
        run.repeated = fence is None
        if isinstance(claim, Crossed):
            # Called the first, and is not: the row has been claimed for this message before.
            run.repeated = True
            if first and await self._alive(run):
                return Wait()
            claim = await self._reclaim(run)
        if claim is None:
            return None
        outcome = "claimed" if isinstance(claim, Claimed) else type(claim).__name__.lower()
        counter(names.CLAIMS).labels(self._spec.stage, outcome).inc()
        return verdict(job, claim)

    async def superseded(self, twin: AnyRun) -> bool:
        """Whether the turn has been claimed since ``twin`` was given its fence."""
        for row in await self._hold.call(twin, partial(self._desk.store.rows, [twin.key])):
            return not row.closed and (row.base != twin.job.base if twin.first else row.fence != twin.fence)
        return False

    async def _alive(self, run: AnyRun) -> bool:
        """Whether a descendant of the row's first-stage run is at work in some process."""
        if self._desk.runs.twin(self._spec.stage, run.job, first=True) is not None:
            return False
        for row in await self._hold.call(run, partial(self._desk.store.rows, [run.key])):
            if row.closed or row.submission != run.job.submission:
                continue
            if self._desk.runs.runs_base(run.key, row.base) or await self._asked(run.key, row.base):
                return True
        return False

    async def _asked(self, key: TurnKey, base: int) -> bool:
        return await self._desk.asks.running(key, base, self._desk.options.running_wait_s)

    async def _claim(self, run: AnyRun, fence: int) -> Answer | Crossed | None:
        return await self._hold.call(run, partial(self._claim_above, run, fence))

    async def _reclaim(self, run: AnyRun) -> Answer | None:
        for _ in range(RECLAIMS):
            claim = await self._hold.call(run, partial(self._claim_anew, run))
            if not isinstance(claim, Crossed):
                return claim
        raise Unavailable("The turn is being claimed elsewhere all the time. It is tried again.")

    async def _claim_anew(self, run: AnyRun) -> Answer | Crossed | None:
        rows = await self._desk.store.rows([run.key])
        if not await run.lease.proven():
            return None
        return await self._claim_above(run, rows[0].fence if rows else 0)

    async def _claim_above(self, run: AnyRun, fence: int) -> Answer | Crossed | None:
        job, store = run.job, self._desk.store
        if not run.lease.held():
            return None
        if isinstance(job, Retrieve) and self._spec.first:
            return await store.claim_first(
                job.key, submission=job.submission, digest=job.digest, question=job.question, fence=fence
            )
        return await store.claim_later(job.key, base=job.base, fence=fence)
