"""What becomes of messages that nobody else answers for."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parley_protocol.codec import pack, unpack_gateway, unpack_job
from parley_protocol.events import Marks, Reply, Retrieval, Source, TurnStatus
from parley_protocol.ids import TurnKey
from parley_protocol.routes import DEAD, DEAD_QUEUE, WORK, QueueSpec, Stage, event_queue, stage_queue, topology
from parley_protocol.work import DeadInfo, DeleteDocument, Generate, Record, Retrieve
from parley_rag.intake import IntakeOptions
from parley_rag.parker import Parker
from parley_runtime.errors import Unavailable
from parley_runtime.ports import Delivery, Link, Message
from parley_runtime.store import open_store
from parley_runtime.store.ports import AlreadyClosed, Store, Stored, Superseded
from parley_runtime.telemetry import names
from parley_runtime.telemetry.metrics import value
from parley_testkit.memory import MemoryBroker

pytestmark = pytest.mark.unit
LIMIT_S = 30.0
KEY = TurnKey("acme", "s", "t")
SOURCES = (Source("p", "a.md", "T", 1.0, "x", 0, 1),)
RETRIEVE = Retrieve(
    key=KEY, submission="sub", budget_s=9.0, digest="d", question="Why?", reply_to=("gw",), tries=2, sent_at=1.0
)
GENERATE = Generate(
    key=KEY,
    submission="sub",
    budget_s=9.0,
    base=2,
    fence=3,
    n=4,
    marks=Marks("generating", "", Retrieval(1, "question", "kb", SOURCES)),
    prompt=(),
    reply_to=("gw",),
)


class Gateways:
    """What gateways say they have delivered, and the (turn, fence) they were asked for."""

    def __init__(self, text: str | None = None) -> None:
        self.text = text
        self.asked: list[tuple[TurnKey, int]] = []

    async def __call__(self, key: TurnKey, fence: int) -> str | None:
        self.asked.append((key, fence))
        return self.text


class House:
    """One broker, one store, a parker, and readers of the queues beside it."""

    def __init__(self, broker: MemoryBroker, store: Store, link: Link) -> None:
        self.broker, self.store, self.link = broker, store, link
        self.gateways = Gateways()

    async def read(self, queue: QueueSpec) -> "asyncio.Queue[Delivery]":
        arrived: asyncio.Queue[Delivery] = asyncio.Queue()
        link = await self.broker.process(f"reader of {queue.name}").open("read")
        subscription = await link.subscribe(lambda: queue, arrived.put_nowait, prefetch=100)
        await subscription.wait_consuming(LIMIT_S)
        return arrived

    async def records(self) -> "asyncio.Queue[Delivery]":
        return await self.read(topology().queue(stage_queue(Stage.RECORD)))

    async def rejected(self, stage: Stage, body: bytes) -> None:
        arrived = await self.read(topology().queue(stage_queue(stage)))
        await self.link.publish(WORK, stage.value, Message(body))
        await (await asyncio.wait_for(arrived.get(), LIMIT_S)).reject()

    async def parker(self, store: Any = None, **options: Any) -> Parker:
        broker = self.broker.process("rag")
        made = Parker(broker, store or self.store, self.link, self.gateways, IntakeOptions(**options))
        await made.start()
        return made


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    broker = MemoryBroker(topology())
    store = await open_store(f"sqlite+aiosqlite:///{tmp_path}/p.db")
    yield House(broker, store, await broker.process("test").open("publish"))
    await broker.close()
    await store.aclose()


async def taken(arrived: "asyncio.Queue[Delivery]") -> Record:
    record = unpack_job((await asyncio.wait_for(arrived.get(), LIMIT_S)).body)
    assert isinstance(record, Record)
    return record


async def settled(house: House, parker: Parker) -> None:
    """Everything in the dead-letter queue is served, and acknowledged."""
    depth = await house.link.depth(DEAD_QUEUE)
    while depth is not None and depth[0]:
        await house.store.ping()
        depth = await house.link.depth(DEAD_QUEUE)
    await parker.drain(LIMIT_S)
    await parker.aclose()
    house.broker.kill("rag")
    assert house.broker.messages(DEAD_QUEUE) == ()


async def test_a_turn_that_waited_too_long_expires(house: House) -> None:
    records = await house.records()
    parker = await house.parker()
    before = value(names.DEAD_LETTERS, "parley.retrieve", "expired")
    await house.link.publish(WORK, "retrieve", Message(pack(RETRIEVE), expires_s=0.01))
    record = await taken(records)
    assert (record.key, record.status, record.forced, record.text) == (KEY, TurnStatus.EXPIRED, True, None)
    assert (record.question, record.reply_to) == ("Why?", ("gw",))
    assert record.fault is not None
    assert (record.fault.code, record.fault.retryable) == ("expired", True)
    await settled(house, parker)
    assert await house.store.dead() == []
    assert value(names.DEAD_LETTERS, "parley.retrieve", "expired") == before + 1
    assert isinstance(await house.store.close(record), Stored)
    again = await house.store.claim_first(KEY, submission="sub", digest="d", question="Why?")
    assert isinstance(again, AlreadyClosed)


async def test_a_turn_that_had_spoken_ends_with_what_was_delivered(house: House) -> None:
    """A worker died in mid-answer, and the time ran out before another one took the job: a reread must say the same
    as the client was told.
    """
    house.gateways.text = "Because "
    records = await house.records()
    parker = await house.parker()
    await house.link.publish(WORK, "generate", Message(pack(GENERATE), expires_s=0.01))
    record = await taken(records)
    assert (record.status, record.forced, record.text) == (TurnStatus.EXPIRED, True, "Because ")
    assert house.gateways.asked == [(KEY, 3)]
    closing = await house.store.close(record)
    assert isinstance(closing, Stored)
    assert closing.row.text == "Because "
    await settled(house, parker)


async def test_a_rejected_job_fails_its_turn_and_is_kept(house: House) -> None:
    records = await house.records()
    parker = await house.parker()
    await house.rejected(Stage.GENERATE, pack(GENERATE))
    record = await taken(records)
    assert (record.status, record.forced, record.base, record.fence, record.n) == (TurnStatus.FAILED, True, 2, 3, 4)
    assert (record.sources, record.marks) == (SOURCES, GENERATE.marks)
    assert record.fault is not None
    assert (record.fault.code, "parley dead" in record.fault.message) == ("failed", True)
    await settled(house, parker)
    [kept] = await house.store.dead()
    assert (kept.queue, kept.reason, kept.turn, kept.session) == ("parley.generate", "rejected", "t", "s")
    assert kept.parked_at.endswith("Z")
    assert (await house.store.dead(id=kept.id))[0].body == pack(GENERATE)


async def test_what_cannot_be_decoded_still_ends_its_turn(house: House) -> None:
    """A job of a version to come: its key can be read, its kind cannot."""
    body = msgspec.msgpack.encode(
        {"kind": "dream", "key": ["acme", "s", "t"], "submission": "sub", "reply_to": ["gw"], "fence": 2, "new": 1}
    )
    records = await house.records()
    parker = await house.parker()
    await house.rejected(Stage.RETRIEVE, body)
    record = await taken(records)
    assert (record.key, record.status, record.reply_to, record.fence) == (KEY, TurnStatus.FAILED, ("gw",), 2)
    await settled(house, parker)
    [kept] = await house.store.dead()
    assert (kept.turn, kept.session, kept.reason) == ("t", "s", "rejected")


async def other_at_work(house: House) -> None:
    """The turn came to two gateways: another submission holds the row, and its job is alive."""
    await house.store.claim_first(KEY, submission="other", digest="d", question="Why?")


async def test_a_submission_that_waited_too_long_does_not_end_the_one_at_work(house: House) -> None:
    await other_at_work(house)
    records = await house.records()
    parker = await house.parker()
    await house.link.publish(WORK, "retrieve", Message(pack(RETRIEVE), expires_s=0.01))
    assert await house.store.close(await taken(records)) == Superseded()
    await settled(house, parker)
    [row] = await house.store.rows([KEY])
    assert (row.status, row.submission) == (TurnStatus.OPEN, "other")


@pytest.mark.parametrize("stage", [Stage.RETRIEVE, Stage.GENERATE])
async def test_a_poisoned_submission_is_kept_and_the_one_at_work_goes_on(house: House, stage: Stage) -> None:
    await other_at_work(house)
    records = await house.records()
    parker = await house.parker()
    await house.rejected(stage, pack(RETRIEVE if stage is Stage.RETRIEVE else GENERATE))
    assert await house.store.close(await taken(records)) == Superseded()
    await settled(house, parker)
    [kept] = await house.store.dead()
    assert (kept.reason, kept.turn) == ("rejected", "t")
    assert [row.status for row in await house.store.rows([KEY])] == [TurnStatus.OPEN]


async def test_a_dead_copy_of_the_submission_at_work_ends_its_turn(house: House) -> None:
    """Whatever its base: once its time is over, it may be all that stands for the turn."""
    for _ in range(3):
        await house.store.claim_first(KEY, submission="sub", digest="d", question="Why?")
    records = await house.records()
    parker = await house.parker()
    await house.link.publish(WORK, "generate", Message(pack(GENERATE), expires_s=0.01))
    closing = await house.store.close(await taken(records))
    assert isinstance(closing, Stored)
    assert (closing.row.status, closing.row.base, closing.row.fence) == (TurnStatus.EXPIRED, 3, 3)
    await settled(house, parker)


@pytest.mark.parametrize(("named", "ends"), [({"submission": "sub"}, False), ({}, True)])
async def test_what_cannot_be_decoded_ends_another_submission_only_where_its_own_is_unknown(
    house: House, named: dict[str, str], ends: bool
) -> None:
    await other_at_work(house)
    records = await house.records()
    parker = await house.parker()
    await house.rejected(Stage.RETRIEVE, msgspec.msgpack.encode({"kind": "dream", "key": ["acme", "s", "t"], **named}))
    assert isinstance(await house.store.close(await taken(records)), Stored) is ends
    await settled(house, parker)


async def test_garbage_is_kept_with_its_cause(house: House) -> None:
    records = await house.records()
    parker = await house.parker()
    before = value(names.DEAD_LETTERS, "parley.retrieve", "rejected")
    await house.rejected(Stage.RETRIEVE, b"\xc1garbage")
    await settled(house, parker)
    [kept] = await house.store.dead()
    assert (kept.turn, kept.queue) == ("", "parley.retrieve")
    assert "cannot be decoded" in kept.cause
    assert (await house.store.dead(id=kept.id))[0].body == b"\xc1garbage"
    assert value(names.DEAD_LETTERS, "parley.retrieve", "rejected") == before + 1
    assert records.empty()


async def test_a_job_that_kept_failing_has_its_record_already(house: House) -> None:
    records = await house.records()
    parker = await house.parker()
    headers = {"parley-reason": "exhausted", "parley-cause": "engine_failed: gone", "parley-queue": "parley.generate"}
    await house.link.publish(DEAD, "", Message(pack(GENERATE), headers))
    await settled(house, parker)
    [kept] = await house.store.dead()
    assert (kept.queue, kept.reason, kept.cause) == ("parley.generate", "exhausted", "engine_failed: gone")
    assert records.empty()


async def test_a_trip_through_the_ladder_is_no_expiry(house: House) -> None:
    """The ladder delays by letting messages expire: only the last death counts."""
    records = await house.records()
    parker = await house.parker()
    generate = await house.read(topology().queue(stage_queue(Stage.GENERATE)))
    await house.link.publish("parley.retry.0", "generate", Message(pack(GENERATE)))
    back = await asyncio.wait_for(generate.get(), LIMIT_S)
    assert back.death == ("expired", "parley.retry.0")
    await back.reject()
    assert (await taken(records)).status is TurnStatus.FAILED
    await settled(house, parker)
    assert [kept.queue for kept in await house.store.dead()] == ["parley.generate"]


async def test_a_refused_record_is_answered_once(house: House) -> None:
    house.gateways.text = "x"  # what no store takes, it may be
    parker = await house.parker()
    refused = Record(key=KEY, submission="s", budget_s=0.0, status=TurnStatus.COMPLETED, text="x", reply_to=("gw",))
    records = await house.records()
    await house.link.publish(WORK, "record", Message(pack(refused)))
    await (await asyncio.wait_for(records.get(), LIMIT_S)).reject()
    last = await asyncio.wait_for(records.get(), LIMIT_S)
    record = unpack_job(last.body)
    assert isinstance(record, Record)
    assert (record.status, record.forced, record.text) == (TurnStatus.FAILED, True, None)
    await last.reject()
    await settled(house, parker)
    assert records.empty()
    assert [kept.queue for kept in await house.store.dead()] == ["parley.record", "parley.record"]


async def test_a_dead_command_gets_its_reply(house: House) -> None:
    gateway = await house.read(event_queue("gw", "1"))
    parker = await house.parker()
    command = DeleteDocument(call="c1", reply_to="gw", tenant="acme", kb="kb", path="a.md")
    await house.rejected(Stage.KNOWLEDGE, pack(command))
    reply = unpack_gateway((await asyncio.wait_for(gateway.get(), LIMIT_S)).body)
    assert isinstance(reply, Reply)
    assert reply.fault is not None
    assert (reply.call, reply.fault.code) == ("c1", "failed")
    await settled(house, parker)
    [kept] = await house.store.dead()
    assert (kept.queue, kept.turn) == ("parley.knowledge", "")


async def test_a_late_command_gets_its_reply_and_is_not_kept(house: House) -> None:
    gateway = await house.read(event_queue("gw", "1"))
    parker = await house.parker()
    command = DeleteDocument(call="c2", reply_to="gw", tenant="acme", kb="kb", path="a.md")
    await house.link.publish(WORK, "knowledge", Message(pack(command), expires_s=0.01))
    reply = unpack_gateway((await asyncio.wait_for(gateway.get(), LIMIT_S)).body)
    assert isinstance(reply, Reply)
    assert reply.fault is not None
    assert (reply.call, reply.fault.code) == ("c2", "expired")
    await settled(house, parker)
    assert await house.store.dead() == []


class Away:
    """A store that cannot be reached for a while."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.away = True
        self.asked = asyncio.Event()

    async def park(self, dead: DeadInfo) -> None:
        self.asked.set()
        if self.away:
            raise Unavailable("the store is away")
        await self.store.park(dead)


