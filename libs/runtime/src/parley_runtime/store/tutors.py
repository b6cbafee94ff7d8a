"""Tutors and their sessions. See ``tutor_ports.TutorStore``.

Sessions begin one after another: each transaction that begins one first takes the row ``sequence.tutor_sessions``,
whose lock it holds until it commits, so that a limit is never exceeded, however many gateways ask at once.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from parley_protocol.tutors import TutorInfo
from parley_runtime.store.database import Database, Row, ago, as_text, now, value
from parley_runtime.store.schema import sequence, tutors
from parley_runtime.store.schema import tutor_sessions as table
from parley_runtime.store.tutor_ports import Full, SessionState, TutorSession

_S = table.c
_T = tutors.c
_NAME = "tutor_sessions"
_STATES_PER_QUERY = 32
_INFO = (_T.id, _T.admin, _T.name, _T.created_at)
_ROW = (_S.id, _S.tenant, _S.tutor, _S.student, _S.kb, _S.admin)

_encode = msgspec.json.Encoder()
_strings = msgspec.json.Decoder(str)

_ACTIVE: sa.ColumnElement[bool] = _S.state == sa.literal_column(f"'{SessionState.ACTIVE}'", sa.Text())
_REMOTE: sa.ColumnElement[bool] = _S.state == sa.literal_column(f"'{SessionState.REMOTE}'", sa.Text())


class TutorTable:
    """Statements on tutors and sessions, compiled once per store."""

    def __init__(self, database: Database) -> None:
        self._db = database
        prepare, limit = database.prepare, value("limit", sa.BigInteger())
        time = now(database.dialect)
        self._add = prepare(
            sa.insert(tutors)
            .values(
                tenant=value("tenant"),
                admin=value("admin"),
                name=value("name"),
                created_at=as_text(database.dialect, time),
            )
            .returning(*_INFO)
        )
        mine = sa.and_(_T.tenant == value("tenant"), _T.id == value("id", sa.BigInteger()))
        self._tutor = prepare(sa.select(*_INFO).where(mine))
        self._tutors = prepare(
            sa.select(*_INFO)
            .where(_T.tenant == value("tenant"), _T.id > value("after", sa.BigInteger()))
            .order_by(_T.id)
            .limit(limit)
        )
        self._remove = prepare(sa.delete(tutors).where(mine).returning(_T.id))
        self._sessions = _SessionStatements(database)

    async def add(self, tenant: str, *, admin: str, name: str) -> TutorInfo:
        """See ``tutor_ports.TutorStore``."""
        values = {"tenant": tenant, "admin": admin, "name": _encode.encode(name).decode()}
        return _info((await self._db.write(self._add, values))[0])

    async def tutor(self, tenant: str, id: int) -> TutorInfo | None:
        """See ``tutor_ports.TutorStore``."""
        rows = await self._db.read(self._tutor, {"tenant": tenant, "id": id})
        return _info(rows[0]) if rows else None

    async def tutors(self, tenant: str, *, after: int = 0, limit: int = 1000) -> list[TutorInfo]:
        """See ``tutor_ports.TutorStore``."""
        rows = await self._db.read(self._tutors, {"tenant": tenant, "after": after, "limit": limit})
        return [_info(row) for row in rows]

    async def remove(self, tenant: str, id: int) -> list[str] | None:
        """See ``tutor_ports.TutorStore``."""
        async with self._db.transaction() as transaction:
            if not await transaction.run(self._remove, {"tenant": tenant, "id": id}):
                return None
            rows = await transaction.run(self._sessions.end_of_tutor, {"tenant": tenant, "tutor": id})
        return [row[0] for row in rows]

    async def begin(
        self, tenant: str, session: str, *, tutor: int, student: str, kb: str | None, limit: int, timeout_s: float
    ) -> Full | None:
        """See ``tutor_ports.TutorStore``."""
        values = _values(tenant, session, tutor, student) | {"kb": kb, "timeout_s": timeout_s}
        async with self._db.transaction() as transaction:
            await transaction.run(self._sessions.lock, {})
            await transaction.run(self._sessions.expire, {})
            count, left_s = (await transaction.run(self._sessions.count, {}))[0]
            if count >= limit:
                return Full(max(0.0, left_s or 0.0))
            await transaction.run(self._sessions.begin, values)
        return None

    async def grant(self, tenant: str, session: str, *, tutor: int, student: str, admin: str) -> None:
        """See ``tutor_ports.TutorStore``."""
        await self._db.write(self._sessions.grant, _values(tenant, session, tutor, student) | {"admin": admin})

    async def session(self, tenant: str, session: str) -> TutorSession | None:
        """See ``tutor_ports.TutorStore``."""
        rows = await self._db.read(self._sessions.one, {"tenant": tenant, "id": session})
        return _session(rows[0]) if rows else None

    async def find(self, session: str) -> TutorSession | None:
        """See ``tutor_ports.TutorStore``."""
        rows = await self._db.read(self._sessions.find, {"id": session})
        return _session(rows[0]) if rows else None

    async def touch(self, session: str, ago_s: float) -> bool:
        """See ``tutor_ports.TutorStore``."""
        return bool(await self._db.write(self._sessions.touch, {"id": session, "ago": ago_s}))

    async def end(self, tenant: str, session: str) -> bool:
        """See ``tutor_ports.TutorStore``."""
        return bool(await self._db.write(self._sessions.end, {"tenant": tenant, "id": session}))

    async def expire(self) -> int:
        """See ``tutor_ports.TutorStore``."""
        return len(await self._db.write(self._sessions.expire, {}))

    async def states(self, sessions: Sequence[str]) -> dict[str, SessionState]:
        """See ``tutor_ports.TutorStore``."""
        found: dict[str, SessionState] = {}
        for start in range(0, len(sessions), _STATES_PER_QUERY):
            part = list(sessions[start : start + _STATES_PER_QUERY])
            part += part[:1] * (_STATES_PER_QUERY - len(part))
            rows = await self._db.read(self._sessions.states, {f"id{i}": id for i, id in enumerate(part)})
            found |= {id: SessionState(state) for id, state in rows}
        return found

    async def forget_sessions(self, older_than_s: float, *, limit: int) -> int:
        """See ``tutor_ports.TutorStore``."""
        return len(await self._db.write(self._sessions.forget, {"age": older_than_s, "limit": limit}))


class _SessionStatements:
    """Of sessions. ``state`` of an active row that is idle is read as expired."""

    def __init__(self, database: Database) -> None:
        prepare = database.prepare
        time = now(database.dialect)
        idle = _S.seen_at + _S.timeout_s < time
        awake = _S.seen_at + _S.timeout_s >= time
        state = sa.case(
            (sa.and_(_ACTIVE, idle), sa.literal_column(f"'{SessionState.EXPIRED}'", sa.Text())), else_=_S.state
        )
        by_id = _S.id == value("id")
        mine = sa.and_(_S.tenant == value("tenant"), by_id)
        over = {"ended_at": time}
        deleted = over | {"state": SessionState.DELETED.value}
        self.lock = prepare(sa.update(sequence).where(sequence.c.name == _NAME).values(value=sequence.c.value + 1))
        self.expire = prepare(
            sa.update(table).where(_ACTIVE, idle).values(over | {"state": SessionState.EXPIRED.value}).returning(_S.id)
        )
        self.count = prepare(sa.select(sa.func.count(), sa.func.min(_S.seen_at + _S.timeout_s) - time).where(_ACTIVE))
        names: dict[str, Any] = {
            "id": value("id"),
            "tenant": value("tenant"),
            "tutor": value("tutor", sa.BigInteger()),
            "student": value("student"),
            "created_at": time,
            "seen_at": time,
            "ended_at": 0.0,
        }
        begun = {"kb": value("kb", sa.Text()), "admin": "", "timeout_s": value("timeout_s", sa.Float())}
        self.begin = prepare(sa.insert(table).values(names | begun | {"state": SessionState.ACTIVE.value}))
        upsert = sqlite.insert(table) if database.dialect == "sqlite" else postgresql.insert(table)
        remote = {"kb": None, "admin": value("admin"), "timeout_s": 0.0, "state": SessionState.REMOTE.value}
        self.grant = prepare(
            upsert.values(names | remote).on_conflict_do_update(
                index_elements=[_S.id], set_={"admin": value("admin")}, where=_S.tenant == value("tenant")
            )
        )
        self.one = prepare(sa.select(*_ROW, state).where(mine))
        self.find = prepare(sa.select(*_ROW, state).where(by_id))
        used = ago(database.dialect, "ago")
        self.touch = prepare(
            sa.update(table)
            .where(by_id, _ACTIVE, awake)
            .values(seen_at=sa.case((_S.seen_at > used, _S.seen_at), else_=used))
            .returning(_S.id)
        )
        ends = sa.or_(_REMOTE, sa.and_(_ACTIVE, awake))
        self.end = prepare(sa.update(table).where(mine, ends).values(deleted).returning(_S.id))
        self.end_of_tutor = prepare(
            sa.update(table)
            .where(_S.tenant == value("tenant"), _S.tutor == value("tutor", sa.BigInteger()), _ACTIVE)
            .values(deleted)
            .returning(_S.id)
        )
        ids = [_S.id == value(f"id{i}", _S.id.type) for i in range(_STATES_PER_QUERY)]
        self.states = prepare(sa.select(_S.id, state).where(sa.or_(*ids)))
        before = ago(database.dialect, "age")
        old = sa.or_(sa.and_(_S.ended_at > 0, _S.ended_at < before), sa.and_(_REMOTE, _S.created_at < before))
        some = sa.select(_S.id).where(old).limit(value("limit", sa.BigInteger()))
        self.forget = prepare(sa.delete(table).where(_S.id.in_(some)).returning(_S.id))


def _values(tenant: str, session: str, tutor: int, student: str) -> dict[str, Any]:
    return {"tenant": tenant, "id": session, "tutor": tutor, "student": _encode.encode(student).decode()}


def _info(row: Row) -> TutorInfo:
    id, admin, name, created_at = row
    return TutorInfo(id=id, admin=admin, name=_strings.decode(name), created_at=created_at)


def _session(row: Row) -> TutorSession:
    id, tenant, tutor, student, kb, admin, state = row
    return TutorSession(
        id=id,
        tenant=tenant,
        tutor=tutor,
        student=_strings.decode(student),
        kb=kb,
        admin=admin,
        state=SessionState(state),
    )
