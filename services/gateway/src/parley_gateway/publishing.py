"""Publishing what a turn needs: its job, or the forced record that ends it."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable

from parley_gateway import report
from parley_gateway.admission import Admission
from parley_gateway.config import TurnSettings
from parley_gateway.core.effects import Effect
from parley_gateway.core.entry import Entry, Phase, Request
from parley_gateway.core.session import Session
from parley_protocol import codec
from parley_protocol.control import Audience, Stop
from parley_protocol.events import Fault, Marks, TurnStatus
from parley_protocol.faults import FaultCode
from parley_protocol.ids import SessionId
from parley_protocol.routes import WORK, Stage
from parley_protocol.work import Record, Retrieve
from parley_runtime.control import ControlPlane
from parley_runtime.errors import OutcomeUnknown, ParleyError, Refused
from parley_runtime.ports import Clock, Link, Message
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter
from parley_runtime.work.lastword import Delivered

log = get_logger(__name__)

AGAIN_S = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Pauses between publishes of what must get through; the last one repeats."""
MIN_BUDGET_S = 0.05
ABANDONED = "nobody followed this turn any more, so it was ended where it stood; ask again to have it answered"


class Publishing:
    """Each method lasts until the broker has said what became of the message."""

    def __init__(
        self,
        gateway: str,
        settings: TurnSettings,
        clock: Clock,
        link: Link,
        control: ControlPlane,
        apply: Callable[[Iterable[Effect]], None],
        promise: Callable[[Entry], None],
        admission: Admission,
        delivered: Delivered,
    ) -> None:
        """``delivered`` says what other gateways have delivered of a turn whose text is not known here."""
        self.gateway = gateway
        self._settings = settings
        self._clock = clock
        self._publisher = link
        self._control = control
        self._apply = apply
        self._promise = promise
        self._admission = admission
        self._delivered = delivered
        self.before: Callable[[SessionId], Awaitable[object] | None] = _nothing

    async def publish(self, entry: Entry) -> None:
        """Until the job is confirmed, refused, or no longer wanted."""
        session: Session = entry.session
        request = entry.request
        assert request is not None
        if (wait := self.before(session.id)) is not None:
            await wait
            if entry.phase is not Phase.PUBLISHING or entry.forced is not None:
                return
        for pause in _pauses():
            message = self._job(entry, request)
            try:
                await self._publisher.publish(WORK, Stage.RETRIEVE, message, timeout_s=self._settings.publish_s)
            except OutcomeUnknown:
                entry.again = True
                await asyncio.sleep(pause)
                if entry.phase is not Phase.PUBLISHING or entry.forced is not None:
                    return
                continue
            except ParleyError as error:
                self._refuse(entry, error)
                return
            self._apply(session.accept(entry, self._clock.monotonic()))
            self._promise(entry)
            return

    def _refuse(self, entry: Entry, error: ParleyError) -> None:
        session: Session = entry.session
        if entry.phase is not Phase.PUBLISHING:
            return  # an event has shown that an earlier try got through
        full = isinstance(error, Refused)
        code = FaultCode.OVERLOADED if full else FaultCode.UNAVAILABLE
        text = (
            "too many turns wait at present; send this turn again later"
            if full
            else "the message broker cannot be reached at present; send this turn again later"
        )
        now = self._clock.monotonic()
        wait_s = self._admission.next_slot_s(now) if full else self._admission.unknown_s()
        counter(names.REFUSED).labels("queue" if full else "broker").inc()
        log.warning("turn not taken", code=code.value, cause=type(error).__name__, retry_after_s=round(wait_s, 3))
        self._apply(session.refuse(entry, code, text, now, retry_after_ms=int(wait_s * 1000)))

    def _job(self, entry: Entry, request: Request) -> Message:
        entry.submissions += (secrets.token_hex(8),)
        budget = max(MIN_BUDGET_S, entry.deadline_at - self._clock.monotonic())
        job = Retrieve(
            key=entry.turn.key,
            submission=entry.submission,
            budget_s=budget,
            again=entry.again,
            reply_to=(self.gateway,),
            sent_at=self._clock.wall(),
            n=1 if request.spoken else 0,
            marks=Marks(transcript=request.text) if request.spoken else Marks(),
            question=request.text,
            kb=request.kb,
            digest=request.digest,
            context=request.context,
            messages=request.messages,
            sampling=request.sampling,
            engine=request.engine,
            user=request.user,
            early=request.early,
        )
        return Message(codec.pack(job), report.headers(entry, "retrieve"), expires_s=budget)

    async def record(self, entry: Entry, status: TurnStatus) -> None:
        """The forced record, until it is confirmed or the turn has ended; then ``stop`` to all workers. Where this
        gateway was never told the turn's text, another one may have delivered some: then it is asked for first.
        """
        if entry.recorded:
            counter(names.FORCED_AGAIN).inc()
            log.warning("turn still open; its forced record again", turn=entry.turn.key.turn, records=entry.records)
        entry.submissions = entry.submissions or (secrets.token_hex(8),)
        text = await self._text(entry)
        for pause in _pauses():
            if entry.ended:
                break
            message = Message(codec.pack(self._forced(entry, status, text)), report.headers(entry, "record"))
            try:
                await self._publisher.publish(WORK, Stage.RECORD, message, timeout_s=self._settings.publish_s)
            except ParleyError as error:
                log.warning("forced record not confirmed; again", status=status.value, cause=type(error).__name__)
                await asyncio.sleep(pause)
            else:
                break
        entry.record_confirmed(self._clock.monotonic())
        self._control.post(Audience.WORKERS.value, Stop(entry.turn.key, 0))

    async def _text(self, entry: Entry) -> str:
        """What has been delivered of a frozen turn: here, or as others tell. Where nobody knows, it ends without any,
        and says so: a gateway that is told some later takes that back, and agrees with the record.
        """
        turn = entry.turn
        if turn.known:
            return turn.text
        told = await self._delivered(turn.key, turn.fence)
        # Some may have been delivered here before a client came with more of it.
        return max(told or "", turn.text, key=len)

    def _forced(self, entry: Entry, status: TurnStatus, text: str) -> Record:
        turn, request = entry.turn, entry.request
        retrieval = turn.last.retrieval
        fault = None
        if entry.abandoned:
            fault = Fault(FaultCode.ABANDONED.value, ABANDONED, True)
        elif status is TurnStatus.EXPIRED:
            fault = Fault(FaultCode.EXPIRED.value, "the turn's deadline passed before its answer was complete", True)
        return Record(
            key=turn.key,
            submission=entry.submission,
            budget_s=0.0,
            fence=turn.fence,
            n=turn.n,
            marks=turn.last,
            reply_to=(self.gateway,),
            sent_at=self._clock.wall(),
            question=request.text if request is not None else "",
            kb=request.kb if request is not None else "default",
            status=status,
            text=text,
            sources=retrieval.sources if retrieval is not None else (),
            fault=fault,
            forced=True,
            digest=request.digest if request is not None else entry.row_digest,
        )


def _nothing(_: SessionId) -> None:
    return None


def _pauses() -> Iterable[float]:
    yield from AGAIN_S
    while True:
        yield AGAIN_S[-1]
