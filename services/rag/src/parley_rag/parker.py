"""The parker answers for messages that nobody else will: it consumes the dead-letter queue.

A turn whose job died ends here: ``expired`` where it waited too long, else ``failed``, by a forced record with what the
gateways say they have delivered. The record is for the job's own submission: where another one holds the row, the store
lets it end nothing, since that one has messages of its own. A knowledge command gets its reply. Everything except what
merely expired is kept with its cause for ``parley dead``. Order per delivery: record or reply, dead letter in the
store, ack; any of it may be repeated, with the same result.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec

from parley_protocol import codec
from parley_protocol.events import Fault, Marks, Reply, TurnStatus
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import TurnKey
from parley_protocol.routes import DEAD_QUEUE, EVENTS, Stage, stage_queue
from parley_protocol.routes import topology as default_topology
from parley_protocol.work import DeadInfo, Job, Record, Retrieve
from parley_rag.intake import BACK_OFF_S, IntakeOptions, StoreIntake
from parley_runtime.errors import ParleyError, Retryable
from parley_runtime.jitter import spread
from parley_runtime.ports import Broker, Delivery, Headers, Link, Message
from parley_runtime.store.ports import TurnStore
from parley_runtime.telemetry import names, tracing
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter
from parley_runtime.work.envelope import CAUSE, QUEUE, REASON
from parley_runtime.worker import Delivered, publish_record

log = get_logger(__name__)

EXPIRED = "expired"
EXHAUSTED = "exhausted"
"""The worker's own reason: it has recorded the turn's end before it parked the job."""

REPLY_HEADERS: Headers = {"parley-kind": "reply", "parley-v": 1}
REPLY_S = 1.0

_CAUSES = {
    EXPIRED: "it waited in the queue until its time ran out",
    "rejected": "its reader refused it: it cannot be decoded, or no store takes it",
    "delivery_limit": "it was delivered many times and never settled: its reader dies or is killed at work on it",
    "maxlen": "its queue was full",
    EXHAUSTED: "it kept failing",
}
LATE = Fault(
    FaultCode.EXPIRED.value, "It waited in a queue until its time ran out. Ask again, or allow more time.", True
)
FAILED = Fault(
    FaultCode.FAILED.value,
    "It could not be worked on and was set aside for the operator (parley dead list). Try again later.",
    True,
)


REVIEWS = frozenset({stage_queue(Stage.REVIEW), stage_queue(Stage.ASSESS)})
Ending = Callable[[bytes, str], Awaitable[None]]
"""(body of the job, why it is dead)."""


class Envelope(msgspec.Struct, frozen=True):
    """What can be known of a message that as a whole cannot be decoded: enough to end its turn or answer its call."""

    key: TurnKey | None = None
    submission: str = ""
    base: int = 0
    fence: int = 1
    reply_to: tuple[str, ...] | str = ()
    call: str = ""


_envelopes = msgspec.msgpack.Decoder(Envelope)


class Parker(StoreIntake):
    """Consumes the dead-letter queue; ``link`` publishes records and replies, ``delivered`` says what clients have of
    a turn.
    """

    def __init__(
        self,
        broker: Broker,
        store: TurnStore,
        link: Link,
        delivered: Delivered,
        options: IntakeOptions | None = None,
        reviews: Ending | None = None,
    ) -> None:
        """``reviews`` ends what a job of a review queue stood for."""
        options = options or IntakeOptions()
        queue = default_topology().queue(DEAD_QUEUE)
        super().__init__(broker, queue, what="dead letters", prefetch=options.dead, hold_s=options.hold_s)
        self._store = store
        self._link = link
        self._delivered = delivered
        self._reviews = reviews

    async def _serve(self, delivery: Delivery) -> None:
        reason, queue = origin(delivery)
        counter(names.DEAD_LETTERS).labels(queue, reason).inc()
        name = names.SPAN_PROCESS.format(destination="dead")
        with tracing.span(name, kind="consumer", parent=tracing.extract(delivery.headers)):
            if queue == stage_queue(Stage.KNOWLEDGE):
                await self._answer(delivery, reason)
            elif queue in REVIEWS:
                await self._end_review(delivery, reason)
            else:
                record = record_for(delivery.body, reason)
                if record is not None and queue != stage_queue(Stage.RECORD):
                    # (Not where a record was refused: maybe for its very text.) An earlier run may have spoken.
                    record = msgspec.structs.replace(record, text=await self._delivered(record.key, record.fence))
                if record is not None and not await self._publish(record, delivery):
                    return
            if reason != EXPIRED:
                info = describe(delivery, reason, queue)
                await self._gate.call(lambda: self._store.park(info))
                log.warning("message parked", id=info.id, queue=queue, reason=reason, turn=info.turn)
        await delivery.ack()

    async def _end_review(self, delivery: Delivery, reason: str) -> None:
        reviews = self._reviews
        if reviews is not None and reason != EXHAUSTED:  # its worker has ended it before it parked the job
            await self._gate.call(lambda: reviews(delivery.body, _CAUSES.get(reason, reason)))

    async def _publish(self, record: Record, delivery: Delivery) -> bool:
        """Until it is confirmed. False: the dead letter is no longer ours; it is delivered again."""
        delay, longest = BACK_OFF_S
        while delivery.alive:
            try:
                await publish_record(self._link, record)
            except Retryable as error:
                log.info("holding a dead letter's record", turn=record.key.turn, reason=type(error).__name__)
                await asyncio.sleep(spread(delay))
                delay = min(longest, delay * 2)
            else:
                return True
        return False

    async def _answer(self, delivery: Delivery, reason: str) -> None:
        command = _envelope(delivery.body)
        if command is None or not command.call or not isinstance(command.reply_to, str):
            return
        reply = Reply(command.call, fault=LATE if reason == EXPIRED else FAILED)
        message = Message(codec.pack(reply), REPLY_HEADERS, expires_s=30.0, durable=False)
        try:
            await self._link.publish(EVENTS, command.reply_to, message, timeout_s=REPLY_S)
        except ParleyError as error:
            counter(names.EVENTS_DROPPED).labels("reply").inc()
            log.info("reply lost; its gateway has given up by now", reason=type(error).__name__)


def origin(delivery: Delivery) -> tuple[str, str]:
    """(reason, queue) of a dead letter: the worker's own headers, else what the broker says."""
    if REASON in delivery.headers:
        return str(delivery.headers[REASON]), str(delivery.headers.get(QUEUE, ""))
    return delivery.death or ("unknown", "")


