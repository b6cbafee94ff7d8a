"""Conversations: who may write a turn, and how it ended. See ``ports.TurnStore``.

Every rule of the row is in a WHERE clause, so that the database, not this process, decides: a row that is not
``open`` is matched by no writing statement. PostgreSQL locks a conflicting row and looks again; SQLite has one writer.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from parley_protocol.events import Ending, Fault, Hop, Marks, Source, TurnStatus, Usage
from parley_protocol.ids import TurnKey
from parley_protocol.work import Record
from parley_runtime.errors import Unavailable
from parley_runtime.store.database import Database, DialectName, Row, ago, now, value
from parley_runtime.store.ports import (
    AlreadyClosed,
    Claimed,
    Closing,
    Crossed,
    Exchange,
    FirstClaim,
    LaterClaim,
    NotMine,
    OtherSubmission,
    Stored,
    Superseded,
    TurnRow,
)
from parley_runtime.store.schema import turns

_T = turns.c
_KEY = (_T.tenant, _T.session, _T.turn)
_KEYS_PER_QUERY = 32
_EMPTY = '""'
_ANY = -1
"""In place of an expected fence: whatever it is."""

_encode = msgspec.json.Encoder()
_strings = msgspec.json.Decoder(str)


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """Column ``outcome``: what a closed turn holds beside its text. New fields have defaults."""

    sources: tuple[Source, ...] = ()
    usage: Usage | None = None
    hops: tuple[Hop, ...] = ()
    fault: Fault | None = None
    marks: Marks = msgspec.field(default_factory=Marks)
    ending: Ending | None = None


_outcomes = msgspec.json.Decoder(Outcome)


def _json(thing: Any) -> str:
    return _encode.encode(thing).decode()


class TurnTable:
    """Statements on ``turns``, compiled once per store."""

    def __init__(self, database: Database) -> None:
        self._db = database
        prepare = database.prepare
        mine = sa.and_(*(column == value(column.name) for column in _KEY))
        of_session = sa.and_(_T.tenant == value("tenant"), _T.session == value("session"))
        self._claim_first = prepare(_claim_first(database.dialect))
        self._claim_later = prepare(
            sa.update(turns)
            .where(mine, _T.status == TurnStatus.OPEN.value, _T.base == value("base"), _as_expected())
            .values(fence=_T.fence + 1)
            .returning(_T.base, _T.fence)
        )
        self._close = prepare(
            sa.update(turns)
            .where(mine, _T.status == TurnStatus.OPEN.value, _T.fence == value("fence"))
            .values(_closing(database.dialect))
            .returning(*_RETURNED)
        )
        self._close_forced = prepare(_close_forced(database.dialect))
        read = (*turns.c, (now(database.dialect) - _T.closed_at).label("closed_ago_s"))
        self._one_turn = prepare(sa.select(*read).where(mine))
        self._many = prepare(sa.select(*read).where(_any_of(_KEYS_PER_QUERY)))
        known = sa.select(_T.id).where(mine).scalar_subquery()
        self._after = prepare(
            sa.select(*read).where(of_session, _T.id > known).order_by(_T.id).limit(value("limit", sa.BigInteger()))
        )
        self._conversation = prepare(
            sa.select(_T.turn, _T.question, _T.text, _T.heard)
            .where(of_session, _T.answered == 1)
            .order_by(_T.id.desc())
            .limit(value("limit", sa.BigInteger()))
        )
        self._keep_heard = prepare(sa.update(turns).where(mine).values(heard=value("heard")).returning(_T.id))
        self._overdue = prepare(
            sa.select(*read)
            .where(_T.status == sa.literal_column("'open'"), _T.opened_at < ago(database.dialect, "age"))
            .order_by(_T.opened_at)
            .limit(value("limit", sa.BigInteger()))
        )

        # Rows are numbered as turns begin, and none stays open for long: the oldest are the first. Looking at those few
        # needs no index, which every turn would pay for.
        first = sa.select(_T.id).order_by(_T.id).limit(value("limit", sa.BigInteger()))
        self._forget_turns = prepare(
            sa.delete(turns)
            .where(
                _T.id.in_(first),
                _T.status != TurnStatus.OPEN.value,
                _T.closed_at < ago(database.dialect, "age"),
            )
            .returning(_T.id)
        )

    async def claim_first(
        self, key: TurnKey, *, submission: str, digest: str, question: str, fence: int | None = None
    ) -> FirstClaim:
        """See ``ports.TurnStore``."""
        values = {
            **_named(key),
            "submission": submission,
            "digest": digest,
            "question": _json(question),
            "expected": _ANY if fence is None else fence,
        }
        claimed = await self._db.write(self._claim_first, values)
        if claimed:
            return Claimed(*claimed[0])
        row = await self._turn(key)
        if row is None or (fence is None and not row.closed and row.submission == submission):
            raise Unavailable("a turn's row changed by other hands than Parley's; the claim is tried again")
        if row.closed:
            return AlreadyClosed(row)
        return Crossed() if row.submission == submission else OtherSubmission(conflict=row.digest != digest)

    async def claim_later(self, key: TurnKey, *, base: int, fence: int | None = None) -> LaterClaim:
        """See ``ports.TurnStore``."""
        values = {**_named(key), "base": base, "expected": _ANY if fence is None else fence}
        claimed = await self._db.write(self._claim_later, values)
        if claimed:
            return Claimed(*claimed[0])
        row = await self._turn(key)
        if row is None or (not row.closed and row.base != base):
            return NotMine()
        return AlreadyClosed(row) if row.closed else Crossed()

    async def close(self, record: Record) -> Closing:
        """See ``ports.TurnStore``."""
        if record.status is TurnStatus.OPEN:
            raise ValueError("a record ends a turn; its status cannot be open")
        values = _record_values(record)
        statement = self._close_forced if record.forced else self._close
        closed = await self._db.write(statement, values)
        if closed:
            return Stored(_closed_row(record, closed[0]))
        row = await self._turn(record.key)
        if row is not None and row.closed:
            return AlreadyClosed(row)
        return Superseded()

    async def rows(self, keys: Sequence[TurnKey]) -> list[TurnRow]:
        """See ``ports.TurnStore``."""
        if len(keys) == 1:
            row = await self._turn(keys[0])
            return [] if row is None else [row]
        wanted = list(dict.fromkeys(keys))
        found: list[TurnRow] = []
        for start in range(0, len(wanted), _KEYS_PER_QUERY):
            part = wanted[start : start + _KEYS_PER_QUERY]
            part += part[:1] * (_KEYS_PER_QUERY - len(part))
            values = {name + str(i): text for i, key in enumerate(part) for name, text in _named(key).items()}
            found.extend(_row(row) for row in await self._db.read(self._many, values))
        return found

    async def after(self, tenant: str, session: str, turn: str, *, limit: int) -> list[TurnRow]:
        """See ``ports.TurnStore``."""
        values = {"tenant": tenant, "session": session, "turn": turn, "limit": limit}
        return [_row(row) for row in await self._db.read(self._after, values)]

    async def conversation(self, tenant: str, session: str, *, limit: int) -> list[Exchange]:
        """See ``ports.TurnStore``."""
        values = {"tenant": tenant, "session": session, "limit": limit}
        rows = await self._db.read(self._conversation, values)
        return [
            Exchange(turn, _strings.decode(question), _strings.decode(text)[:heard])
            for turn, question, text, heard in reversed(rows)
        ]

    async def keep_heard(self, key: TurnKey, characters: int) -> bool:
        """See ``ports.TurnStore``."""
        return bool(await self._db.write(self._keep_heard, {**_named(key), "heard": max(0, characters)}))

    async def overdue(self, older_than_s: float, *, limit: int) -> list[TurnRow]:
        """See ``ports.TurnStore``."""
        values = {"age": older_than_s, "limit": limit}
        return [_row(row) for row in await self._db.read(self._overdue, values)]

    async def forget_turns(self, older_than_s: float, *, limit: int) -> int:
        """See ``ports.TurnStore``."""
        values = {"age": older_than_s, "limit": limit}
        return len(await self._db.write(self._forget_turns, values))

    async def _turn(self, key: TurnKey) -> TurnRow | None:
        rows = await self._db.read(self._one_turn, _named(key))
        return _row(rows[0]) if rows else None


_RETURNED = (_T.submission, _T.digest, _T.base, _T.fence, _T.question, _T.opened_at)


def _as_expected() -> Any:
    expected = value("expected", sa.BigInteger())
    return sa.or_(expected == _ANY, _T.fence == expected)


def _claim_first(dialect: DialectName) -> Any:
    insert = sqlite.insert(turns) if dialect == "sqlite" else postgresql.insert(turns)
    insert = insert.values(
        tenant=value("tenant"),
        session=value("session"),
        turn=value("turn"),
        submission=value("submission"),
        digest=value("digest"),
        question=value("question"),
        opened_at=now(dialect),
        base=1,
        fence=1,
        status=TurnStatus.OPEN.value,
        n=0,
        answered=0,
        closed_at=0.0,
    )
    return insert.on_conflict_do_update(
        index_elements=_KEY,
        set_={"base": _T.fence + 1, "fence": _T.fence + 1},
        where=sa.and_(_T.status == TurnStatus.OPEN.value, _T.submission == insert.excluded.submission, _as_expected()),
    ).returning(_T.base, _T.fence)


def _closing(dialect: DialectName) -> dict[str, Any]:
    """What closing sets. A record without a question (it was not known there) keeps the claim's."""
    question = value("question", sa.Text())
    return {
        "status": value("status"),
        "n": value("n"),
        "answered": value("answered"),
        "question": sa.case((question == _EMPTY, _T.question), else_=question),
        "text": value("text"),
        "outcome": value("outcome"),
        "closed_at": now(dialect),
    }


