"""Turns that everybody has lost are ended, by this process's own watch alone."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from parley_protocol.codec import unpack_job
from parley_protocol.events import TurnStatus
from parley_protocol.ids import TurnKey
from parley_protocol.routes import Stage, stage_queue, topology
from parley_protocol.work import Record
from parley_rag.sweeper import TOGETHER, Sweeper, SweeperOptions
from parley_runtime.errors import Unavailable
from parley_runtime.store import open_store
from parley_runtime.store.ports import AlreadyClosed, Store, Stored
from parley_testkit.memory import MemoryBroker

pytestmark = pytest.mark.unit
KEY = TurnKey("acme", "s", "t")


class Watch:
    """A clock set by hand."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 0.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite+aiosqlite:///{tmp_path}/p.db")
    yield opened
    await opened.aclose()


@pytest.fixture
async def broker() -> AsyncIterator[MemoryBroker]:
    made = MemoryBroker(topology())
    yield made
    await made.close()


async def nobody(_key: TurnKey, _fence: int) -> None:
    """No gateway knows the turn."""


def options(**changes: float) -> SweeperOptions:
    # A negative age takes in rows of this very moment.
    return SweeperOptions(**{"every_s": -1, "budget_s": 100, "grace_s": 60, **changes})  # type: ignore[arg-type]  # numbers of either kind


async def claim(store: Store, turn: str = "t") -> None:
    await store.claim_first(TurnKey("acme", "s", turn), submission="a", digest="d", question="Why?")


async def test_a_row_is_ended_when_it_was_watched_open_for_too_long(store: Store, broker: MemoryBroker) -> None:
    await claim(store)
    await store.claim_later(KEY, base=1)
    clock = Watch()
    sweeper = Sweeper(store, await broker.process("rag").open("publish"), nobody, clock, options())
    assert await sweeper.sweep() == 0
    clock.now += 160
    assert await sweeper.sweep() == 0
    clock.now += 1
    assert await sweeper.sweep() == 1
    [body] = broker.messages(stage_queue(Stage.RECORD))
    record = unpack_job(body)
    assert isinstance(record, Record)
    assert (record.key, record.status, record.forced, record.text) == (KEY, TurnStatus.EXPIRED, True, None)
    assert record.fault is not None
    assert record.fault.code == "expired"
    stored = await store.close(record)
    assert isinstance(stored, Stored)
    assert stored.row.question == "Why?"
    assert await sweeper.sweep() == 0


async def test_each_lost_turn_ends_with_what_was_delivered_of_it(store: Store, broker: MemoryBroker) -> None:
    turns = [f"t{number}" for number in range(TOGETHER + 2)]
    for turn in turns:
        await claim(store, turn)
    await store.claim_later(TurnKey("acme", "s", "t1"), base=1)
    asked: dict[str, int] = {}

    async def delivered(key: TurnKey, fence: int) -> str | None:
        asked[key.turn] = fence
        return None if key.turn == "t2" else f"said in {key.turn}"

    clock = Watch()
    sweeper = Sweeper(store, await broker.process("rag").open("publish"), delivered, clock, options())
    await sweeper.sweep()
    clock.now += 161
    assert await sweeper.sweep() == len(turns)
    assert asked == {turn: 2 if turn == "t1" else 1 for turn in turns}
    records = [unpack_job(body) for body in broker.messages(stage_queue(Stage.RECORD))]
    found = {record.key.turn: record.text for record in records if isinstance(record, Record)}
    assert found == {turn: None if turn == "t2" else f"said in {turn}" for turn in turns}


async def test_time_before_it_was_seen_does_not_count(store: Store, broker: MemoryBroker) -> None:
    """A fresh process, or one whose wall clock jumped, ends nobody's turn."""
    await claim(store)
    clock = Watch()
    sweeper = Sweeper(store, await broker.process("rag").open("publish"), nobody, clock, options())
    clock.now += 100_000
    assert await sweeper.sweep() == 0


async def test_closed_rows_are_forgotten(store: Store, broker: MemoryBroker) -> None:
    await claim(store)
    clock = Watch()
    sweeper = Sweeper(store, await broker.process("rag").open("publish"), nobody, clock, options())
    assert await sweeper.sweep() == 0
    ended = Record(key=KEY, submission="a", budget_s=0.0, fence=1, status=TurnStatus.COMPLETED, text="x")
    assert isinstance(await store.close(ended), Stored)
    clock.now += 1000
    assert await sweeper.sweep() == 0
    assert isinstance(await store.close(ended), AlreadyClosed)


async def test_young_rows_are_not_even_looked_at(store: Store, broker: MemoryBroker) -> None:
    await claim(store)
    clock = Watch()
    sweeper = Sweeper(store, await broker.process("rag").open("publish"), nobody, clock, options(every_s=10))
    assert await sweeper.sweep() == 0
    clock.now += 1000
    assert await sweeper.sweep() == 0


async def test_a_broker_that_is_away_is_reported_and_tried_again(store: Store, broker: MemoryBroker) -> None:
    await claim(store)
    clock = Watch()
    link = await broker.process("rag").open("publish")
    sweeper = Sweeper(store, link, nobody, clock, options(budget_s=1, grace_s=0))
    assert await sweeper.sweep() == 0
    clock.now += 2
    await link.close()
    with pytest.raises(Unavailable):
        await sweeper.sweep()
    sweeper_again = Sweeper(
        store, await broker.process("rag-2").open("publish"), nobody, clock, options(budget_s=1, grace_s=0)
    )
    assert await sweeper_again.sweep() == 0
    clock.now += 2
    assert await sweeper_again.sweep() == 1
