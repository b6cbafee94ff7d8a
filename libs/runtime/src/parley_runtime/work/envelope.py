"""How jobs become messages and back: headers, expiry, trace context, confirmed publishes that do not give up early."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from parley_protocol import codec
from parley_protocol.events import Fault, Terminal
from parley_protocol.routes import DEAD, RETRY_LADDER_S, WORK, Stage, retry_exchange
from parley_protocol.work import Generate, Job, Record, Retrieve
from parley_runtime.errors import Expired, OutcomeUnknown, Refused, Unavailable, Unroutable
from parley_runtime.jitter import spread
from parley_runtime.ports import Clock, Link, Message
from parley_runtime.store.ports import TurnRow
from parley_runtime.telemetry import names, tracing
from parley_runtime.telemetry.logging import get_logger

KIND = "parley-kind"
VERSION = "parley-v"
CAUSE = "parley-cause"
"""On a dead letter that a worker parked: code and message of the last failure."""
REASON = "parley-reason"
"""On a dead letter that a worker parked: ``exhausted``."""
QUEUE = "parley-queue"
"""On a dead letter that a worker parked: the stage's queue."""

WIRE_VERSION = 1
BACK_OFF_S = (0.05, 1.0)

log = get_logger(__name__)


def stage_of(job: Job) -> Stage:
    """The stage that takes ``job``."""
    match job:
        case Retrieve():
            return Stage.RETRIEVE
        case Generate():
            return Stage.GENERATE
        case Record():
            return Stage.RECORD
        case _:
            raise TypeError(f"{type(job).__name__} belongs to no stage")


def job_message(job: Job, *, expires: bool = True) -> Message:
    """``job`` as a durable message with the current trace context. It may wait for its budget (``expires``); then
    the broker dead-letters it and the parker answers ``expired``. A record never expires.
    """
    headers: dict[str, str | int] = {KIND: str(type(job).__struct_config__.tag), VERSION: WIRE_VERSION}
    tracing.inject(headers)
    lasts = not expires or isinstance(job, Record)
    return Message(codec.pack(job), headers, expires_s=None if lasts else max(job.budget_s, 0.001))


async def publish_record(link: Link, record: Record, *, timeout_s: float = 5.0) -> None:
    """Publish a record and await its confirm, within ``timeout_s`` in all. An unknown outcome is published again at
    once: a row is closed by the first record and does not mind a second.

    Raises:
        Unroutable, Refused, Unavailable, OutcomeUnknown: as ``Link.publish``; the caller keeps what makes the record
        and publishes it again.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    try:
        await _send(link, WORK, Stage.RECORD, record, timeout_s / 2)
    except OutcomeUnknown:
        again = msgspec.structs.replace(record, again=True)
        await _send(link, WORK, Stage.RECORD, again, max(0.01, deadline - loop.time()))


def terminal_of(row: TurnRow) -> Terminal:
    """The terminal event of a closed row."""
    return Terminal(
        n=row.n,
        status=row.status,
        text=row.text,
        sources=row.sources,
        usage=row.usage,
        hops=row.hops,
        fault=row.fault,
        marks=row.marks,
        submission=row.submission,
        ending=row.ending,
    )


@dataclass(frozen=True, slots=True)
class Courier:
    """Publishes jobs for the worker loop over one link."""

    link: Link
    clock: Clock
    attempt_s: float

    async def forward(self, job: Job, deadline: float, held: Callable[[], bool]) -> bool:
        """Publish ``job`` to its own stage; until ``deadline`` (monotonic) a full queue or an unreachable broker is
        waited out, so that pressure moves back to admission. A record is tried for as long as ``held()`` says that
        the delivery behind it is still ours. False: given up; the broker will deliver the work again.

        Raises:
            Expired: the deadline came first; record that instead.
        """
        return await self._insist(WORK, stage_of(job), job, deadline, held)

    async def climb(self, job: Job, rung: int, stage: str, deadline: float, held: Callable[[], bool]) -> bool:
        """Publish ``job`` to a rung of the retry ladder, whose delay is taken off its budget; as :meth:`forward`
        otherwise.
        """
        return await self._insist(retry_exchange(rung), stage, job, deadline, held, ahead_s=RETRY_LADDER_S[rung])

    async def park(self, job: Job, queue: str, fault: Fault) -> None:
        """Publish ``job`` to the dead letters with its cause. Raises as ``Link.publish``."""
        message = job_message(job, expires=False)
        cause = f"{fault.code}: {fault.message}"[:500]
        headers = {**message.headers, CAUSE: cause, REASON: "exhausted", QUEUE: queue}
        await self.link.publish(DEAD, "", Message(message.body, headers), timeout_s=self.attempt_s)

    async def _insist(
        self, exchange: str, key: str, job: Job, deadline: float, held: Callable[[], bool], *, ahead_s: float = 0.0
    ) -> bool:
        delay, longest = BACK_OFF_S
        lasting = isinstance(job, Record)
        while True:
            left = deadline - self.clock.monotonic() - ahead_s
            if left <= 0 and not lasting:
                raise Expired("The turn's time ran out before it could be handed on. Try again.")
            if left <= 0 and not held():
                return False
            stamped = msgspec.structs.replace(job, budget_s=max(left, 0.0), sent_at=self.clock.wall())
            wait = self.attempt_s if lasting else min(self.attempt_s, left)
            try:
                await _send(self.link, exchange, key, stamped, wait)
            except OutcomeUnknown:
                job = msgspec.structs.replace(job, again=True)
            except (Refused, Unavailable, Unroutable) as error:
                log.info("holding a job", stage=key, reason=type(error).__name__)
                await asyncio.sleep(spread(delay))
                delay = min(longest, delay * 2)
            else:
                return True


async def _send(link: Link, exchange: str, key: str, job: Job, timeout_s: float) -> None:
    attributes = {names.ATTR_SYSTEM: "rabbitmq", names.ATTR_DESTINATION: exchange, names.ATTR_OPERATION: "send"}
    with tracing.span(names.SPAN_PUBLISH.format(destination=key), kind="producer", attributes=attributes):
        message = job_message(job, expires=exchange == WORK)
        await link.publish(exchange, key, message, timeout_s=timeout_s)
