"""Dead letters, kept with their cause until somebody has looked at them."""

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from parley_protocol.work import DeadInfo
from parley_runtime.store.database import Database, value
from parley_runtime.store.schema import dead as table

_encode = msgspec.json.Encoder()
_infos = msgspec.json.Decoder(DeadInfo)


class DeadTable:
    """Statements on ``dead``, compiled once per store."""

    def __init__(self, database: Database) -> None:
        self._db = database
        insert = sqlite.insert(table) if database.dialect == "sqlite" else postgresql.insert(table)
        self._park_dead = database.prepare(
            insert.values(id=value("id"), info=value("info"), body=value("body")).on_conflict_do_nothing(
                index_elements=[table.c.id]
            )
        )
        self._list_dead = database.prepare(
            sa.select(table.c.info).order_by(table.c.seq.desc()).limit(value("limit", sa.BigInteger()))
        )
        self._one_dead = database.prepare(sa.select(table.c.info, table.c.body).where(table.c.id == value("id")))

    async def park(self, info: DeadInfo) -> None:
        """See ``ports.TurnStore``."""
        bare = msgspec.structs.replace(info, body=b"")
        await self._db.write(
            self._park_dead, {"id": info.id, "info": _encode.encode(bare).decode(), "body": bytes(info.body)}
        )

    async def dead(self, *, limit: int = 100, id: str = "") -> list[DeadInfo]:
        """See ``ports.TurnStore``."""
        if not id:
            return [_infos.decode(row[0]) for row in await self._db.read(self._list_dead, {"limit": limit})]
        rows = await self._db.read(self._one_dead, {"id": id})
        return [msgspec.structs.replace(_infos.decode(info), body=bytes(body)) for info, body in rows]
