"""Publishing for reviews: jobs with confirms, news without."""

import asyncio
from collections.abc import Callable

from parley_protocol import codec
from parley_protocol.control import Audience, ReviewMoved
from parley_protocol.events import Fault
from parley_protocol.reviews import AssessClauses, ReviewJob, ReviewStatus, percent
from parley_protocol.routes import DEAD, WORK, Stage, retry_exchange, stage_queue
from parley_rag.intake import BACK_OFF_S
from parley_runtime.control import ControlPlane
from parley_runtime.errors import Retryable
from parley_runtime.jitter import spread
from parley_runtime.ports import Headers, Link, Message
from parley_runtime.store.review_ports import ReviewRow
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter
from parley_runtime.work.envelope import CAUSE, KIND, QUEUE, REASON, VERSION, WIRE_VERSION

log = get_logger(__name__)

MAX_TOLD = 10_000
"""Tasks whose last told percent is remembered."""


def stage_of(job: ReviewJob) -> Stage:
    """The stage that takes ``job``."""
    return Stage.ASSESS if isinstance(job, AssessClauses) else Stage.REVIEW


def message(job: ReviewJob, **more: str) -> Message:
    """``job`` as a durable message that waits for as long as it has to."""
    headers: Headers = {KIND: str(type(job).__struct_config__.tag), VERSION: WIRE_VERSION, **more}
    return Message(codec.pack(job), headers)


class Post:
    """What consumers and sweeper of a process publish with."""

    def __init__(self, link: Link, control: ControlPlane) -> None:
        self._link = link
        self._control = control
        self._told: dict[int, int] = {}

    async def send(self, job: ReviewJob, held: Callable[[], bool]) -> bool:
        """To its stage, until it is confirmed. False: ``held()`` is False by now; whoever has the delivery sends it."""
        return await self._insist(WORK, stage_of(job), job, held)

    async def climb(self, job: ReviewJob, rung: int, held: Callable[[], bool]) -> bool:
        """To a rung of the retry ladder; as :meth:`send`."""
        counter(names.RETRIES).labels(stage_of(job).value, str(rung)).inc()
        return await self._insist(retry_exchange(rung), stage_of(job), job, held)

    async def park(self, job: ReviewJob, fault: Fault) -> None:
        """To the dead letters with its cause. Raises as ``Link.publish``."""
        cause = f"{fault.code}: {fault.message}"[:500]
        more = {CAUSE: cause, REASON: "exhausted", QUEUE: stage_queue(stage_of(job))}
        await self._link.publish(DEAD, "", message(job, **more))

    def tell(self, row: ReviewRow) -> None:
        """The gateways, where the task has come further than they were last told from here. May be lost."""
        now = percent(row.status, row.clauses, row.done)
        if row.status is not ReviewStatus.FAILED and self._told.get(row.task, -1) >= now:
            return
        self._told.pop(row.task, None)
        if not row.status.ended:
            self._told[row.task] = now
            if len(self._told) > MAX_TOLD:
                del self._told[next(iter(self._told))]
        moved = ReviewMoved(row.tenant, row.task, row.status, row.clauses, row.done)
        self._control.post(Audience.GATEWAYS.value, moved)

    async def _insist(self, exchange: str, key: str, job: ReviewJob, held: Callable[[], bool]) -> bool:
        delay, longest = BACK_OFF_S
        while held():
            try:
                await self._link.publish(exchange, key, message(job))
            except Retryable as error:
                log.info("holding a review's job", stage=key, task=job.task, reason=type(error).__name__)
                await asyncio.sleep(spread(delay))
                delay = min(longest, delay * 2)
            else:
                return True
        return False
