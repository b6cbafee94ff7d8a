"""Opens a store from its URL and puts the tables together."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from parley_runtime.config import setting
from parley_runtime.errors import ConfigError, Unavailable
from parley_runtime.store.contact import ContactTable
from parley_runtime.store.database import Database
from parley_runtime.store.dead import DeadTable
from parley_runtime.store.knowledge import KnowledgeTable
from parley_runtime.store.migrations import migrate
from parley_runtime.store.ports import Store
from parley_runtime.store.readings import ReadingTable
from parley_runtime.store.reviews import ReviewTable
from parley_runtime.store.threads import ThreadTable
from parley_runtime.store.turns import TurnTable
from parley_runtime.store.tutors import TutorTable

_RETRY_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """Sizes and waits of the store."""

    connections: int = setting(
        "PARLEY_STORE_POOL", 8, "connections of this process to PostgreSQL", unit="connections", minimum=1, maximum=100
    )
    readers: int = setting(
        "PARLEY_STORE_READERS",
        2,
        "connections of this process that read SQLite",
        unit="connections",
        minimum=1,
        maximum=16,
    )
    timeout_s: float = setting(
        "PARLEY_STORE_TIMEOUT_S",
        5.0,
        "longest wait for a connection, a lock or a statement before the store counts as unavailable",
        unit="seconds",
        minimum=0.01,
    )


async def open_store(url: str, options: StoreOptions | None = None, *, wait_s: float = 30.0) -> Store:
    """An open store, its tables made or migrated. ``sqlite+aiosqlite:///PATH`` (folder and file are made) or
    ``postgresql+asyncpg://USER:PASSWORD@HOST:PORT/DATABASE``.

    Raises:
        ConfigError: the URL cannot be used, or the database is a newer Parley's. Never shows the password.
        Unavailable: nothing answered within ``wait_s`` (0: one try).
    """
    options = options or StoreOptions()
    parsed = _parse(url)
    deadline = asyncio.get_running_loop().time() + wait_s
    while True:
        try:
            return await _open(parsed, options)
        except Unavailable:
            if asyncio.get_running_loop().time() + _RETRY_S >= deadline:
                raise
            await asyncio.sleep(_RETRY_S)


async def _open(url: URL, options: StoreOptions) -> Store:
    database = await _connect(url, options)
    try:
        await migrate(database)
        return SqlStore(database)
    except BaseException:
        await database.close()
        raise


async def _connect(url: URL, options: StoreOptions) -> Database:
    if url.get_backend_name() == "sqlite":
        from parley_runtime.store.sqlite import SqliteDatabase

        return await SqliteDatabase.open(Path(url.database or ""), readers=options.readers, timeout_s=options.timeout_s)
    from parley_runtime.store.postgres import PostgresDatabase

    return await PostgresDatabase.open(url, connections=options.connections, timeout_s=options.timeout_s)


_DRIVERS = ("sqlite", "sqlite+aiosqlite", "postgresql", "postgresql+asyncpg")


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Neither the text nor its cause: a password may stand anywhere in a URL that cannot be read.
        raise ConfigError(
            "PARLEY_STORE is no database URL; expected for instance sqlite+aiosqlite:///.parley/parley.db or "
            "postgresql+asyncpg://user:password@host:5432/parley"
        ) from None
    if parsed.drivername not in _DRIVERS:
        raise ConfigError(f"PARLEY_STORE names the driver {parsed.drivername}; expected one of {', '.join(_DRIVERS)}")
    if parsed.get_backend_name() == "sqlite" and (parsed.database in (None, "", ":memory:") or parsed.query):
        raise ConfigError("PARLEY_STORE must name an SQLite file, without options: sqlite+aiosqlite:///PATH")
    return parsed


class SqlStore(TurnTable, DeadTable, KnowledgeTable):
    """See :class:`parley_runtime.store.ports.Store`."""

    def __init__(self, database: Database) -> None:
        TurnTable.__init__(self, database)
        DeadTable.__init__(self, database)
        KnowledgeTable.__init__(self, database)
        self.reviews = ReviewTable(database)
        self.contact = ContactTable(database)
        self.readings = ReadingTable(database)
        self.tutors = TutorTable(database)
        self.threads = ThreadTable(database)
        self._ping = database.prepare(sa.select(sa.literal_column("1")))

    async def ping(self) -> None:
        """Raises Unavailable unless a statement ran."""
        await self._db.read(self._ping, {})

    async def aclose(self) -> None:
        """Close the connections; statements already begun end first. Idempotent."""
        await self._db.close()
