"""The recorder closes rows: *done means stored*. It alone tells a turn's end, and only from the row.

At least once: a record may come several times, from several runs; the store lets one in. Order per delivery: commit,
terminal event, ack. The event is only news and may be lost: gateways watch the row. While the store is away the
recorder stops consuming; a record is never dead-lettered for that.
"""

from typing import assert_never

from parley_protocol import codec
from parley_protocol.faults import ProtocolError
from parley_protocol.routes import Stage, stage_queue
from parley_protocol.routes import topology as default_topology
from parley_protocol.work import Record
from parley_rag.intake import IntakeOptions, StoreIntake
from parley_runtime.errors import ParleyError
from parley_runtime.ports import Broker, Delivery
from parley_runtime.sink import EventSink
from parley_runtime.store.ports import AlreadyClosed, Closing, Stored, Superseded, TurnRow, TurnStore
from parley_runtime.telemetry import names, tracing
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter
from parley_runtime.worker import terminal_of

log = get_logger(__name__)


class Recorder(StoreIntake):
    """Consumes the record queue."""

    def __init__(self, broker: Broker, store: TurnStore, sink: EventSink, options: IntakeOptions | None = None) -> None:
        options = options or IntakeOptions()
        queue = default_topology().queue(stage_queue(Stage.RECORD))
        super().__init__(broker, queue, what="records", prefetch=options.records, hold_s=options.hold_s)
        self._store = store
        self._sink = sink

    async def _serve(self, delivery: Delivery) -> None:
        try:
            record = codec.unpack_job(delivery.body)
        except ProtocolError as error:
            await self._refuse(delivery, "undecodable", error.code.value)
            return
        if not isinstance(record, Record):
            await self._refuse(delivery, "undecodable", f"a {type(record).__name__} is no record")
            return
        attributes = {
            names.ATTR_CONVERSATION: tracing.conversation(record.key.session),
            names.ATTR_STATUS: record.status.value,
            names.ATTR_FENCE: record.fence,
        }
        with tracing.span(
            names.SPAN_RECORD, kind="consumer", parent=tracing.extract(delivery.headers), attributes=attributes
        ):
            await self._record(delivery, record)

    async def _record(self, delivery: Delivery, record: Record) -> None:
        try:
            closing = await self._gate.call(lambda: self._store.close(record))
        except Exception as error:  # a value that no store takes, or a defect: parked with its body, never lost
            if not isinstance(error, ParleyError):
                log.exception("record met a defect", turn=record.key.turn)
            await self._refuse(delivery, "refused", type(error).__name__)
            return
        self._tell(record, closing)
        await delivery.ack()

    def _tell(self, record: Record, closing: Closing) -> None:
        match closing:
            case Stored(row):
                self._count("stored")
                self._emit(record, row)
            case AlreadyClosed(row):
                self._count("closed")
                self._emit(record, row)
            case Superseded():
                self._count("superseded")
                if not record.forced:  # else there was no answer to waste
                    stage = record.hops[-1].stage if record.hops else Stage.RECORD.value
                    counter(names.WASTED).labels(stage, "record").inc()
                    counter(names.WASTED_TOKENS).labels(stage, "record").inc(_tokens(record))
                log.info("record superseded; dropped", turn=record.key.turn, fence=record.fence)
            case _:
                assert_never(closing)

    def _emit(self, record: Record, row: TurnRow) -> None:
        # From the row, not from the record: this record may be a loser's.
        self._sink.emit(record.reply_to, record.key, row.fence, terminal_of(row), urgent=True)

    async def _refuse(self, delivery: Delivery, outcome: str, reason: str) -> None:
        self._count(outcome)
        if outcome == "undecodable":
            counter(names.UNDECODABLE).labels(Stage.RECORD.value).inc()
        log.warning("message on the record queue cannot be used; dead-lettered", reason=reason)
        await delivery.reject()

    def _count(self, outcome: str) -> None:
        counter(names.RECORDS).labels(outcome).inc()


def _tokens(record: Record) -> int:
    return record.usage.completion_tokens if record.usage is not None else 0
