"""Documents and the log of changes, on SQLite and PostgreSQL alike."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # ships no types
import pytest

from parley_protocol.work import BaseInfo, DocumentInfo
from parley_runtime.store import open_store
from parley_runtime.store.ports import Change, Store, StoredPassage


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = await open_store(store_url)
    yield opened
    await opened.aclose()


def info(path: str, digest: str = "d1", title: str = "Title") -> DocumentInfo:
    return DocumentInfo(path=path, title=title, digest=digest, size=100, passages=0, updated_at="2026-01-01T00:00:00Z")


def parts(path: str, *texts: str) -> list[StoredPassage]:
    return [
        StoredPassage(id=f"{path}#{i}", title="H", text=text, start=i, end=i + len(text))
        for i, text in enumerate(texts)
    ]


async def put(store: Store, path: str, *texts: str, digest: str = "d1", tenant: str = "acme", kb: str = "kb") -> str:
    return (await store.put_document(tenant, kb, info(path, digest), parts(path, *texts))).outcome


async def test_put_says_what_it_did(store: Store) -> None:
    created = await store.put_document("acme", "kb", info("a.md", title="漢\x00"), parts("a.md", "one", "two\x00"))
    assert (created.outcome, created.passages, created.title) == ("created", 2, "漢\x00")
    assert await put(store, "a.md", "ignored") == "unchanged"
    assert await store.document("acme", "kb", "a.md") == DocumentInfo(
        path="a.md", title="漢\x00", digest="d1", size=100, passages=2, updated_at="2026-01-01T00:00:00Z"
    )
    assert await put(store, "a.md", "three", digest="d2") == "replaced"
    [change] = await store.changes(0, limit=10)
    assert [one.text for one in change.passages] == ["three"]


async def test_the_passages_of_one_document(store: Store) -> None:
    await put(store, "a.md", "one", "two\x00")
    await put(store, "b.md", "three")
    await put(store, "a.md", "foreign", tenant="other")
    assert await store.passages("acme", "kb", "a.md") == tuple(parts("a.md", "one", "two\x00"))
    await store.delete_document("acme", "kb", "a.md")
    assert await store.passages("acme", "kb", "a.md") == ()
    assert await store.passages("acme", "nowhere", "b.md") == ()


async def test_a_document_without_passages_is_kept(store: Store) -> None:
    assert await put(store, "empty.md") == "created"
    assert await store.bases("acme") == [BaseInfo(name="kb", documents=1, passages=0)]


async def test_a_missing_time_is_filled_in(store: Store) -> None:
    bare = DocumentInfo(path="a", title="", digest="d", size=0, passages=0, updated_at="")
    stored = await store.put_document("acme", "kb", bare, [])
    assert stored.updated_at.startswith("20")
    assert stored.updated_at.endswith("Z")


async def test_bases_are_isolated(store: Store) -> None:
    await put(store, "a.md", "x", tenant="acme", kb="one")
    await put(store, "a.md", "y", "z", tenant="acme", kb="two")
    await put(store, "a.md", "w", tenant="other", kb="one")
    assert await store.bases("acme") == [
        BaseInfo(name="one", documents=1, passages=1),
        BaseInfo(name="two", documents=1, passages=2),
    ]
    assert await store.delete_document("acme", "one", "") == 1
    assert await store.document("acme", "one", "a.md") is None
    assert await store.document("other", "one", "a.md") is not None
    assert [base.name for base in await store.bases("acme")] == ["two"]
    assert await store.bases("nobody") == []


async def test_listing_pages_by_path_in_byte_order(store: Store) -> None:
    for path in ("b", "a/b", "ä", "B", "a", "漢"):
        await put(store, path)
    assert [one.path for one in await store.documents("acme", "kb")] == ["B", "a", "a/b", "b", "ä", "漢"]
    assert [one.path for one in await store.documents("acme", "kb", after="a", limit=2)] == ["a/b", "b"]
    assert await store.documents("acme", "none") == []


async def test_delete_counts_and_can_be_repeated(store: Store) -> None:
    for path in ("a", "b", "c"):
        await put(store, path, "x")
    assert await store.delete_document("acme", "kb", "b") == 1
    assert await store.delete_document("acme", "kb", "b") == 0
    assert await store.delete_document("acme", "kb", "none") == 0
    assert [one.path for one in await store.documents("acme", "kb")] == ["a", "c"]
    assert await store.delete_document("acme", "kb", "") == 2
    assert await store.documents("acme", "kb") == []
    assert await put(store, "b", "again") == "created"


async def test_changes_are_told_in_order_once_per_document(store: Store) -> None:
    await put(store, "a", "a1")
    await put(store, "b", "b1")
    first = await store.changes(0, limit=10)
    assert [(one.document, [part.text for part in one.passages]) for one in first] == [("a", ["a1"]), ("b", ["b1"])]
    assert first[0] == Change(
        seq=first[0].seq,
        tenant="acme",
        kb="kb",
        document="a",
        title="Title",
        passages=(StoredPassage(id="a#0", title="H", text="a1", start=0, end=2),),
    )
    seen = first[-1].seq
    await put(store, "a", "a2", digest="d2")
    await put(store, "a", "a3", digest="d3")
    await store.delete_document("acme", "kb", "b")
    later = await store.changes(seen, limit=10)
    assert [(one.document, [part.text for part in one.passages]) for one in later] == [("a", ["a3"]), ("b", [])]
    assert await store.changes(later[-1].seq, limit=10) == []
    whole = await store.changes(0, limit=10)
    assert [one.document for one in whole if one.passages] == ["a"]


async def test_changes_page_through_a_removal_of_many(store: Store) -> None:
    for i in range(7):
        await put(store, str(i), "x")
    seen = (await store.changes(0, limit=100))[-1].seq
    assert await store.delete_document("acme", "kb", "") == 7
    removed: list[str] = []
    while page := await store.changes(seen, limit=3):
        assert len(page) <= 3
        assert [one.seq for one in page] == sorted(one.seq for one in page)
        removed += [one.document for one in page]
        seen = page[-1].seq
    assert sorted(removed) == ["0", "1", "2", "3", "4", "5", "6"]


async def test_a_reader_misses_nothing_while_many_write(store: Store, store_url: str) -> None:
    others = [await open_store(store_url) for _ in range(2)]
    writing = asyncio.gather(*(put(others[i % 2], f"doc{i}", f"text{i}") for i in range(60)))
    seen: dict[str, str] = {}
    last = 0

    async def read() -> None:
        nonlocal last
        for change in await store.changes(last, limit=7):
            assert change.seq > last
            last = change.seq
            seen[change.document] = change.passages[0].text

    try:
        while not writing.done():
            await read()
        await writing
        before = -1
        while before != last:
            before = last
            await read()
    finally:
        for other in others:
            await other.aclose()
    assert seen == {f"doc{i}": f"text{i}" for i in range(60)}


async def test_concurrent_puts_of_one_document_store_it_once(store: Store) -> None:
    outcomes = await asyncio.gather(*(put(store, "a", "x") for _ in range(10)))
    assert sorted(outcomes) == ["created"] + ["unchanged"] * 9


async def _waiting(connection: Any) -> None:
    async with asyncio.timeout(30):
        blocked = 0
        while not blocked:
            blocked = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )


@pytest.mark.postgres
async def test_a_slow_writer_is_not_overtaken(postgres_url: str) -> None:
    """On PostgreSQL a later number could commit first; the lock on the sequence's row forbids it."""
    store = await open_store(postgres_url)
    slow = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
    watcher = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
    try:
        transaction = slow.transaction()
        await transaction.start()
        taken = await slow.fetchval("UPDATE sequence SET value = value + 1 WHERE name = 'changes' RETURNING value")
        fast = asyncio.create_task(put(store, "fast", "x"))
        await _waiting(watcher)
        assert not fast.done()
        assert await store.changes(0, limit=10) == []
        await transaction.commit()
        assert await fast == "created"
        [change] = await store.changes(0, limit=10)
        assert change.seq == taken + 1
    finally:
        await slow.close()
        await watcher.close()
        await store.aclose()
