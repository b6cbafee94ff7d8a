"""Documents, their passages and the log of changes. See ``ports.KnowledgeStore``.

The log is the ``seq`` of each document's last change; a removed document stays as a tombstone without passages.
Every transaction that changes a document first takes its number from the row ``sequence.changes``, whose lock it
then holds until it commits. Numbers therefore become visible in their order: a reader that has seen ``seq`` has seen
everything below it, on PostgreSQL too.
"""

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from parley_protocol.work import BaseInfo, DocumentInfo
from parley_runtime.store.database import Database, Row, Transaction, ago, as_text, now, rfc3339, value
from parley_runtime.store.ports import Change, StoredPassage
from parley_runtime.store.schema import documents as table
from parley_runtime.store.schema import passages as passage_table
from parley_runtime.store.schema import sequence

_D = table.c
_CHANGES = "changes"
_FORGOTTEN = "forgotten"

_encode = msgspec.json.Encoder()
_strings = msgspec.json.Decoder(str)
_passages = msgspec.json.Decoder(tuple[StoredPassage, ...])
_INFO = (_D.path, _D.title, _D.digest, _D.size, _D.passages, _D.updated_at)


class KnowledgeTable:
    """Statements on documents, passages and the change log, compiled once per store."""

    def __init__(self, database: Database) -> None:
        self._db = database
        prepare = database.prepare
        upsert = sqlite.insert if database.dialect == "sqlite" else postgresql.insert
        of_base = sa.and_(_D.tenant == value("tenant"), _D.kb == value("kb"))
        live = sa.and_(of_base, _D.removed == 0)
        limit = value("limit", sa.BigInteger())
        self._next = prepare(
            sa.update(sequence)
            .where(sequence.c.name == _CHANGES)
            .values(value=sequence.c.value + value("by", sa.BigInteger()))
            .returning(sequence.c.value)
        )
        self._put = prepare(_put_document(upsert))
        self._put_passages = prepare(_put_passages(upsert))
        self._one_document = prepare(sa.select(*_INFO).where(live, _D.path == value("path")))
        self._list_documents = prepare(
            sa.select(*_INFO).where(live, _D.path > value("after")).order_by(_D.path).limit(limit)
        )
        self._ids = prepare(sa.select(_D.id).where(live).order_by(_D.id))
        self._id = prepare(sa.select(_D.id).where(live, _D.path == value("path")))
        self._bury = prepare(_bury_document(database))
        self._passages_of = prepare(
            sa.select(passage_table.c.body)
            .select_from(table.join(passage_table, passage_table.c.document == _D.id))
            .where(live, _D.path == value("path"))
        )
        self._drop_passages = prepare(sa.delete(passage_table).where(passage_table.c.document == value("document")))
        self._bases = prepare(_all_bases())
        before = as_text(database.dialect, ago(database.dialect, "age"))
        oldest = sa.select(_D.id).where(_D.removed == sa.literal_column("1"), _D.updated_at < before)
        self._forget = prepare(
            sa.delete(table).where(_D.id.in_(oldest.order_by(_D.updated_at).limit(limit))).returning(_D.seq)
        )
        self._forgot = prepare(
            sa.update(sequence)
            .where(sequence.c.name == _FORGOTTEN, sequence.c.value < value("to"))
            .values(value=value("to"))
        )
        self._forgotten = prepare(sa.select(sequence.c.value).where(sequence.c.name == _FORGOTTEN))
        self._changes = prepare(_changes_after(limit))

    async def put_document(
        self, tenant: str, kb: str, info: DocumentInfo, passages: Sequence[StoredPassage]
    ) -> DocumentInfo:
        """See ``ports.KnowledgeStore``."""
        known = await self.document(tenant, kb, info.path)
        if known is not None and known.digest == info.digest:
            return msgspec.structs.replace(known, outcome="unchanged")
        body = _encode.encode(passages).decode()
        stored = msgspec.structs.replace(
            info, passages=len(passages), updated_at=info.updated_at or rfc3339(time.time())
        )
        name = {"tenant": tenant, "kb": kb, "path": info.path}
        async with self._db.transaction() as transaction:
            to = await self._take(transaction, 1)
            before = await transaction.run(self._one_document, name)
            if before and _info(before[0]).digest == info.digest:  # another process was faster
                return msgspec.structs.replace(_info(before[0]), outcome="unchanged")
            rows = await transaction.run(self._put, {**name, **_columns(stored), "to": to})
            await transaction.run(self._put_passages, {"document": rows[0][0], "body": body})
        return msgspec.structs.replace(stored, outcome="replaced" if before else "created")

    async def delete_document(self, tenant: str, kb: str, path: str) -> int:
        """See ``ports.KnowledgeStore``."""
        name = {"tenant": tenant, "kb": kb, "path": path}
        async with self._db.transaction() as transaction:
            last = await self._take(transaction, 0)  # the lock; nothing in this base changes from here on
            found = [row[0] for row in await transaction.run(self._id if path else self._ids, name)]
            if found:
                await self._take(transaction, len(found))
                buried = [{"document": id, "to": last + i} for i, id in enumerate(found, start=1)]
                await transaction.run_many(self._bury, buried)
                await transaction.run_many(self._drop_passages, buried)
        return len(found)

    async def document(self, tenant: str, kb: str, path: str) -> DocumentInfo | None:
        """See ``ports.KnowledgeStore``."""
        rows = await self._db.read(self._one_document, {"tenant": tenant, "kb": kb, "path": path})
        return _info(rows[0]) if rows else None

    async def documents(self, tenant: str, kb: str, *, after: str = "", limit: int = 1000) -> list[DocumentInfo]:
        """See ``ports.KnowledgeStore``."""
        values = {"tenant": tenant, "kb": kb, "after": after, "limit": limit}
        return [_info(row) for row in await self._db.read(self._list_documents, values)]

    async def passages(self, tenant: str, kb: str, path: str) -> tuple[StoredPassage, ...]:
        """See ``ports.KnowledgeStore``."""
        rows = await self._db.read(self._passages_of, {"tenant": tenant, "kb": kb, "path": path})
        return _passages.decode(rows[0][0]) if rows else ()

    async def bases(self, tenant: str) -> list[BaseInfo]:
        """See ``ports.KnowledgeStore``."""
        rows = await self._db.read(self._bases, {"tenant": tenant})
        return [BaseInfo(name=kb, documents=count, passages=total) for kb, count, total in rows]

    async def changes(self, after: int, *, limit: int) -> list[Change]:
        """See ``ports.KnowledgeStore``."""
        rows = await self._db.read(self._changes, {"after": after, "limit": limit})
        return [
            Change(
                seq=seq,
                tenant=tenant,
                kb=kb,
                document=path,
                title=_strings.decode(title),
                passages=() if body is None else _passages.decode(body),
            )
            for seq, tenant, kb, path, title, body in rows
        ]

    async def forget_removed(self, older_than_s: float, *, limit: int) -> int:
        """See ``ports.KnowledgeStore``."""
        async with self._db.transaction() as transaction:
            await self._take(transaction, 0)  # no reader sees the log shortened before it can see that it was
            gone = [row[0] for row in await transaction.run(self._forget, {"age": older_than_s, "limit": limit})]
            if gone:
                await transaction.run(self._forgot, {"to": max(gone)})
        return len(gone)

    async def forgotten(self) -> int:
        """See ``ports.KnowledgeStore``."""
        rows = await self._db.read(self._forgotten, {})
        return int(rows[0][0])

    async def _take(self, transaction: Transaction, by: int) -> int:
        rows = await transaction.run(self._next, {"by": by})
        last: int = rows[0][0]
        return last


