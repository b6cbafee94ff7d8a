"""Done means stored: what the recorder commits, tells and acknowledges, and what it does while the store is away."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from parley_protocol.codec import pack, unpack_gateway
from parley_protocol.events import Batch, Fault, Hop, Source, Terminal, TurnEvents, TurnStatus, Usage
from parley_protocol.ids import TurnKey
from parley_protocol.routes import DEAD_QUEUE, WORK, Stage, event_queue, stage_queue, topology
from parley_protocol.work import Generate, Record
from parley_rag.intake import IntakeOptions
from parley_rag.recorder import Recorder
from parley_runtime.errors import Invalid, Unavailable
from parley_runtime.ports import Delivery, Link, Message
from parley_runtime.sink import EventSink
from parley_runtime.store import open_store
from parley_runtime.store.ports import Claimed, Closing, Store, Stored
from parley_runtime.telemetry import names
from parley_runtime.telemetry.metrics import value
from parley_testkit.memory import MemoryBroker

pytestmark = pytest.mark.unit
QUEUE = stage_queue(Stage.RECORD)
LIMIT_S = 30.0


def key(turn: str) -> TurnKey:
    return TurnKey("acme", "s", turn)


def record(turn: str = "t", **fields: object) -> Record:
    base = Record(
        key=key(turn),
        submission="sub",
        budget_s=9.0,
        base=1,
        fence=1,
        n=3,
        reply_to=("gw",),
        hops=(Hop("generate", 0.1, 2.0),),
        status=TurnStatus.COMPLETED,
        text="Yes.",
        sources=(Source("p", "a.md", "T", 1.0, "x", 0, 1),),
        usage=Usage(1, 2),
    )
    return replace(base, **fields)


class Flaky:
    """A real store whose closings can fail, or commit and then hang as a process does that is about to be killed."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.error: Exception | None = None
        self.failed = asyncio.Event()
        self.hang = False
        self.committed = asyncio.Event()
        self.most = 0
        self._now = 0

    async def close(self, closing: Record) -> Closing:
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            if self.error is not None:
                self.failed.set()
                raise self.error
            result = await self.store.close(closing)
            self.committed.set()
            if self.hang:
                await asyncio.Event().wait()
            return result
        finally:
            self._now -= 1


