"""PostgreSQL through asyncpg's pool. Statements are prepared once per connection and cached there."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # ships no types
from sqlalchemy.engine import URL
from sqlalchemy.sql.elements import ClauseElement

from parley_runtime.errors import ConfigError, Invalid, ParleyError, StoreAway
from parley_runtime.store.database import DialectName, Prepared, Row, Transaction, Values


class PostgresDatabase:
    """See :class:`parley_runtime.store.database.Database`."""

    dialect: DialectName = "postgresql"

    def __init__(self, pool: Any, shown: str, *, timeout_s: float) -> None:
        self._pool = pool
        self._shown = shown
        self._timeout_s = timeout_s
        self._compiler = URL.create("postgresql+asyncpg").get_dialect()()

    @classmethod
    async def open(cls, url: URL, *, connections: int, timeout_s: float) -> "PostgresDatabase":
        """Connects once.

        Raises:
            ConfigError: PostgreSQL refused user, password or database.
            Unavailable: it did not answer within ``timeout_s``.
        """
        shown = url.set(drivername="postgresql").render_as_string(hide_password=True)
        dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        with _errors(shown):
            pool = await asyncio.wait_for(
                asyncpg.create_pool(
                    dsn,
                    min_size=0,
                    max_size=connections,
                    command_timeout=timeout_s,
                    timeout=timeout_s,
                    reset=_keep,
                    server_settings={"application_name": "parley"},
                ),
                timeout_s,
            )
        return cls(pool, shown, timeout_s=timeout_s)

    def prepare(self, statement: ClauseElement) -> Prepared:
        return Prepared(statement, self._compiler)

    async def read(self, statement: Prepared, values: Values) -> Sequence[Row]:
        return await self.write(statement, values)

    async def write(self, statement: Prepared, values: Values) -> Sequence[Row]:
        with _errors(self._shown):
            async with self._pool.acquire(timeout=self._timeout_s) as connection:
                rows: Sequence[Row] = await connection.fetch(statement.sql, *statement.bind(values))
                return rows

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Transaction]:
        with _errors(self._shown):
            async with self._pool.acquire(timeout=self._timeout_s) as connection, connection.transaction():
                yield _PostgresTransaction(connection)

    async def close(self) -> None:
        try:
            await asyncio.wait_for(self._pool.close(), self._timeout_s)
        except TimeoutError:
            self._pool.terminate()


class _PostgresTransaction:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def run(self, statement: Prepared, values: Values) -> Sequence[Row]:
        rows: Sequence[Row] = await self._connection.fetch(statement.sql, *statement.bind(values))
        return rows

    async def run_many(self, statement: Prepared, values: Sequence[Values]) -> None:
        await self._connection.executemany(statement.sql, [statement.bind(one) for one in values])

    async def script(self, statements: Sequence[str]) -> None:
        for statement in statements:
            await self._connection.execute(statement)


async def _keep(connection: Any) -> None:
    """Nothing to reset on release: no statement here changes the session, and a reset costs a round trip."""


@contextmanager
def _errors(shown: str) -> Iterator[None]:
    try:
        yield
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        failure = explain(error, shown)
        # What asyncpg says of a refused value quotes it, and it may be somebody's words.
        raise failure from (None if isinstance(failure, Invalid) else error)


_CONFIG = {
    "28": "it refused the user or the password; correct PARLEY_STORE",
    "3D": "there is no such database; create it or correct PARLEY_STORE",
    "42": "this user may not use its tables, or they are not Parley's; give Parley a database of its own",
}
_HINTS = {
    "53100": "its disk is full; free some space, work goes on by itself",
    "53300": "it has no connection left; raise max_connections or lower PARLEY_STORE_POOL",
    "25006": "it is read-only; PARLEY_STORE must name the primary server",
}


def explain(error: Exception, shown: str) -> ParleyError:
    """What to tell the person who runs this process; ``shown`` is the address without its password."""
    state = str(getattr(error, "sqlstate", None) or "")
    if state[:2] in _CONFIG:
        return ConfigError(f"the store {shown} cannot be used: {_CONFIG[state[:2]]}")
    if state[:2] in ("22", "23"):
        return Invalid(f"the store refused a value ({type(error).__name__})")
    if isinstance(error, TimeoutError):
        return StoreAway(f"the store {shown} did not answer in time; check that it runs and is not overloaded")
    if isinstance(error, OSError):
        return StoreAway(f"the store {shown} cannot be reached ({error.strerror or error}); check that it runs there")
    if isinstance(error, asyncpg.DataError):
        return Invalid(f"the store refused a value ({type(error).__name__})")
    hint = _HINTS.get(state, f"it reports {type(error).__name__}")
    return StoreAway(f"the store {shown} cannot be used: {hint}")