def _close_forced(dialect: DialectName) -> Any:
    insert = sqlite.insert(turns) if dialect == "sqlite" else postgresql.insert(turns)
    insert = insert.values(
        {
            **_closing(dialect),
            "question": value("question"),
            "tenant": value("tenant"),
            "session": value("session"),
            "turn": value("turn"),
            "submission": value("submission"),
            "digest": value("digest"),
            "base": value("base"),
            "fence": value("fence"),
            "opened_at": now(dialect),
        }
    )
    of_any = value("own", sa.BigInteger()) == 0
    return insert.on_conflict_do_update(
        index_elements=_KEY,
        set_=_closing(dialect),
        where=sa.and_(_T.status == TurnStatus.OPEN.value, sa.or_(of_any, _T.submission == insert.excluded.submission)),
    ).returning(*_RETURNED)


def _any_of(count: int) -> Any:
    return sa.or_(*(sa.and_(*(column == value(f"{column.name}{i}") for column in _KEY)) for i in range(count)))


def _named(key: TurnKey) -> dict[str, Any]:
    return {"tenant": key.tenant, "session": key.session, "turn": key.turn}


def _record_values(record: Record) -> dict[str, Any]:
    outcome = Outcome(record.sources, record.usage, record.hops, record.fault, record.marks, record.ending)
    cancelled_with_text = record.status is TurnStatus.CANCELLED and bool(record.text)
    answered = record.text is not None and (record.status is TurnStatus.COMPLETED or cancelled_with_text)
    return {
        **_named(record.key),
        "submission": record.submission,
        "digest": record.digest,
        "base": record.base,
        "fence": record.fence,
        "own": int(record.own),
        "status": record.status.value,
        "n": record.n,
        "answered": int(answered),
        "question": _json(record.question),
        "text": None if record.text is None else _json(record.text),
        "outcome": _json(outcome),
    }


