"""What people are told when the store cannot be used, and that it goes on once it can."""

import asyncio
import socket
import sqlite3
import sys
import traceback
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # ships no types
import pytest
import sqlalchemy as sa

from parley_protocol.ids import TurnKey
from parley_runtime.errors import ConfigError, Invalid, Unavailable
from parley_runtime.store import StoreOptions, open_store
from parley_runtime.store.engine import SqlStore
from parley_runtime.store.migrations import migrate
from parley_runtime.store.ports import Claimed, Store
from parley_runtime.store.sqlite import SqliteDatabase
from parley_testkit.postgres import PostgresServer

unit = pytest.mark.unit
postgres = pytest.mark.postgres
SECRET = "hunter2"


async def claim(store: Store, turn: str, question: str = "Why?") -> object:
    return await store.claim_first(TurnKey("acme", "s", turn), submission="a", digest="d", question=question)


@unit
async def test_a_full_disk_is_said_and_survived(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "p.db", readers=1, timeout_s=1)
    await migrate(database)
    store = SqlStore(database)
    try:
        await claim(store, "before")
        await database.write(database.prepare(sa.text("PRAGMA max_page_count=20")), {})
        with pytest.raises(Unavailable, match="disk is full; free some space"):
            for i in range(100):
                await claim(store, f"t{i}", "x" * 5000)
        assert len(await store.rows([TurnKey("acme", "s", "before")])) == 1
        await database.write(database.prepare(sa.text("PRAGMA max_page_count=100000")), {})
        assert await claim(store, "after", "x" * 5000) == Claimed(1, 1)
    finally:
        await store.aclose()


@unit
async def test_a_read_only_file_is_said(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "p.db", readers=1, timeout_s=1)
    await migrate(database)
    store = SqlStore(database)
    try:
        await database.write(database.prepare(sa.text("PRAGMA query_only=ON")), {})
        with pytest.raises(Unavailable, match="read-only"):
            await claim(store, "t")
    finally:
        await store.aclose()


@unit
async def test_a_lock_held_by_another_program_is_said_and_survived(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/p.db"
    store = await open_store(url, StoreOptions(timeout_s=0.05))
    other = sqlite3.connect(tmp_path / "p.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"):
            await claim(store, "t")
        with pytest.raises(Unavailable, match="locked"):
            await store.delete_document("acme", "kb", "")
        assert await store.bases("acme") == []
        other.execute("ROLLBACK")
        assert await claim(store, "t") == Claimed(1, 1)
        assert await store.delete_document("acme", "kb", "") == 0
    finally:
        other.close()
        await store.aclose()


@unit
async def test_a_cancelled_transaction_leaves_no_lock(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "p.db", readers=1, timeout_s=0.5)
    await migrate(database)
    store = SqlStore(database)
    inside = asyncio.Event()

    async def hang() -> None:
        async with database.transaction() as transaction:
            await transaction.script(["INSERT INTO sequence (name, value) VALUES ('half', 1)"])
            inside.set()
            await asyncio.Event().wait()

    try:
        task = asyncio.create_task(hang())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await claim(store, "t") == Claimed(1, 1)
        assert await store.delete_document("acme", "kb", "x") == 0
        count = database.prepare(sa.text("SELECT count(*) FROM sequence WHERE name = 'half'"))
        assert [tuple(row) for row in await database.read(count, {})] == [(0,)]
    finally:
        await store.aclose()


@unit
async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = await open_store(f"sqlite+aiosqlite:///{tmp_path}/p.db")
    await store.ping()
    await store.aclose()
    await store.aclose()
    with pytest.raises(Unavailable, match="closed"):
        await store.ping()


@unit
@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"mysql://root:{SECRET}@localhost/x", "mysql"),
        (f"postgresql+psycopg2://root:{SECRET}@localhost/x", "psycopg2"),
        (f"{SECRET}", "no database URL"),
        (f"postgresql+asyncpg://u:{SECRET}@host:port/x", "no database URL"),
        ("sqlite+aiosqlite://", "must name an SQLite file"),
        ("sqlite+aiosqlite:///:memory:", "must name an SQLite file"),
        ("sqlite+aiosqlite:///a.db?mode=ro", "without options"),
    ],
)
async def test_a_url_that_cannot_be_used(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        await open_store(url, wait_s=0)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@unit
async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="PARLEY_STORE"):
        await open_store(f"sqlite+aiosqlite:///{tmp_path}/file/below/p.db", wait_s=0)


