"""Dead letters, kept with their cause until somebody has looked at them."""

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from parley_protocol.work import DeadInfo
from parley_runtime.store.database import Database, ago, as_text, now, value
from parley_runtime.store.schema import dead as table

_UNDATED: sa.ColumnElement[str] = sa.literal_column("''", sa.Text())
"""What a process of schema version 1 leaves, still running beside newer ones. Written out: a partial index asks it."""

_encode = msgspec.json.Encoder()
_infos = msgspec.json.Decoder(DeadInfo)


class DeadTable:
    """Statements on ``dead``, compiled once per store."""

    def __init__(self, database: Database) -> None:
        self._db = database
        insert = sqlite.insert(table) if database.dialect == "sqlite" else postgresql.insert(table)
        self._park_dead = database.prepare(
            insert.values(
                id=value("id"),
                info=value("info"),
                body=value("body"),
                parked_at=as_text(database.dialect, now(database.dialect)),
            ).on_conflict_do_nothing(index_elements=[table.c.id])
        )
        limit = value("limit", sa.BigInteger())
        newest_first = sa.select(table.c.info).order_by(table.c.seq.desc()).limit(limit)
        at = sa.select(table.c.seq).where(table.c.id == value("before")).scalar_subquery()
        self._list_dead = database.prepare(newest_first)
        self._list_before = database.prepare(newest_first.where(table.c.seq < at))
        self._drop_dead = database.prepare(sa.delete(table).where(table.c.id == value("id")).returning(table.c.id))
        # Letters are numbered as they come, so the oldest are the first: looking at those few needs no index.
        first = sa.select(table.c.seq).order_by(table.c.seq).limit(limit)
        dated = table.c.parked_at != _UNDATED
        old = table.c.parked_at < as_text(database.dialect, ago(database.dialect, "age"))
        self._forget_dead = database.prepare(
            sa.delete(table).where(table.c.seq.in_(first), dated, old).returning(table.c.id)
        )
        undated = sa.select(table.c.seq).where(table.c.parked_at == _UNDATED).order_by(table.c.seq).limit(limit)
        self._date_dead = database.prepare(
            sa.update(table)
            .where(table.c.seq.in_(undated))
            .values(parked_at=as_text(database.dialect, now(database.dialect)))
        )
        self._one_dead = database.prepare(sa.select(table.c.info, table.c.body).where(table.c.id == value("id")))

    async def park(self, info: DeadInfo) -> None:
        """See ``ports.TurnStore``."""
        bare = msgspec.structs.replace(info, body=b"")
        await self._db.write(
            self._park_dead,
            {"id": info.id, "info": _encode.encode(bare).decode(), "body": bytes(info.body)},
        )

    async def dead(self, *, limit: int = 100, id: str = "", before: str = "") -> list[DeadInfo]:
        """See ``ports.TurnStore``."""
        if not id:
            statement = self._list_before if before else self._list_dead
            rows = await self._db.read(statement, {"limit": limit, "before": before})
            return [_infos.decode(row[0]) for row in rows]
        rows = await self._db.read(self._one_dead, {"id": id})
        return [msgspec.structs.replace(_infos.decode(info), body=bytes(body)) for info, body in rows]

    async def drop_dead(self, id: str) -> int:
        """See ``ports.TurnStore``."""
        return len(await self._db.write(self._drop_dead, {"id": id}))

    async def forget_dead(self, older_than_s: float, *, limit: int) -> int:
        """See ``ports.TurnStore``."""
        await self._db.write(self._date_dead, {"limit": limit})
        return len(await self._db.write(self._forget_dead, {"age": older_than_s, "limit": limit}))
