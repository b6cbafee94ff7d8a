"""What the store needs of a database driver: single statements that commit by themselves, and transactions.

SQLAlchemy's async engine costs several thread hops or greenlet switches per statement; a claim is one statement, so
here it is compiled once and handed to the driver in one call.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import sqlalchemy as sa
from sqlalchemy import BindParameter, bindparam
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.elements import ClauseElement, ColumnElement
from sqlalchemy.sql.type_api import TypeEngine

Row = Sequence[Any]
Values = Mapping[str, Any]
DialectName = Literal["sqlite", "postgresql"]

_PREFIX = "v_"


def rfc3339(seconds: float) -> str:
    """A time since 1970 as it is stored: UTC, in milliseconds; such texts sort by time."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def value(name: str, kind: TypeEngine[Any] | None = None) -> BindParameter[Any]:
    """A parameter of a statement, given by ``name`` when it runs. (Plain column names are SQLAlchemy's own.)"""
    return bindparam(_PREFIX + name, type_=kind)


_NOW: dict[DialectName, str] = {
    # julianday has 40 microseconds to a step; unixepoch counts below a second only from SQLite 3.42 on.
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    # The statement's beginning, not the clock itself: an index on a time can be used with it.
    "postgresql": "CAST(extract(epoch FROM statement_timestamp()) AS double precision)",
}


def now(dialect: DialectName) -> ColumnElement[float]:
    """Seconds since 1970 by the database's clock, the same throughout a statement.

    Every stored time that something is decided by is written and compared with this one clock, never with those of the
    processes: their machines may disagree by hours. For SQLite it is the clock of the machine that all of them share.
    """
    return sa.literal_column(_NOW[dialect], sa.Float())


def ago(dialect: DialectName, seconds: str) -> ColumnElement[float]:
    """:func:`now` less the parameter ``seconds``."""
    return now(dialect) - value(seconds, sa.Float())


def as_text(dialect: DialectName, time: ColumnElement[float]) -> ColumnElement[str]:
    """A time as :func:`rfc3339` gives it, made by the database."""
    if dialect == "sqlite":
        return sa.func.strftime(sa.literal_column("'%Y-%m-%dT%H:%M:%fZ'"), time, sa.literal_column("'unixepoch'"))
    utc = sa.func.timezone(sa.literal_column("'UTC'"), sa.func.to_timestamp(time))
    return sa.func.to_char(utc, sa.literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'"""))


class Prepared:
    """A statement compiled for one dialect, and the order of its parameters."""

    __slots__ = ("_names", "sql")

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect, compile_kwargs={"literal_binds": False})
        self.sql = str(compiled)
        order: Sequence[str] = getattr(compiled, "positiontup", None) or ()
        self._names = tuple(self._slot(name, compiled.params) for name in order)

    @staticmethod
    def _slot(name: str, params: Mapping[str, Any]) -> tuple[str | None, Any]:
        return (name.removeprefix(_PREFIX), None) if name.startswith(_PREFIX) else (None, params[name])

    def bind(self, values: Values) -> tuple[Any, ...]:
        """Parameters in the statement's order. Raises KeyError where one is missing."""
        return tuple(constant if name is None else values[name] for name, constant in self._names)


class Transaction(Protocol):
    """Statements that commit together, or not at all if the block is left by an error or a cancellation."""

    async def run(self, statement: Prepared, values: Values) -> Sequence[Row]: ...

    async def run_many(self, statement: Prepared, values: Sequence[Values]) -> None: ...

    async def script(self, statements: Sequence[str]) -> None:
        """Plain SQL without parameters, in order."""
        ...


class Database(Protocol):
    """One database. Methods raise Unavailable where it cannot be reached, is locked, full or read-only, and Invalid
    where it refuses a value.
    """

    @property
    def dialect(self) -> DialectName: ...

    def prepare(self, statement: ClauseElement) -> Prepared: ...

    async def read(self, statement: Prepared, values: Values) -> Sequence[Row]:
        """Run a query. It sees everything that was committed before the call."""
        ...

    async def write(self, statement: Prepared, values: Values) -> Sequence[Row]:
        """Run one statement in a transaction of its own: committed when this returns. A cancelled call may commit."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A write transaction: no other transaction of this store writes the change log at the same time."""
        ...

    async def close(self) -> None: ...
