"""Parley with one of its guarantees left out, to learn what it costs. Only benchmarks start such processes.

Each variant patches the place where the guarantee is made and nothing else, so that the rest of the path stays as it is
shipped.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.swap import swap
from parley_protocol.ids import TurnKey
from parley_protocol.routes import QueueSpec
from parley_protocol.work import Record
from parley_runtime.store.ports import Claimed, Closing, FirstClaim, LaterClaim, Stored, TurnRow


@dataclass(frozen=True)
class Variant:
    """``lost``: the guarantee that is left out, in a few words."""

    lost: str
    patch: Callable[[], None]


def no_confirms() -> None:
    """Publishes are written and forgotten; the broker is not asked to confirm them."""
    from parley_runtime.amqp import framing, publisher
    from parley_runtime.amqp.wire import Wire

    open_channel = Wire.open_channel

    async def unconfirmed(self: Wire, *, confirms: bool = False) -> Any:
        return await open_channel(self)

    class Outbox(publisher._Outbox):
        def put(self, exchange: str, key: str, message: Any, *, mandatory: bool) -> "asyncio.Future[Any]":
            channel, number = self.channel, str(next(self._ids))
            size = channel.max_content_size
            payload = framing.publish(channel.number, exchange, key, message, number, mandatory=False, max_body=size)
            if not self._pending:
                self._loop.call_soon(self._flush)
            self._pending.append(payload)
            done: asyncio.Future[Any] = self._loop.create_future()
            done.set_result(None)
            return done

    swap(Wire, open_channel=unconfirmed)
    swap(publisher, _Outbox=Outbox)


_OF_QUORUM = ("x-queue-type", "x-delivery-limit", "x-dead-letter-strategy")


def classic_queues() -> None:
    """Durable classic queues in place of quorum queues; messages stay persistent."""
    from parley_runtime.amqp import subscriber, topology

    declare = topology.declare_queue

    async def classic(channel: Any, queue: QueueSpec) -> None:
        arguments = dict(queue.arguments)
        if arguments.get("x-queue-type") == "quorum":
            arguments = {name: value for name, value in arguments.items() if name not in _OF_QUORUM}
        await declare(channel, QueueSpec(queue.name, arguments, queue.bindings))

    for module in (topology, subscriber):
        swap(module, declare_queue=classic)


def transient_messages() -> None:
    """Classic queues, and no message is written to disk."""
    from parley_runtime.amqp import framing
    from parley_runtime.ports import Message

    classic_queues()
    publish = framing.publish

    def transient(channel: int, exchange: str, key: str, message: Message, number: str, **options: Any) -> bytes:
        passing = Message(message.body, message.headers, message.expires_s, durable=False)
        return publish(channel, exchange, key, passing, number, **options)

    swap(framing, publish=transient)


def no_store() -> None:
    """Claims always succeed with fence 1 and records are dropped once they would be stored: nothing reaches a disk, the
    message flow stays the same."""
    from parley_runtime.store.turns import TurnTable

    async def claim_first(
        self: TurnTable, key: TurnKey, *, submission: str, digest: str, question: str, fence: int | None = None
    ) -> FirstClaim:
        return Claimed(1, 1)

    async def claim_later(self: TurnTable, key: TurnKey, *, base: int, fence: int | None = None) -> LaterClaim:
        return Claimed(base, base + 1)

    async def close(self: TurnTable, record: Record) -> Closing:
        return Stored(_row(record))

    async def conversation(self: TurnTable, tenant: str, session: str, *, limit: int) -> Sequence[Any]:
        return []

    swap(TurnTable, claim_first=claim_first, claim_later=claim_later, close=close, conversation=conversation)


def _row(record: Record) -> TurnRow:
    return TurnRow(
        key=record.key,
        submission=record.submission,
        digest="",
        base=record.base,
        fence=record.fence,
        status=record.status,
        n=record.n,
        question=record.question,
        text=record.text or "",
        sources=record.sources,
        usage=record.usage,
        hops=record.hops,
        fault=record.fault,
        marks=record.marks,
    )


def no_record() -> None:
    """The generation worker itself tells the end of the turn: no record is published, no row is closed."""
    from parley_runtime.work.envelope import terminal_of
    from parley_runtime.work.exits import Exits
    from parley_runtime.work.stamp import stamp

    forward = Exits.forward

    async def told(self: Exits, run: Any, job: Any) -> str:
        if not isinstance(job, Record):
            return await forward(self, run, job)
        run.leaving = True
        run.output.finish()
        self._desk.sink.touch(run.feed, urgent=True)
        record = stamp(run, job, self._desk.clock.monotonic())
        assert isinstance(record, Record)
        row = _row(record)
        self._desk.sink.emit(record.reply_to, record.key, row.fence, terminal_of(row), urgent=True)
        await run.lease.ack()
        return "done"

    swap(Exits, forward=told)


VARIANTS: dict[str, Variant] = {
    "confirms": Variant("publisher confirms: a publish may vanish unseen", no_confirms),
    "quorum": Variant("quorum queues: durable classic queues instead", classic_queues),
    "durable": Variant("durability: classic queues, nothing on the broker's disk", transient_messages),
    "store": Variant("the store: claims and records that reach no disk", no_store),
    "record": Variant("the record: the worker tells the end, nothing is stored", no_record),
}