@unit
async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "p.db").write_bytes(b"not a database, but long enough to look like a file of some kind" * 20)
    with pytest.raises(ConfigError, match="not an SQLite database"):
        await open_store(f"sqlite+aiosqlite:///{tmp_path}/p.db", wait_s=0)


@unit
async def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be opened"):
        await open_store(f"sqlite+aiosqlite:///{tmp_path}", wait_s=0)


@unit
async def test_nobody_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening: refuses connections
        port = held.getsockname()[1]
        with pytest.raises(Unavailable, match="cannot be reached") as caught:
            await open_store(f"postgresql+asyncpg://u:{SECRET}@127.0.0.1:{port}/x", wait_s=0)
    assert SECRET not in str(caught.value)


@unit
async def test_it_accepts_and_never_answers() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        url = f"postgresql+asyncpg://u:{SECRET}@127.0.0.1:{held.getsockname()[1]}/x"
        with pytest.raises(Unavailable, match="did not answer in time"):
            await open_store(url, StoreOptions(timeout_s=0.1), wait_s=0)


@postgres
async def test_a_wrong_password_is_a_setting(postgres_server: PostgresServer) -> None:
    with pytest.raises(ConfigError, match="user or the password") as caught:
        await open_store(postgres_server.url(password=SECRET))
    assert SECRET not in str(caught.value)


@postgres
async def test_a_missing_database_is_a_setting(postgres_server: PostgresServer) -> None:
    with pytest.raises(ConfigError, match="no such database"):
        await open_store(postgres_server.url("nowhere"))


@postgres
async def test_a_read_only_server_is_said(postgres_server: PostgresServer, postgres_url: str) -> None:
    name = postgres_url.rpartition("/")[2]
    await (await open_store(postgres_url)).aclose()
    postgres_server.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    store = await open_store(postgres_url)
    try:
        with pytest.raises(Unavailable, match="primary"):
            await claim(store, "t")
    finally:
        await store.aclose()


@postgres
async def test_a_restarted_server_is_used_again(postgres_server: PostgresServer, postgres_url: str) -> None:
    store = await open_store(postgres_url)
    try:
        await claim(store, "before")
        postgres_server.stop()
        with pytest.raises(Unavailable):
            await claim(store, "during")
        postgres_server.start()
        assert await claim(store, "after") == Claimed(1, 1)
        assert await claim(store, "before") == Claimed(2, 2)
    finally:
        await store.aclose()


@postgres
async def test_a_held_row_is_waited_for_no_longer_than_the_limit(postgres_url: str) -> None:
    store = await open_store(postgres_url, StoreOptions(timeout_s=0.3))
    other = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
    try:
        await claim(store, "t")
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT 1 FROM turns FOR UPDATE")
        with pytest.raises(Unavailable, match="in time"):
            await claim(store, "t")
        await transaction.rollback()
        claimed = await claim(store, "t")
        assert isinstance(claimed, Claimed)
        assert claimed.fence > 1
    finally:
        await other.close()
        await store.aclose()


@unit
async def test_the_log_is_written_back_beside_the_work(tmp_path: Path) -> None:
    """Otherwise the log grows until some claim has to copy and sync all of it."""
    store = await open_store(f"sqlite+aiosqlite:///{tmp_path}/p.db")
    try:
        before = (tmp_path / "p.db").stat().st_size
        for i in range(150):
            await claim(store, f"t{i}", "x" * 1000)
        async with asyncio.timeout(30):
            while (tmp_path / "p.db").stat().st_size == before:
                await store.ping()
        assert len(await store.overdue(-1, limit=1000)) == 150
    finally:
        await store.aclose()


@unit
async def test_a_process_that_fails_without_closing_the_store_ends(tmp_path: Path) -> None:
    script = (
        "import asyncio\nfrom parley_runtime.store import open_store\n"
        f"async def main():\n    await open_store('sqlite+aiosqlite:///{tmp_path}/p.db')\n    raise SystemExit(3)\n"
        "asyncio.run(main())"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stderr=asyncio.subprocess.DEVNULL)
    try:
        assert await asyncio.wait_for(process.wait(), 20) == 3
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@postgres
async def test_a_refused_value_is_not_quoted(postgres_url: str) -> None:
    """PostgreSQL's texts hold no U+0000; ids are not escaped, and a session id is nobody else's business."""
    store = await open_store(postgres_url)
    try:
        with pytest.raises(Invalid) as caught:
            await store.claim_first(TurnKey("acme", SECRET + "\x00", "t"), submission="a", digest="d", question="q")
    finally:
        await store.aclose()
    assert SECRET not in "".join(traceback.format_exception(caught.value))
