"""Schema versions: idempotent, safe when many start at once, and never downwards."""

import asyncio
import sqlite3
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from parley_protocol.ids import TurnKey
from parley_runtime.errors import ConfigError, ParleyError
from parley_runtime.store import open_store
from parley_runtime.store.database import Database
from parley_runtime.store.migrations import LATEST, MIGRATIONS, migrate
from parley_runtime.store.postgres import PostgresDatabase
from parley_runtime.store.schema import metadata
from parley_runtime.store.sqlite import SqliteDatabase


async def opened(url: str) -> Database:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return await SqliteDatabase.open(Path(parsed.database or ""), readers=1, timeout_s=5)
    return await PostgresDatabase.open(parsed, connections=2, timeout_s=5)


async def test_versions_run_once_and_in_order(store_url: str) -> None:
    database = await opened(store_url)
    try:
        assert await migrate(database) == len(MIGRATIONS)
        assert await migrate(database) == 0
        more = (*MIGRATIONS, (LATEST + 1, ("CREATE TABLE extra (word {name} NOT NULL)",)))
        assert await migrate(database, more) == 1
        assert await migrate(database, more) == 0
        assert await database.read(database.prepare(sa.text("SELECT word FROM extra")), {}) == []
    finally:
        await database.close()


async def test_dead_letters_of_the_first_version_keep_the_time_they_were_parked(store_url: str) -> None:
    database = await opened(store_url)
    try:
        await migrate(database, MIGRATIONS[:1])
        insert = sa.text("INSERT INTO dead (id, info, body) VALUES ('d', :v_info, :v_body)")
        info = '{"id":"d","queue":"q","reason":"r","cause":"c","parked_at":"2020-01-01T00:00:00.000Z"}'
        types = {"v_info": sa.Text(), "v_body": sa.LargeBinary()}
        bound = insert.bindparams(*(sa.bindparam(name, type_=kind) for name, kind in types.items()))
        await database.write(database.prepare(bound), {"info": info, "body": b"b"})
        assert await migrate(database) == len(MIGRATIONS) - 1
    finally:
        await database.close()
    store = await open_store(store_url)
    try:
        assert [(one.id, one.parked_at) for one in await store.dead()] == [("d", "2020-01-01T00:00:00.000Z")]
        assert await store.forget_dead(3600, limit=10) == 1
    finally:
        await store.aclose()


async def test_a_failing_version_changes_nothing(store_url: str) -> None:
    database = await opened(store_url)
    broken = (*MIGRATIONS, (LATEST + 1, ("CREATE TABLE extra (word {name})", "CREATE TABLE turns (x {name})")))
    try:
        await migrate(database)
        with pytest.raises(ParleyError):
            await migrate(database, broken)
        with pytest.raises(ParleyError):
            await database.read(database.prepare(sa.text("SELECT word FROM extra")), {})
        assert await migrate(database) == 0
    finally:
        await database.close()


async def test_a_newer_database_is_refused(store_url: str) -> None:
    database = await opened(store_url)
    try:
        await migrate(database, (*MIGRATIONS, (LATEST + 1, ("CREATE TABLE extra (word {name})",))))
    finally:
        await database.close()
    with pytest.raises(ConfigError, match=f"schema version {LATEST + 1}"):
        await open_store(store_url)


def _columns(connection: sa.Connection) -> dict[str, list[tuple[str, bool]]]:
    """Names and whether NULL is refused; a primary key refuses it whatever SQLite's catalogue says."""
    found = {}
    inspector = sa.inspect(connection)
    for table in inspector.get_table_names():
        primary = inspector.get_pk_constraint(table)["constrained_columns"]
        found[table] = [
            (column["name"], column["name"] in primary or not column["nullable"])
            for column in inspector.get_columns(table)
        ]
    return found


async def test_the_tables_are_those_of_the_statements(store_url: str) -> None:
    await (await open_store(store_url)).aclose()
    engine = create_async_engine(store_url)
    try:
        async with engine.connect() as connection:
            found = await connection.run_sync(_columns)
    finally:
        await engine.dispose()
    assert found == {
        table.name: [(column.name, not column.nullable) for column in table.columns] for table in metadata.sorted_tables
    }


async def test_many_may_start_at_once(store_url: str) -> None:
    stores = await asyncio.gather(*(open_store(store_url) for _ in range(6)))
    for store in stores:
        await store.aclose()


_WORKER = """
import asyncio, sys
from parley_protocol.events import TurnStatus
from parley_protocol.ids import TurnKey
from parley_protocol.work import Record
from parley_runtime.store import open_store

async def main(url, me):
    store = await open_store(url)
    shared = []
    for i in range(200):
        key = TurnKey("acme", me, str(i))
        claimed = await store.claim_first(key, submission="a", digest="d", question="q")
        assert (claimed.base, claimed.fence) == (1, 1), claimed
        await store.close(Record(key=key, submission="a", budget_s=1, fence=1, status=TurnStatus.COMPLETED, text="x"))
        if i % 10 == 0:
            one = await store.claim_first(TurnKey("acme", "all", "1"), submission="a", digest="d", question="q")
            shared.append(one.fence)
    await store.aclose()
    print(*shared)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_share_a_store_from_its_first_moment(store_url: str) -> None:
    """Four processes make the file together and write as fast as they can: no "database is locked"."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            *("-W", "error", "-c", _WORKER, store_url, f"p{i}"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for i in range(4)
    ]
    outputs = await asyncio.gather(*(process.communicate() for process in processes))
    assert [(process.returncode, error) for process, (_, error) in zip(processes, outputs, strict=True)] == [
        (0, b"")
    ] * 4
    fences = [int(fence) for output, _ in outputs for fence in output.split()]
    assert sorted(fences) == list(range(1, 81))
    store = await open_store(store_url)
    try:
        closed = await store.conversation("acme", "p0", limit=1000)
        assert [one.turn for one in closed] == [str(i) for i in range(200)]
        assert (await store.rows([TurnKey("acme", "all", "1")]))[0].fence == 80
    finally:
        await store.aclose()


@pytest.mark.unit
async def test_sqlite_is_left_in_wal_mode(tmp_path: Path) -> None:
    await (await open_store(f"sqlite+aiosqlite:///{tmp_path}/deep/er/p.db")).aclose()
    plain = sqlite3.connect(tmp_path / "deep" / "er" / "p.db")
    try:
        assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        plain.close()