def _closed_row(record: Record, returned: Row) -> TurnRow:
    submission, digest, base, fence, question, opened_at = returned
    return TurnRow(
        key=record.key,
        submission=submission,
        digest=digest,
        base=base,
        fence=fence,
        status=record.status,
        n=record.n,
        question=_strings.decode(question),
        text=record.text,
        sources=record.sources,
        usage=record.usage,
        hops=record.hops,
        fault=record.fault,
        marks=record.marks,
        ending=record.ending,
        opened_at=opened_at,
    )


def _row(row: Row) -> TurnRow:
    _, tenant, session, turn, submission, digest, base, fence, status, n, _, question, text, outcome, *times = row
    opened_at, _, heard, closed_ago_s = times
    held = Outcome() if outcome is None else _outcomes.decode(outcome)
    return TurnRow(
        key=TurnKey(tenant, session, turn),
        submission=submission,
        digest=digest,
        base=base,
        fence=fence,
        status=TurnStatus(status),
        n=n,
        question=_strings.decode(question),
        text=None if text is None else _strings.decode(text),
        sources=held.sources,
        usage=held.usage,
        hops=held.hops,
        fault=held.fault,
        marks=held.marks,
        ending=held.ending,
        heard=heard,
        opened_at=opened_at,
        closed_ago_s=max(0.0, closed_ago_s) if status != TurnStatus.OPEN.value else 0.0,
    )
