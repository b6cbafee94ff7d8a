"""What engines that keep conversations themselves call each of ours. See ``ThreadStore``."""

from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from parley_runtime.store.database import Database, ago, now, value
from parley_runtime.store.schema import threads as table

_T = table.c
_KEY = (_T.tenant, _T.session, _T.engine)


class ThreadStore(Protocol):
    """Isolation: every read and write names its tenant. Raises Unavailable as every part of the store."""

    async def keep(self, tenant: str, session: str, engine: str, thread: str) -> None:
        """From now on ``engine`` calls the session ``thread``; the last one kept counts."""
        ...

    async def find(self, tenant: str, session: str, engine: str) -> str:
        """The engine's name of the session, "" where it has none."""
        ...

    async def forget(self, older_than_s: float, *, limit: int) -> int:
        """Remove names kept more than ``older_than_s`` ago, ``limit`` at most; returns how many."""
        ...


class ThreadTable:
    """Statements on ``threads``, compiled once per store."""

    def __init__(self, database: Database) -> None:
        self._db = database
        mine = sa.and_(*(column == value(column.name) for column in _KEY))
        insert = sqlite.insert(table) if database.dialect == "sqlite" else postgresql.insert(table)
        insert = insert.values(
            tenant=value("tenant"),
            session=value("session"),
            engine=value("engine"),
            thread=value("thread"),
            kept_at=now(database.dialect),
        )
        self._keep = database.prepare(
            insert.on_conflict_do_update(
                index_elements=_KEY, set_={"thread": insert.excluded.thread, "kept_at": insert.excluded.kept_at}
            )
        )
        self._find = database.prepare(sa.select(_T.thread).where(mine))
        old = (
            sa.select(*_KEY)
            .where(_T.kept_at < ago(database.dialect, "age"))
            .order_by(_T.kept_at)
            .limit(value("limit", sa.BigInteger()))
        )
        self._forget = database.prepare(sa.delete(table).where(sa.tuple_(*_KEY).in_(old)).returning(_T.session))

    async def keep(self, tenant: str, session: str, engine: str, thread: str) -> None:
        """See ``ThreadStore``."""
        values = {"tenant": tenant, "session": session, "engine": engine, "thread": thread}
        await self._db.write(self._keep, values)

    async def find(self, tenant: str, session: str, engine: str) -> str:
        """See ``ThreadStore``."""
        rows = await self._db.read(self._find, {"tenant": tenant, "session": session, "engine": engine})
        return str(rows[0][0]) if rows else ""

    async def forget(self, older_than_s: float, *, limit: int) -> int:
        """See ``ThreadStore``."""
        return len(await self._db.write(self._forget, {"age": older_than_s, "limit": limit}))
