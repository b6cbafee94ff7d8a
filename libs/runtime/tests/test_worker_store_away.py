"""A store that is away costs time, never a turn: deliveries are held, then left to others, and no try is used up."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from parley_protocol.events import TurnStatus
from parley_protocol.routes import Stage, topology
from parley_protocol.work import ChatMessage, Generate, Record, Retrieve
from parley_runtime.errors import StoreAway
from parley_runtime.ports import Delivery
from parley_runtime.stage import Run, StageSpec, following
from parley_runtime.store import StoreOptions, open_store
from parley_runtime.store.ports import Store
from parley_runtime.telemetry import metrics, names
from parley_runtime.work import consumer
from parley_runtime.work.options import Claim, WorkerOptions
from parley_testkit.house import KEY, Door, House, Script, first_stage, other, prompt, question, scripted
from parley_testkit.postgres import PostgresServer
from parley_testkit.turns import Collector

unit = pytest.mark.unit
LATER = WorkerOptions(store_hold_s=0.1)


class Away(Collector):
    """A real store that can be away. ``full``: for writing only."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.away = self.full = False
        self.refused = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            if self.away or (self.full and name.startswith("claim_")):
                self.refused += 1
                self.changed()
                raise StoreAway("the disk is full; free some space")
            return await method(*arguments, **named)

        return call