class Gateway:
    """Hears events as a gateway does."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._process = broker.process("gw")
        self.turns: asyncio.Queue[TurnEvents] = asyncio.Queue()

    async def start(self) -> None:
        link = await self._process.open("events")
        subscription = await link.subscribe(lambda: event_queue("gw", "1"), self._take, prefetch=100)
        await subscription.wait_consuming(LIMIT_S)

    def _take(self, delivery: Delivery) -> None:
        batch = unpack_gateway(delivery.body)
        assert isinstance(batch, Batch)
        for turn in batch.turns:
            self.turns.put_nowait(turn)

    async def next(self) -> tuple[TurnEvents, Terminal]:
        turn = await asyncio.wait_for(self.turns.get(), LIMIT_S)
        [event] = turn.events
        assert isinstance(event, Terminal)
        return turn, event


class House:
    """One broker, one store, one gateway, and recorders as separate processes."""

    def __init__(self, broker: MemoryBroker, store: Store, gateway: Gateway, link: Link) -> None:
        self.broker, self.store, self.gateway, self.link = broker, store, gateway, link
        self._closing: list[Callable[[], object]] = []

    async def recorder(self, name: str, store: object = None, **options: object) -> Recorder:
        process = self.broker.process(name)
        sink = await EventSink.open(process, sender=name)
        made = Recorder(process, store or self.store, sink, IntakeOptions(**options))  # type: ignore[arg-type]  # numbers of either kind
        await made.start()
        self._closing += [sink.aclose, made.aclose]
        return made

    async def put(self, *records: Record) -> None:
        for one in records:
            await self.link.publish(WORK, Stage.RECORD.value, Message(pack(one)))

    async def claim(self, turn: str = "t") -> None:
        claimed = await self.store.claim_first(key(turn), submission="sub", digest="d", question="Why?")
        assert isinstance(claimed, Claimed)

    async def told(self, turn: str) -> Terminal:
        while True:
            events, terminal = await self.gateway.next()
            if events.key == key(turn):
                return terminal

    async def aclose(self) -> None:
        while self._closing:
            await self._closing.pop()()  # type: ignore[misc]  # callbacks that return awaitables


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    broker = MemoryBroker(topology())
    store = await open_store(f"sqlite+aiosqlite:///{tmp_path}/p.db")
    gateway = Gateway(broker)
    await gateway.start()
    made = House(broker, store, gateway, await broker.process("test").open("publish"))
    yield made
    await made.aclose()
    await broker.close()
    await store.aclose()


async def test_a_record_is_stored_told_and_acknowledged(house: House) -> None:
    await house.claim()
    recorder = await house.recorder("rag-1")
    before = value(names.RECORDS, "stored")
    await house.put(record())
    turn, terminal = await house.gateway.next()
    [row] = await house.store.rows([key("t")])
    assert (row.status, row.text) == (TurnStatus.COMPLETED, "Yes.")
    assert (turn.key, turn.fence, turn.sender) == (key("t"), 1, "rag-1")
    assert (terminal.status, terminal.text, terminal.n) == (TurnStatus.COMPLETED, "Yes.", 3)
    assert (terminal.sources, terminal.usage, terminal.hops) == (row.sources, Usage(1, 2), (Hop("generate", 0.1, 2.0),))
    assert value(names.RECORDS, "stored") == before + 1
    assert recorder.check() is None
    await recorder.drain(LIMIT_S)
    house.broker.kill("rag-1")
    assert house.broker.messages(QUEUE) == ()


async def test_a_late_record_is_answered_from_the_row(house: House) -> None:
    await house.claim()
    await house.recorder("rag-1")
    await house.put(record())
    await house.told("t")
    late = record(text="No!", status=TurnStatus.FAILED, fault=Fault("failed", "x"), forced=True, fence=9)
    await house.put(late)
    turn, terminal = await house.gateway.next()
    assert (terminal.status, terminal.text, terminal.fault, turn.fence) == (TurnStatus.COMPLETED, "Yes.", None, 1)


async def test_a_superseded_record_is_dropped_without_a_word(house: House) -> None:
    await house.claim()
    await house.store.claim_later(key("t"), base=1)
    await house.claim("next")
    recorder = await house.recorder("rag-1")
    wasted = value(names.WASTED, "generate", "record")
    await house.put(record(fence=1), record("next"))
    turn, _ = await house.gateway.next()
    assert turn.key == key("next")
    await recorder.drain(LIMIT_S)
    assert (await house.store.rows([key("t")]))[0].status is TurnStatus.OPEN
    assert value(names.WASTED, "generate", "record") == wasted + 1
    house.broker.kill("rag-1")
    assert house.broker.messages(QUEUE) == ()


async def test_the_end_of_another_submission_is_dropped_without_a_word(house: House) -> None:
    """It spoke for nothing that is at work, so nothing was wasted either."""
    await house.claim()
    await house.claim("next")
    recorder = await house.recorder("rag-1")
    wasted = value(names.WASTED, "record", "record")
    late = record(submission="second", status=TurnStatus.EXPIRED, text=None, hops=(), forced=True, own=True)
    await house.put(late, record("next"))
    turn, _ = await house.gateway.next()
    assert turn.key == key("next")
    await recorder.drain(LIMIT_S)
    assert (await house.store.rows([key("t")]))[0].status is TurnStatus.OPEN
    assert value(names.WASTED, "record", "record") == wasted


@pytest.mark.parametrize(
    "body",
    [b"\xc1 not a record", pack(Generate(key=key("t"), submission="s", budget_s=1.0, prompt=()))],
    ids=["garbage", "another job"],
)
async def test_what_is_no_record_is_dead_lettered(house: House, body: bytes) -> None:
    await house.claim()
    await house.recorder("rag-1")
    before = value(names.UNDECODABLE, "record")
    await house.link.publish(WORK, Stage.RECORD.value, Message(body))
    await house.put(record())
    await house.told("t")
    assert house.broker.messages(DEAD_QUEUE) == (body,)
    assert value(names.UNDECODABLE, "record") == before + 1


async def test_a_record_that_no_store_takes_is_dead_lettered(house: House) -> None:
    store = Flaky(house.store)
    store.error = Invalid("a value")
    recorder = await house.recorder("rag-1", store)
    await house.put(record())
    await asyncio.wait_for(store.failed.wait(), LIMIT_S)
    await recorder.drain(LIMIT_S)
    assert house.broker.messages(DEAD_QUEUE) == (pack(record()),)


async def test_while_the_store_is_away_records_wait(house: House) -> None:
    for turn in ("t", "u", "v"):
        await house.claim(turn)
    store = Flaky(house.store)
    store.error = Unavailable("the disk is full")
    recorder = await house.recorder("rag-1", store, records=2)
    await house.put(record(), record("u"), record("v"))
    await asyncio.wait_for(store.failed.wait(), LIMIT_S)
    assert recorder.check() == "the disk is full"
    assert store.most <= 2
    store.error = None
    ended = {(await house.gateway.next())[0].key.turn for _ in range(3)}
    assert ended == {"t", "u", "v"}
    assert recorder.check() is None
    assert house.broker.messages(DEAD_QUEUE) == ()
    await recorder.drain(LIMIT_S)
    house.broker.kill("rag-1")
    assert house.broker.messages(QUEUE) == ()


async def test_a_process_without_its_store_gives_its_records_to_another(house: House) -> None:
    await house.claim()
    store = Flaky(house.store)
    store.error = Unavailable("its disk is full")
    lame = await house.recorder("rag-1", store, hold_s=0)
    await house.put(record())
    await asyncio.wait_for(store.failed.wait(), LIMIT_S)
    await house.recorder("rag-2")
    turn, terminal = await house.gateway.next()
    assert (turn.sender, terminal.text) == ("rag-2", "Yes.")
    assert lame.check() == "its disk is full"
    store.error = None
    await house.recorder("rag-2")
    house.broker.kill("rag-2")
    await house.claim("u")
    await house.put(record("u"))
    assert (await house.told("u")).text == "Yes."
    assert lame.check() is None


async def test_killed_between_commit_and_news_the_next_one_tells_it(house: House) -> None:
    await house.claim()
    store = Flaky(house.store)
    store.hang = True
    await house.recorder("rag-1", store)
    await house.put(record())
    await asyncio.wait_for(store.committed.wait(), LIMIT_S)
    house.broker.kill("rag-1")
    await house.recorder("rag-2")
    turn, terminal = await house.gateway.next()
    assert (turn.sender, terminal.text) == ("rag-2", "Yes.")


async def test_news_for_a_gateway_that_is_gone_costs_nothing(house: House) -> None:
    await house.claim()
    recorder = await house.recorder("rag-1")
    await house.put(record(reply_to=("gone",)), record(reply_to=("gone", "gw")))
    assert (await house.told("t")).text == "Yes."
    await recorder.drain(LIMIT_S)
    house.broker.kill("rag-1")
    assert house.broker.messages(QUEUE) == ()


async def test_no_more_records_are_in_hand_than_allowed(house: House) -> None:
    for i in range(30):
        await house.claim(str(i))
    await house.put(*(record(str(i)) for i in range(30)))
    store = Flaky(house.store)
    await house.recorder("rag-1", store, records=4)
    ended = {(await house.gateway.next())[0].key.turn for _ in range(30)}
    assert ended == {str(i) for i in range(30)}
    assert 1 < store.most <= 4


async def test_a_broker_restart_loses_no_record(house: House) -> None:
    for i in range(10):
        await house.claim(str(i))
    recorder = await house.recorder("rag-1")
    await house.put(*(record(str(i)) for i in range(10)))
    house.broker.restart()
    while {row.status for row in await house.store.rows([key(str(i)) for i in range(10)])} != {TurnStatus.COMPLETED}:
        await asyncio.wait_for(house.store.ping(), LIMIT_S)
    await recorder.drain(LIMIT_S)


async def test_drain_finishes_what_is_in_hand_and_leaves_the_rest(house: House) -> None:
    await house.claim()
    await house.claim("u")
    store = Flaky(house.store)
    recorder = await house.recorder("rag-1", store)
    await house.put(record())
    await asyncio.wait_for(store.committed.wait(), LIMIT_S)
    await recorder.drain(LIMIT_S)
    assert recorder.check() is not None
    await house.put(record("u"))
    assert house.broker.messages(QUEUE) == (pack(record("u")),)
    again = await house.store.close(record("u", text="direct"))
    assert isinstance(again, Stored)