async def test_dead_letters_wait_for_the_store(house: House) -> None:
    store = Away(house.store)
    parker = await house.parker(store)
    await house.rejected(Stage.RETRIEVE, b"\xc1garbage")
    await asyncio.wait_for(store.asked.wait(), LIMIT_S)
    assert parker.check() == "the store is away"
    assert await house.store.dead() == []
    store.away = False
    await parker.drain(LIMIT_S)
    assert len(await house.store.dead()) == 1
    await parker.aclose()
    house.broker.kill("rag")
    assert house.broker.messages(DEAD_QUEUE) == ()


async def test_killed_before_the_ack_a_letter_is_kept_once(house: House) -> None:
    store = Away(house.store)
    records = await house.records()
    parker = await house.parker(store, hold_s=600)
    await house.rejected(Stage.GENERATE, pack(GENERATE))
    first = await taken(records)
    await asyncio.wait_for(store.asked.wait(), LIMIT_S)
    house.broker.kill("rag")
    await parker.aclose()
    second = await house.parker()
    assert await taken(records) == first
    await settled(house, second)
    assert len(await house.store.dead()) == 1


async def test_the_record_waits_for_the_broker(house: House) -> None:
    """The parker holds the letter until its record is confirmed."""
    dead = House(house.broker, house.store, await house.broker.process("shut").open("publish"))
    await dead.link.close()
    parker = Parker(house.broker.process("rag"), house.store, dead.link, house.gateways)
    await parker.start()
    await house.rejected(Stage.GENERATE, pack(GENERATE))
    await parker.drain(0.2)
    await parker.aclose()
    assert house.broker.messages(DEAD_QUEUE) == (pack(GENERATE),)
    assert await house.store.dead() == []
