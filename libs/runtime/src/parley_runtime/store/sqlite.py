"""SQLite through aiosqlite: one connection each for single writes, transactions and checkpoints, a few
for reading, each with its thread.

WAL: readers never wait for writers. ``synchronous=NORMAL`` syncs at checkpoints only: killed processes lose nothing;
a power cut may lose the last commits, never the file.
"""

import asyncio
import itertools
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiosqlite
from sqlalchemy.engine import URL
from sqlalchemy.sql.elements import ClauseElement

from parley_runtime.errors import ConfigError, Invalid, ParleyError, StoreAway
from parley_runtime.store.database import DialectName, Prepared, Row, Transaction, Values
from parley_runtime.telemetry.logging import get_logger

# At DEBUG it writes every statement with its values, and those are people's words.
logging.getLogger("aiosqlite").setLevel(logging.INFO)

_OWN_CONNECTIONS = 3  # writing, transactions, checkpoints
_OPEN_PAUSE_S = 0.01
_BUSY_SLICE_S = 0.004
"""SQLite's own wait for a lock pauses for 1, 2, 5, 10 ... 100 ms, so that whoever has waited longest looks least often.
Cut into slices it looks every millisecond or two."""
_CHECKPOINT_WRITES = 100
_AUTO_CHECKPOINT_PAGES = 10_000
"""Only if the background checkpoints do not keep up; 40 MB."""

log = get_logger(__name__)


class SqliteDatabase:
    """See :class:`parley_runtime.store.database.Database`. Any number of processes may use one file."""

    dialect: DialectName = "sqlite"

    def __init__(self, path: Path, connections: Sequence[aiosqlite.Connection], *, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._writer, self._transactions, self._keeper, *self._readers = connections
        self._next_reader = itertools.cycle(self._readers)
        self._lock = asyncio.Lock()
        self._compiler = URL.create("sqlite+aiosqlite").get_dialect()()
        self._written = 0
        self._checkpoint: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, path: Path, *, readers: int, timeout_s: float) -> "SqliteDatabase":
        """Opens or creates the file and its folder.

        Raises:
            ConfigError: the folder cannot be made, or the file is no database.
            Unavailable: the file cannot be opened or is locked for longer than ``timeout_s``.
        """
        try:
            await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"the store's folder {path.parent} cannot be made ({error.strerror}); set PARLEY_STORE to a file in "
                "a folder that this user may write"
            ) from error
        opened: list[aiosqlite.Connection] = []
        try:
            for _ in range(_OWN_CONNECTIONS + readers):
                opened.append(await _connect(path, timeout_s))
        except BaseException:
            for connection in opened:
                await connection.close()
            raise
        return cls(path, opened, timeout_s=timeout_s)

    def prepare(self, statement: ClauseElement) -> Prepared:
        return Prepared(statement, self._compiler)

    async def read(self, statement: Prepared, values: Values) -> Sequence[Row]:
        return await self._run(next(self._next_reader), statement.sql, statement.bind(values))

    async def write(self, statement: Prepared, values: Values) -> Sequence[Row]:
        rows = await self._run(self._writer, statement.sql, statement.bind(values))
        self._wrote()
        return rows

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Transaction]:
        connection = self._transactions
        async with self._lock:
            try:
                # A cancelled call still runs on the connection's thread, so BEGIN is inside as well.
                await self._run(connection, "BEGIN IMMEDIATE")
                with _errors(self._path):
                    yield _SqliteTransaction(connection)
                await self._run(connection, "COMMIT")
            except BaseException:
                await _finished(connection.rollback())
                raise
        self._wrote()

    async def close(self) -> None:
        if self._checkpoint is not None:
            await asyncio.wait({self._checkpoint})
        for connection in (*self._readers, self._keeper, self._transactions, self._writer):
            await connection.close()

    async def _run(self, connection: aiosqlite.Connection, sql: str, values: tuple[Any, ...] = ()) -> Sequence[Row]:
        """One statement; while another connection holds the lock it is tried again until the time is up."""
        with _errors(self._path):
            deadline = 0.0
            while True:
                try:
                    return list(await connection.execute_fetchall(sql, values))
                except sqlite3.OperationalError as error:
                    now = time.monotonic()
                    deadline = deadline or now + self._timeout_s
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or now >= deadline:
                        raise

    def _wrote(self) -> None:
        self._written += 1
        if self._written >= _CHECKPOINT_WRITES and (self._checkpoint is None or self._checkpoint.done()):
            self._written = 0
            self._checkpoint = asyncio.create_task(self._keep(), name="checkpoint")

    async def _keep(self) -> None:
        # The statement that would find the log full would otherwise copy and sync it, for 5 to 20 ms.
        try:
            await self._keeper.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")
        except (sqlite3.Error, ValueError) as error:
            log.warning("checkpoint failed; it is tried again later", reason=str(error))


