"""Messages of the contact chat. See ``contact_ports.ContactStore``.

A message takes its number from the row ``sequence.contact`` in the one statement that keeps it. On PostgreSQL the
statement holds that row's lock until it commits, and SQLite has one writer at a time: numbers become visible in their
order, and a reader needs only the last one.
"""

from typing import Any

import msgspec
import sqlalchemy as sa

from parley_protocol.contact import ContactMessage
from parley_runtime.store.database import Database, Row, ago, as_text, now, value
from parley_runtime.store.schema import contact as table
from parley_runtime.store.schema import sequence

_C = table.c
_NAME = "contact"
_COLUMNS = (_C.id, _C.client, _C.sender, _C.kind, _C.text, _C.kept_at, _C.user_agent)

_encode = msgspec.json.Encoder()
_strings = msgspec.json.Decoder(str)


class ContactTable:
    """Statements on ``contact``, compiled once per store."""

    def __init__(self, database: Database) -> None:
        self._db = database
        prepare, limit = database.prepare, value("limit", sa.BigInteger())
        time = as_text(database.dialect, now(database.dialect))
        self._keep = prepare(_keep(database, time))
        above = sa.select(*_COLUMNS).where(_C.id > value("after", sa.BigInteger())).order_by(_C.id).limit(limit)
        self._page = prepare(above.where(_C.tenant == value("tenant")))
        self._news = prepare(above.add_columns(_C.tenant))
        self._last = prepare(sa.select(sequence.c.value).where(sequence.c.name == _NAME))
        first = sa.select(_C.id).order_by(_C.id).limit(limit)
        old = _C.kept_at < as_text(database.dialect, ago(database.dialect, "age"))
        self._forget = prepare(sa.delete(table).where(_C.id.in_(first), old).returning(_C.id))

    async def keep(
        self, tenant: str, *, client: str, sender: str, kind: str, text: str, user_agent: str = ""
    ) -> ContactMessage:
        """See ``contact_ports.ContactStore``."""
        values: dict[str, Any] = {
            "tenant": tenant,
            "client": client,
            "sender": sender,
            "kind": kind,
            "text": _encode.encode(text).decode(),
            "user_agent": _encode.encode(user_agent).decode(),
        }
        number, kept_at = (await self._db.write(self._keep, values))[0]
        return ContactMessage(
            id=number,
            client_id=client,
            sender=sender,
            kind=kind,
            message=text,
            timestamp=_offset(kept_at),
            user_agent=user_agent,
        )

    async def messages(self, tenant: str, *, after: int = 0, limit: int = 100) -> list[ContactMessage]:
        """See ``contact_ports.ContactStore``."""
        rows = await self._db.read(self._page, {"tenant": tenant, "after": after, "limit": limit})
        return [_message(row) for row in rows]

    async def news(self, after: int, *, limit: int) -> list[tuple[str, ContactMessage]]:
        """See ``contact_ports.ContactStore``."""
        rows = await self._db.read(self._news, {"after": after, "limit": limit})
        return [(row[-1], _message(row)) for row in rows]

    async def last(self) -> int:
        """See ``contact_ports.ContactStore``."""
        return int((await self._db.read(self._last, {}))[0][0])

    async def forget(self, older_than_s: float, *, limit: int) -> int:
        """See ``contact_ports.ContactStore``."""
        return len(await self._db.write(self._forget, {"age": older_than_s, "limit": limit}))


def _keep(database: Database, time: sa.ColumnElement[str]) -> sa.Insert:
    """Insert under the next number. On SQLite a trigger moves the sequence on."""
    names = ("tenant", "client", "sender", "kind", "text", "user_agent")
    given = {name: value(name, _C[name].type) for name in names}
    if database.dialect == "sqlite":
        following = sa.select(sequence.c.value + 1).where(sequence.c.name == _NAME).scalar_subquery()
        return sa.insert(table).values(given | {"id": following, "kept_at": time}).returning(_C.id, _C.kept_at)
    taken = (
        sa.update(sequence)
        .where(sequence.c.name == _NAME)
        .values(value=sequence.c.value + 1)
        .returning(sequence.c.value)
        .cte("taken")
    )
    row = sa.select(taken.c.value, time, *(sa.cast(given[name], sa.Text()) for name in names))
    return sa.insert(table).from_select(["id", "kept_at", *names], row).returning(_C.id, _C.kept_at)


def _message(row: Row) -> ContactMessage:
    id, client, sender, kind, text, kept_at, user_agent = row[:7]
    return ContactMessage(
        id=id,
        client_id=client,
        sender=sender,
        kind=kind,
        message=_strings.decode(text),
        timestamp=_offset(kept_at),
        user_agent=_strings.decode(user_agent),
    )


def _offset(time: str) -> str:
    """As clients of the documented dialects are told times."""
    return time.replace("Z", "+00:00")
