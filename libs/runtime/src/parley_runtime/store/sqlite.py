"""SQLite through aiosqlite: one writing connection, one for transactions, a few for reading, each with its thread.

WAL: readers never wait for writers. ``synchronous=NORMAL`` syncs at checkpoints only: killed processes lose nothing;
a power cut may lose the last commits, never the file.
"""

import asyncio
import itertools
import logging
import sqlite3
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiosqlite
from sqlalchemy.engine import URL
from sqlalchemy.sql.elements import ClauseElement

from parley_runtime.errors import ConfigError, Invalid, ParleyError, Unavailable
from parley_runtime.store.database import DialectName, Prepared, Row, Transaction, Values

# At DEBUG it writes every statement with its values, and those are people's words.
logging.getLogger("aiosqlite").setLevel(logging.INFO)

_OPEN_TRIES = 50
_OPEN_PAUSE_S = 0.1


class SqliteDatabase:
    """See :class:`parley_runtime.store.database.Database`. Any number of processes may use one file."""

    dialect: DialectName = "sqlite"

    def __init__(
        self,
        path: Path,
        *,
        writer: aiosqlite.Connection,
        transactions: aiosqlite.Connection,
        readers: Sequence[aiosqlite.Connection],
    ) -> None:
        self._path = path
        self._writer = writer
        self._transactions = transactions
        self._readers = tuple(readers)
        self._next_reader = itertools.cycle(self._readers)
        self._lock = asyncio.Lock()
        self._compiler = URL.create("sqlite+aiosqlite").get_dialect()()

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
            for _ in range(readers + 2):
                opened.append(await _connect(path, timeout_s))
        except BaseException:
            for connection in opened:
                await connection.close()
            raise
        return cls(path, writer=opened[0], transactions=opened[1], readers=opened[2:])

    def prepare(self, statement: ClauseElement) -> Prepared:
        return Prepared(statement, self._compiler)

    async def read(self, statement: Prepared, values: Values) -> Sequence[Row]:
        with _errors(self._path):
            return list(await next(self._next_reader).execute_fetchall(statement.sql, statement.bind(values)))

    async def write(self, statement: Prepared, values: Values) -> Sequence[Row]:
        with _errors(self._path):
            return list(await self._writer.execute_fetchall(statement.sql, statement.bind(values)))

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Transaction]:
        connection = self._transactions
        async with self._lock:
            with _errors(self._path):
                try:
                    # A cancelled call still runs on the connection's thread, so BEGIN is inside as well.
                    await connection.execute_fetchall("BEGIN IMMEDIATE")
                    yield _SqliteTransaction(connection)
                    await connection.execute_fetchall("COMMIT")
                except BaseException:
                    await _finished(connection.rollback())
                    raise

    async def close(self) -> None:
        for connection in (*self._readers, self._transactions, self._writer):
            await connection.close()


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
        connection = await aiosqlite.connect(path, timeout=timeout_s, isolation_level=None, cached_statements=256)
        try:
            await _prepare(connection)
        except BaseException:
            await connection.close()
            raise
        return connection


async def _prepare(connection: aiosqlite.Connection) -> None:
    for attempt in itertools.count(1):
        try:
            await connection.execute_fetchall("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            # The switch to WAL does not honour the busy timeout when several processes make the file at once.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or attempt == _OPEN_TRIES:
                raise
            await asyncio.sleep(_OPEN_PAUSE_S)
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON", "temp_store=MEMORY", "cache_size=-8192"):
        await connection.execute_fetchall(f"PRAGMA {pragma}")


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
            raise Unavailable("the store is closed; this process is stopping") from error
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
        return Unavailable(f"the store {path} cannot be used: {hint}")
    if code in (sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH):
        return Invalid(f"a value is too large for the store {path}")
    return Unavailable(f"the store {path} reports: {error}")
