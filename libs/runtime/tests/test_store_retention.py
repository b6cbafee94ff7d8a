"""What is removed for its age, and what never is, on SQLite and PostgreSQL alike."""

import time
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from parley_protocol.events import TurnStatus
from parley_protocol.ids import TurnKey
from parley_protocol.work import DeadInfo, DocumentInfo, Record
from parley_runtime.store import open_store
from parley_runtime.store.ports import Claimed, Store, StoredPassage

NOW = -60.0
"""An age that even rows of this moment have."""


def key(turn: str) -> TurnKey:
    return TurnKey("acme", "s", turn)


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = await open_store(store_url)
    yield opened
    await opened.aclose()


async def ended(store: Store, turn: str) -> None:
    await store.claim_first(key(turn), submission="a", digest="d", question="Why?")
    record = Record(key=key(turn), submission="a", budget_s=1, fence=1, status=TurnStatus.COMPLETED, text="So.")
    await store.close(record)


def letter(id: str) -> DeadInfo:
    return DeadInfo(id=id, queue="q", reason="rejected", cause="c", parked_at="2020-01-01T00:00:00.000Z", body=b"b")


async def aged(store: Store, sql: str) -> None:
    """Let time pass."""
    database = store._db
    await database.write(database.prepare(sa.text(sql)), {})


@pytest.mark.parametrize("off_s", [7200.0, -7200.0])
async def test_a_process_whose_clock_is_wrong_removes_nothing_early_and_nothing_late(
    store: Store, monkeypatch: pytest.MonkeyPatch, off_s: float
) -> None:
    """Writing with a wrong clock, looking with the right one, and the other way round."""
    right, wrong = time.time, time.time() + off_s
    for writes, looks in ((lambda: wrong, right), (right, lambda: wrong)):
        monkeypatch.setattr(time, "time", writes)
        await ended(store, "t")
        await store.park(letter("l"))
        info = DocumentInfo(path="a", title="a", digest="d", size=1, passages=0, updated_at="")
        await store.put_document("t", "kb", info, [])
        await store.delete_document("t", "kb", "a")
        monkeypatch.setattr(time, "time", looks)
        for forget in (store.forget_turns, store.forget_dead, store.forget_removed):
            assert await forget(3600, limit=10) == 0
            assert await forget(NOW, limit=10) == 1


async def test_turns_are_forgotten_by_age_in_small_batches_and_open_ones_never(store: Store) -> None:
    await store.claim_first(key("open"), submission="a", digest="d", question="Why?")
    for i in range(5):
        await ended(store, str(i))
    assert await store.forget_turns(3600, limit=100) == 0
    assert await store.forget_turns(NOW, limit=3) == 2  # the oldest three, one of them open
    assert await store.forget_turns(NOW, limit=100) == 3
    assert await store.forget_turns(NOW, limit=100) == 0
    assert [row.key.turn for row in await store.rows([key("open"), key("0"), key("4")])] == ["open"]
    assert await store.conversation("acme", "s", limit=10) == []


async def test_a_forgotten_turn_that_comes_again_is_a_new_one(store: Store) -> None:
    await ended(store, "t")
    await store.forget_turns(NOW, limit=10)
    assert await store.claim_first(key("t"), submission="b", digest="e", question="What?") == Claimed(1, 1)


async def test_dead_letters_are_forgotten_by_the_time_they_were_parked(store: Store) -> None:
    await store.park(letter("old"))
    await store.park(letter("older"))
    await aged(store, "UPDATE dead SET parked_at = '2020-01-01T00:00:00.000Z'")
    await store.park(letter("new"))
    assert await store.forget_dead(3600, limit=1) == 1
    assert await store.forget_dead(3600, limit=10) == 1
    assert [one.id for one in await store.dead()] == ["new"]


async def test_a_dead_letter_of_an_older_process_is_dated_before_it_is_ever_forgotten(store: Store) -> None:
    """During a rolling upgrade a process of schema version 1 still parks, and names no time."""
    await store.park(letter("d"))
    for id in ("a", "b", "c"):
        info = f"replace(info, '\"d\"', '\"{id}\"')"
        await aged(store, f"INSERT INTO dead (id, info, body) SELECT '{id}', {info}, body FROM dead WHERE id = 'd'")
    assert await store.forget_dead(3600, limit=2) == 0
    assert await store.forget_dead(3600, limit=2) == 0
    assert [one.id for one in await store.dead()] == ["c", "b", "a", "d"]
    await aged(store, "UPDATE dead SET parked_at = '2020-01-01T00:00:00.000Z' WHERE id IN ('a', 'b')")
    assert await store.forget_dead(3600, limit=10) == 2
    assert await store.forget_dead(NOW, limit=10) == 2


async def test_dead_letters_are_read_in_pages_and_dropped(store: Store) -> None:
    for i in range(5):
        await store.park(letter(str(i)))
    assert [one.id for one in await store.dead(limit=2)] == ["4", "3"]
    assert [one.id for one in await store.dead(limit=2, before="3")] == ["2", "1"]
    assert [one.id for one in await store.dead(limit=9, before="0")] == []
    assert [one.id for one in await store.dead(before="unknown")] == []
    assert (await store.drop_dead("3"), await store.drop_dead("3"), await store.drop_dead("x")) == (1, 0, 0)
    assert [one.id for one in await store.dead()] == ["4", "2", "1", "0"]
    await store.park(letter("3"))
    assert [one.id for one in await store.dead(limit=1)] == ["3"]


async def test_removed_documents_leave_the_log_and_it_says_so(store: Store) -> None:
    for path in ("a", "b", "c"):
        info = DocumentInfo(
            path=path, title=path, digest=path, size=1, passages=1, updated_at="2020-01-01T00:00:00.000Z"
        )
        await store.put_document("t", "kb", info, [StoredPassage(id=path, title="", text="x", start=0, end=1)])
    await store.delete_document("t", "kb", "a")
    await store.delete_document("t", "kb", "b")
    assert await store.forget_removed(3600, limit=10) == 0  # an old document, removed just now
    assert await store.forgotten() == 0
    assert await store.forget_removed(NOW, limit=1) == 1
    removals = [change.seq for change in await store.changes(0, limit=10) if not change.passages]
    assert await store.forget_removed(NOW, limit=10) == 1
    assert await store.forgotten() == removals[-1]
    assert [change.document for change in await store.changes(0, limit=10)] == ["c"]
    assert await store.put_document(
        "t", "kb", DocumentInfo(path="a", title="a", digest="a", size=1, passages=0, updated_at=""), []
    )