class _SqliteTransaction:
    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def run(self, statement: Prepared, values: Values) -> Sequence[Row]:
        return list(await self._connection.execute_fetchall(statement.sql, statement.bind(values)))

    async def run_many(self, statement: Prepared, values: Sequence[Values]) -> None:
        cursor = await self._connection.executemany(statement.sql, [statement.bind(one) for one in values])
        await cursor.close()

    async def script(self, statements: Sequence[str]) -> None:
        for statement in statements:
            await self._connection.execute_fetchall(statement)


async def _connect(path: Path, timeout_s: float) -> aiosqlite.Connection:
    with _errors(path, opening=True):
        # isolation_level None: a statement outside BEGIN commits by itself, in the same thread hop.
        connection = aiosqlite.connect(path, timeout=_BUSY_SLICE_S, isolation_level=None, cached_statements=256)
        connection._thread.daemon = True  # a process that fails before it closes the store must still end
        await connection
        try:
            await _prepare(connection, time.monotonic() + timeout_s)
        except BaseException:
            await connection.close()
            raise
        return connection


async def _prepare(connection: aiosqlite.Connection, deadline: float) -> None:
    pragmas = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "temp_store=MEMORY", "cache_size=-8192")
    for pragma in (*pragmas, f"wal_autocheckpoint={_AUTO_CHECKPOINT_PAGES}"):
        while True:
            try:
                await connection.execute_fetchall(f"PRAGMA {pragma}")
                break
            except sqlite3.OperationalError as error:
                # The switch to WAL heeds no busy timeout when several processes make the file at once.
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(_OPEN_PAUSE_S)


async def _finished(step: Coroutine[Any, Any, None]) -> None:
    """Let a clean-up run to its end even if this task is cancelled again meanwhile."""
    task = asyncio.ensure_future(step)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            with suppress(sqlite3.Error):
                await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


@contextmanager
def _errors(path: Path, *, opening: bool = False) -> Iterator[None]:
    """The driver's errors as Parley's."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(error, path, opening=opening) from error
    except ValueError as error:
        if "no active connection" in str(error).lower() or "closed" in str(error).lower():
            raise StoreAway("the store is closed; this process is stopping") from error
        raise


_HINTS = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space, work goes on by itself",
    sqlite3.SQLITE_BUSY: "another process holds it locked; if none should, look for a program that has it open",
    sqlite3.SQLITE_LOCKED: "another process holds it locked; if none should, look for a program that has it open",
    sqlite3.SQLITE_READONLY: "it is read-only; give this user the right to write the file and its folder",
    sqlite3.SQLITE_IOERR: "the disk reports an error; check the disk and its free space",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that the folder exists and that this user may write it",
    sqlite3.SQLITE_PERM: "this user may not open it; change its rights",
    sqlite3.SQLITE_CORRUPT: "it is damaged; stop Parley and restore it from a backup",
}


def explain(error: sqlite3.Error, path: Path, *, opening: bool) -> ParleyError:
    """What to tell the person who runs this process."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB or (opening and code == sqlite3.SQLITE_CORRUPT):
        return ConfigError(f"{path} is not an SQLite database; set PARLEY_STORE to another file or move this one away")
    hint = _HINTS.get(code)
    if hint is not None:
        return StoreAway(f"the store {path} cannot be used: {hint}")
    if code in (sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH):
        return Invalid(f"a value is too large for the store {path}")
    return StoreAway(f"the store {path} reports: {error}")