def record_for(body: bytes, reason: str) -> Record | None:
    """The record that ends the turn of a dead job; None where it has one already or its turn cannot be told."""
    if reason == EXHAUSTED:
        return None
    try:
        job: Job | None = codec.unpack_job(body)
    except ProtocolError:
        job = None
    if job is None:
        found = _envelope(body)
        if found is None or found.key is None:
            return None
        followers = found.reply_to if isinstance(found.reply_to, tuple) else ()
        job = Job(
            key=found.key,
            submission=found.submission,
            budget_s=0.0,
            base=found.base,
            fence=found.fence,
            reply_to=followers,
        )
    elif isinstance(job, Record) and job.forced:
        return None  # the last word on its turn was refused: another one would be too
    return _ending(job, TurnStatus.EXPIRED if reason == EXPIRED else TurnStatus.FAILED)


def _ending(job: Job, status: TurnStatus) -> Record:
    marks: Marks = job.marks
    return Record(
        key=job.key,
        submission=job.submission,
        budget_s=0.0,
        base=job.base,
        fence=job.fence,
        n=job.n,
        marks=marks,
        reply_to=job.reply_to,
        hops=job.hops,
        question=job.question,
        kb=job.kb,
        status=status,
        sources=marks.retrieval.sources if marks.retrieval is not None else (),
        fault=LATE if status is TurnStatus.EXPIRED else FAILED,
        forced=True,
        own=bool(job.submission),  # where that cannot be told, this may be all that stands for the turn
        digest=job.digest if isinstance(job, Retrieve) else "",
    )


def describe(delivery: Delivery, reason: str, queue: str) -> DeadInfo:
    """The dead letter as it is kept. Its id is made of its content: a redelivered one is kept once."""
    content = hashlib.blake2b(delivery.body, digest_size=8, key=queue.encode()[:64])
    found = _envelope(delivery.body)
    key = None if found is None else found.key
    try:
        tries = codec.unpack_job(delivery.body).tries
    except ProtocolError:
        tries = 0
    return DeadInfo(
        id=content.hexdigest(),
        queue=queue,
        reason=reason,
        cause=str(delivery.headers.get(CAUSE) or _CAUSES.get(reason, "the broker gives no reason")),
        parked_at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        turn="" if key is None else key.turn,
        session="" if key is None else key.session,
        tries=tries,
        body=delivery.body,
    )


def _envelope(body: bytes) -> Envelope | None:
    try:
        return _envelopes.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
