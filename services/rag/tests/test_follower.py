"""The index follows the store: within a poll in every process, at once where asked, whole after a restart."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from parley_protocol.work import DocumentInfo
from parley_rag.retrieval import EmbeddedRetriever, IndexFollower, Query
from parley_runtime.clock import SystemClock
from parley_runtime.errors import Unavailable
from parley_runtime.store import open_store
from parley_runtime.store.ports import Change, Store, StoredPassage
from parley_runtime.telemetry import names
from parley_runtime.telemetry.metrics import value

pytestmark = pytest.mark.unit


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite+aiosqlite:///{tmp_path / 'p.db'}")
    yield opened
    await opened.aclose()


async def until(condition: Callable[[], Awaitable[bool]], limit_s: float = 1.0) -> None:
    """Polls: a follower tells nobody that it has caught up."""
    deadline = asyncio.get_running_loop().time() + limit_s
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, f"not within {limit_s} s"
        await asyncio.sleep(0.005)


class Process:
    def __init__(self, store: Store) -> None:
        self.retriever = EmbeddedRetriever()
        self.follower = IndexFollower(store, self.retriever, SystemClock(), poll_s=0.01)

    async def found(self, query: str) -> list[str]:
        return [source.document for source in await self.retriever.search("t", "kb", Query(query), 50)]


async def put(store: Store, path: str, text: str) -> None:
    info = DocumentInfo(path=path, title=path, digest=f"{path}{text}", size=1, passages=1, updated_at="")
    await store.put_document("t", "kb", info, [StoredPassage(id=path, title=path, text=text, start=0, end=len(text))])


async def test_catch_up_and_rebuild(store: Store) -> None:
    one = Process(store)
    for i in range(70):
        await put(store, f"d{i:02}.md", f"pump {i}")
    await one.follower.catch_up()
    assert one.retriever.size() == 70
    assert value(names.PASSAGES) == 70
    await put(store, "d00.md", "turbine")
    await store.delete_document("t", "kb", "d01.md")
    await one.follower.catch_up()
    assert await one.found("turbine") == ["d00.md"]
    assert "d01.md" not in await one.found("pump")
    two = Process(store)
    await two.follower.catch_up()
    assert await two.found("pump") == await one.found("pump")
    assert two.retriever.size() == one.retriever.size() == 69


async def test_another_process_sees_changes_by_itself(store: Store) -> None:
    here, there = Process(store), Process(store)
    following = asyncio.create_task(there.follower.run())
    try:
        await put(store, "a.md", "pump")
        await here.follower.catch_up()

        async def shown() -> bool:
            return await there.found("pump") == ["a.md"]

        async def gone() -> bool:
            return not await there.found("pump")

        await until(shown)
        await store.delete_document("t", "kb", "")
        await until(gone)
    finally:
        following.cancel()
        await asyncio.wait({following})


class Broken:
    """A store that is away for some reads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.away = True
        self.tried = asyncio.Event()

    async def changes(self, after: int, *, limit: int) -> list[Change]:
        self.tried.set()
        if self.away:
            raise Unavailable("the store is away")
        return await self._store.changes(after, limit=limit)

    async def forgotten(self) -> int:
        return await self._store.forgotten()


async def test_a_store_that_is_away_is_tried_again(store: Store) -> None:
    await put(store, "a.md", "pump")
    broken = Broken(store)
    retriever = EmbeddedRetriever()
    follower = IndexFollower(broken, retriever, SystemClock(), poll_s=0.01)
    assert "still being built" in (follower.problem() or "")
    assert follower.lag_s() is None
    with pytest.raises(Unavailable):
        await follower.catch_up()
    following = asyncio.create_task(follower.run())
    try:
        broken.tried.clear()
        async with asyncio.timeout(30):
            await broken.tried.wait()
        assert retriever.size() == 0
        broken.away = False

        async def level() -> bool:
            return follower.problem() is None

        await until(level)
        assert retriever.size() == 1
        assert (follower.lag_s() or 0) < 1.0
    finally:
        following.cancel()
        await asyncio.wait({following})


async def test_a_reader_that_missed_a_forgotten_removal_reads_anew(store: Store) -> None:
    here = Process(store)
    for path in ("a.md", "b.md", "c.md"):
        await put(store, path, "pump")
    await here.follower.catch_up()
    await store.delete_document("t", "kb", "b.md")
    assert await store.forget_removed(-1, limit=100) == 1
    await put(store, "d.md", "pump")
    fresh = Process(store)
    await fresh.follower.catch_up()
    await here.follower.catch_up()
    assert sorted(await here.found("pump")) == sorted(await fresh.found("pump")) == ["a.md", "c.md", "d.md"]
    # Once is enough: what is level stays level without reading everything again.
    await store.delete_document("t", "kb", "a.md")
    await here.follower.catch_up()
    assert await store.forget_removed(-1, limit=100) == 1
    await here.follower.catch_up()
    assert sorted(await here.found("pump")) == ["c.md", "d.md"]


async def test_a_reader_that_heard_of_the_removal_in_time_does_not_read_anew(store: Store) -> None:
    class Counted(Broken):
        reads: list[int]

        async def changes(self, after: int, *, limit: int) -> list[Change]:
            self.reads.append(after)
            return await self._store.changes(after, limit=limit)

    counted = Counted(store)
    counted.reads = []
    follower = IndexFollower(counted, EmbeddedRetriever(), SystemClock())
    for i in range(40):
        await put(store, f"{i:02}.md", "pump")
    await store.delete_document("t", "kb", "00.md")
    await follower.catch_up()
    assert await store.forget_removed(-1, limit=100) == 1
    await follower.catch_up()
    assert counted.reads.count(0) == 1