@asynccontextmanager
async def away(house: House) -> AsyncIterator[Away]:
    """Workers made in the block use a store that may be away; it comes back at the end."""
    working, gone = house.store, Away(house.store)
    house.store = cast(Store, gone)
    yield gone
    gone.away = gone.full = False
    house.store = working


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that was left is taken again soon."""
    monkeypatch.setattr(consumer, "BACK_OFF_S", (0.02, 0.1))


@unit
@pytest.mark.parametrize("claim", Claim)
async def test_a_delivery_is_held_and_goes_on_without_a_try(house: House, claim: Claim) -> None:
    records = await house.tap(Stage.RECORD)
    retries = await house.tap("parley.retry.0")
    door = Door()
    door.open.set()
    async with away(house) as store:
        worker = await house.worker(
            first_stage(door), scripted(Script("Hello", permits=9)), options=WorkerOptions(claim=claim)
        )
        store.away = True
        await house.gateway.publish(question())
        await store.until(lambda: store.refused > 3)
        assert worker.check() == "the disk is full; free some space"
        store.away = False
        result = await records.next()
        assert (result.key, result.tries, result.base) == (KEY, 0, 1)
        assert isinstance(result, Record)
        assert result.text == "Hello"
        assert worker.check() is None
    assert retries.jobs == []


@unit
async def test_a_process_without_its_store_leaves_the_work_to_others_and_comes_back(house: House, quick: None) -> None:
    jobs = await house.tap(Stage.GENERATE)
    lame = Door()
    lame.open.set()
    async with away(house) as store:
        worker = await house.worker(first_stage(lame), name="lame", options=LATER)
        store.away = True
        await house.gateway.publish(question())
        await store.until(lambda: worker.check() is not None and house.broker.messages("parley.retrieve") != ())
        door = Door()
        door.open.set()
        healthy, house.store = house.store, store.store
        other_worker = await house.worker(first_stage(door), name="healthy")
        house.store = healthy
        job = await jobs.next()
        assert (job.key, job.base, job.tries) == (KEY, 1, 0)
        assert not lame.entered.is_set()
        assert worker.check() is not None
        await other_worker.drain(5)
        store.away = False
        await house.gateway.publish(question(key=other()))
        assert (await jobs.next(2)).key == other()
        assert worker.check() is None


@unit
async def test_a_store_that_reads_but_does_not_write_is_left_alone_for_longer_each_time(
    house: House, quick: None
) -> None:
    jobs = await house.tap(Stage.GENERATE)
    door = Door()
    door.open.set()
    async with away(house) as store:
        await house.worker(first_stage(door), options=WorkerOptions(store_hold_s=0.05))
        store.full = True
        handed = metrics.value(names.JOBS, "retrieve", "handed_over")
        await house.gateway.publish(question(budget_s=20.0))
        await store.until(lambda: metrics.value(names.JOBS, "retrieve", "handed_over") >= handed + 3)
        store.full = False
        job = await jobs.next()
        assert (job.key, job.tries) == (KEY, 0)


@unit
async def test_a_stage_is_taken_again_after_a_defect_too(house: House, quick: None) -> None:
    """Nothing but this task would ever consume again."""
    defects = [RuntimeError("nobody foresaw this")]
    taken: asyncio.Queue[Delivery] = asyncio.Queue()

    async def answers() -> None:
        if defects:
            raise defects.pop()

    [queue] = [queue for queue in topology().queues if queue.name == "parley.retrieve"]
    stage = consumer.StageConsumer(
        house.broker.process("w1"), queue, taken.put_nowait, stage="retrieve", prefetch=1, answers=answers
    )
    await stage.start()
    try:
        await house.gateway.publish(question())
        assert not (await asyncio.wait_for(taken.get(), 30)).redelivered
        stage.pause("the store is away", again=False)
        assert (await asyncio.wait_for(taken.get(), 30)).redelivered
        assert (stage.consuming, defects) == (True, [])
    finally:
        await stage.close()


@unit
async def test_a_later_stage_goes_on_with_first_deliveries(house: House) -> None:
    await house.claim()
    records = await house.tap(Stage.RECORD)
    async with away(house) as store:
        worker = await house.worker(scripted(Script("Hello", permits=99), seats=2), options=LATER)
        store.away = True
        await house.gateway.publish(prompt(again=True))
        await store.until(lambda: store.refused > 0)
        await house.gateway.publish(prompt(key=other()))
        assert (await records.next()).key == other()
        assert worker.check() is not None
        store.away = False
        assert (await records.next(2)).key == KEY


@unit
async def test_a_later_stage_that_holds_nothing_does_not_pass_a_job_round_and_round(house: House) -> None:
    """It goes on consuming, so what it gives up comes straight back."""
    await house.claim()
    records = await house.tap(Stage.RECORD)
    async with away(house) as store:
        await house.worker(
            scripted(Script("Hello", permits=99), seats=1), options=WorkerOptions(store_hold_s=0.0, end_wait_s=0.0)
        )
        store.away = True
        handed = metrics.value(names.JOBS, "generate", "handed_over")
        await house.gateway.publish(prompt(again=True, budget_s=0.6))
        result = await records.next()
        assert isinstance(result, Record)
        assert result.status is TurnStatus.EXPIRED
        assert metrics.value(names.JOBS, "generate", "handed_over") == handed
        assert store.refused < 10


@unit
async def test_past_the_deadline_the_turn_expires(house: House) -> None:
    records = await house.tap(Stage.RECORD)
    async with away(house) as store:
        await house.worker(first_stage(Door()))
        store.away = True
        await house.gateway.publish(question(budget_s=0.3))
        result = await records.next()
        assert isinstance(result, Record)
        assert (result.status, result.forced, result.text) == (TurnStatus.EXPIRED, True, None)


@unit
async def test_a_drain_waits_for_no_store(house: House) -> None:
    async with away(house) as store:
        worker = await house.worker(first_stage(Door()))
        store.away = True
        await house.gateway.publish(question())
        await store.until(lambda: store.refused > 0)
        async with asyncio.timeout(30):
            await worker.drain(600.0)
        assert len(house.broker.messages("parley.retrieve")) == 1
        store.away = False
        await house.store.ping()
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "retrieve returns"]


@unit
async def test_a_handler_that_needs_the_store_is_tried_as_often_as_it_takes(house: House) -> None:
    retries = await house.tap("parley.retry.0")
    records = await house.tap(Stage.RECORD)

    async def handler(run: Run[Retrieve]) -> Generate:
        await house.store.conversation("default", "s1", limit=1)
        return following(run, [ChatMessage("user", "Who?")])

    async with away(house) as store:
        await house.worker(StageSpec(Stage.RETRIEVE, Retrieve, 1, handler, first=True))
        claim_first = store.store.claim_first
        store.away = True
        object.__setattr__(store, "claim_first", claim_first)
        object.__setattr__(store, "rows", store.store.rows)
        await house.gateway.publish(question(tries=3, again=True))
        job = await retries.next()
        assert (job.tries, job.again) == (3, True)
    assert records.jobs == []


@unit
async def test_a_locked_sqlite_file_holds_questions_back(house: House, tmp_path: Path) -> None:
    jobs = await house.tap(Stage.GENERATE)
    working = house.store
    house.store = await open_store(f"sqlite+aiosqlite:///{tmp_path}/parley.db", StoreOptions(timeout_s=0.05))
    lock = sqlite3.connect(tmp_path / "parley.db", isolation_level=None)
    try:
        door = Door()
        door.open.set()
        worker = await house.worker(first_stage(door))
        lock.execute("BEGIN IMMEDIATE")
        await house.gateway.publish(question())
        async with asyncio.timeout(30):
            while worker.check() is None:
                await house.store.ping()
        assert "locked" in (worker.check() or "")
        lock.execute("ROLLBACK")
        job = await jobs.next()
        assert (job.base, job.tries) == (1, 0)
        await worker.drain(5)
    finally:
        lock.close()
        slow, house.store = house.store, working
        await slow.aclose()


@pytest.mark.postgres
async def test_a_stopped_postgres_holds_questions_back(
    house: House, postgres_server: PostgresServer, postgres_url: str
) -> None:
    jobs = await house.tap(Stage.GENERATE)
    working, house.store = house.store, await open_store(postgres_url, StoreOptions(timeout_s=2))
    try:
        door = Door()
        door.open.set()
        worker = await house.worker(first_stage(door))
        await asyncio.to_thread(postgres_server.stop)
        try:
            await house.gateway.publish(question())
            async with asyncio.timeout(30):
                while worker.check() is None:
                    await working.ping()
        finally:
            await asyncio.to_thread(postgres_server.start)
        job = await jobs.next(limit_s=60)
        assert (job.base, job.tries) == (1, 0)
        await worker.drain(5)
    finally:
        gone, house.store = house.store, working
        await gone.aclose()