_EMPTY = '""'


def _bury_document(database: Database) -> sa.Update:
    """A tombstone, without passages."""
    return (
        sa.update(table)
        .where(_D.id == value("document"))
        .values(
            removed=1,
            seq=value("to"),
            title=_EMPTY,
            digest="",
            size=0,
            passages=0,
            updated_at=as_text(database.dialect, now(database.dialect)),
        )
    )


def _all_bases() -> sa.Select[Any]:
    return (
        sa.select(_D.kb, sa.func.count(), sa.cast(sa.func.sum(_D.passages), sa.BigInteger()))
        .where(_D.tenant == value("tenant"), _D.removed == 0)
        .group_by(_D.kb)
        .order_by(_D.kb)
    )


def _changes_after(limit: sa.BindParameter[Any]) -> sa.Select[Any]:
    return (
        sa.select(_D.seq, _D.tenant, _D.kb, _D.path, _D.title, passage_table.c.body)
        .select_from(table.outerjoin(passage_table, passage_table.c.document == _D.id))
        .where(_D.seq > value("after"))
        .order_by(_D.seq)
        .limit(limit)
    )


def _put_document(upsert: Any) -> Any:
    columns = {
        "title": value("title"),
        "digest": value("digest"),
        "size": value("size"),
        "passages": value("passages"),
        "updated_at": value("updated_at"),
        "removed": 0,
        "seq": value("to"),
    }
    names = {"tenant": value("tenant"), "kb": value("kb"), "path": value("path")}
    return (
        upsert(table)
        .values({**names, **columns})
        .on_conflict_do_update(index_elements=[_D.tenant, _D.kb, _D.path], set_=columns)
        .returning(_D.id)
    )


def _put_passages(upsert: Any) -> Any:
    body = value("body", sa.Text())
    return (
        upsert(passage_table)
        .values(document=value("document"), body=body)
        .on_conflict_do_update(index_elements=[passage_table.c.document], set_={"body": body})
    )


def _columns(info: DocumentInfo) -> dict[str, Any]:
    return {
        "title": _encode.encode(info.title).decode(),
        "digest": info.digest,
        "size": info.size,
        "passages": info.passages,
        "updated_at": info.updated_at,
    }


def _info(row: Row) -> DocumentInfo:
    path, title, digest, size, count, updated_at = row
    return DocumentInfo(
        path=path,
        title=_strings.decode(title),
        digest=digest,
        size=size,
        passages=count,
        updated_at=updated_at,
    )
