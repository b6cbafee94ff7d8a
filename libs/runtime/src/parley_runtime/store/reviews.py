"""Contract reviews: tasks, their documents and clauses. See ``review_ports.ReviewStore``.

Whoever changes a task takes the lock of its row first. Of several workers that store the last results of a task side by
side, the later one therefore sees what the earlier one stored, and exactly one finds that nothing is missing.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from parley_protocol.reviews import ClauseResult, Finding, ReviewStatus, ReviewSummary, Risk
from parley_runtime.errors import Conflict, Invalid, Overloaded
from parley_runtime.store.database import Database, Prepared, Row, Transaction, ago, now, value
from parley_runtime.store.review_ports import (
    RESERVED_IDS,
    Assessing,
    NewClause,
    NewReview,
    ReviewDocument,
    ReviewRow,
    StoredClause,
)
from parley_runtime.store.schema import review_clauses as clause_table
from parley_runtime.store.schema import review_texts as text_table
from parley_runtime.store.schema import reviews as table
from parley_runtime.store.schema import sequence

_R, _T, _C = table.c, text_table.c, clause_table.c
_OPEN = _R.ended == sa.literal_column("0")
_MINE = sa.and_(_R.tenant == value("tenant"), _R.id == value("task"))
_NAME = "reviews"
MAX_NOTES = 20
"""Notes of clauses that a summary keeps."""
RETRY_AFTER_S = 10.0

_encode = msgspec.json.Encoder()
_strings = msgspec.json.Decoder(str)
_summaries = msgspec.json.Decoder(ReviewSummary)
_results = msgspec.json.Decoder(ClauseResult)


class About(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What people said of a task."""

    contract_type: str = ""
    role: str = ""
    name: str = ""
    media_type: str = ""


_abouts = msgspec.json.Decoder(About)


class ReviewTable:
    """Statements on the three tables, compiled once per store."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._s = _Statements(database)

    async def create(self, review: NewReview, *, limit: int, task: int | None = None) -> tuple[ReviewRow, bool]:
        """See ``ReviewStore``."""
        if task is not None and not 1 <= task <= RESERVED_IDS:
            raise Invalid(f"an id that is asked for must be from 1 to {RESERVED_IDS}")
        about = About(
            contract_type=review.contract_type, role=review.role, name=review.name, media_type=review.media_type
        )
        async with self._db.transaction() as transaction:
            taken = await transaction.run(self._s.next, {"by": int(task is None)})  # the lock: counted one by one
            number = int(taken[0][0]) if task is None else task
            found = await transaction.run(self._s.any, {"task": number})
            if found:
                return _same(found[0], review), False
            waiting = await transaction.run(self._s.count_open, {})
            if waiting[0][0] >= limit:
                raise Overloaded(f"{limit} reviews wait or are being worked on", retry_after_s=RETRY_AFTER_S)
            values = {"tenant": review.tenant, "task": number, "digest": review.digest, "about": _json(about)}
            await transaction.run(self._s.insert, values)
            await transaction.run(self._s.insert_text, {"task": number, "data": review.data})
            rows = await transaction.run(self._s.one, values)
        return _row(rows[0]), True

    async def row(self, tenant: str, task: int) -> ReviewRow | None:
        """See ``ReviewStore``."""
        rows = await self._db.read(self._s.one, {"tenant": tenant, "task": task})
        return _row(rows[0]) if rows else None

    async def withdraw(self, tenant: str, task: int) -> bool:
        """See ``ReviewStore``."""
        return bool(await self._db.write(self._s.withdraw, {"tenant": tenant, "task": task}))

    async def begin(self, tenant: str, task: int) -> ReviewRow | None:
        """See ``ReviewStore``."""
        await self._db.write(self._s.begin, {"tenant": tenant, "task": task})
        return await self.row(tenant, task)

    async def document(self, tenant: str, task: int) -> ReviewDocument | None:
        """See ``ReviewStore``."""
        rows = await self._db.read(self._s.document, {"tenant": tenant, "task": task})
        if not rows:
            return None
        about = _abouts.decode(rows[0][0])
        return ReviewDocument(name=about.name, media_type=about.media_type, data=bytes(rows[0][1]))

    async def text(self, tenant: str, task: int) -> str | None:
        """See ``ReviewStore``."""
        rows = await self._db.read(self._s.text, {"tenant": tenant, "task": task})
        return _strings.decode(rows[0][0]) if rows and rows[0][0] is not None else None

    async def cut(self, tenant: str, task: int, text: str, facts: str, clauses: Sequence[NewClause]) -> bool:
        """See ``ReviewStore``."""
        name = {"tenant": tenant, "task": task}
        async with self._db.transaction() as transaction:
            if not await transaction.run(self._s.cut, {**name, "clauses": len(clauses)}):
                return False
            await transaction.run(self._s.keep_text, {"task": task, "body": _json(text), "facts": _json(facts)})
            rows = [
                {"task": task, "number": number, "starts": one.start, "ends": one.end, "body": _json(one.text)}
                for number, one in enumerate(clauses)
            ]
            await transaction.run_many(self._s.insert_clause, rows)
        return True

    async def facts(self, tenant: str, task: int) -> str:
        """See ``ReviewStore``."""
        rows = await self._db.read(self._s.facts, {"tenant": tenant, "task": task})
        return _strings.decode(rows[0][0]) if rows else ""

    async def waiting(self, tenant: str, task: int, first: int, count: int) -> list[StoredClause]:
        """See ``ReviewStore``."""
        values = {"tenant": tenant, "task": task, "first": first, "to": first + count}
        rows = await self._db.read(self._s.waiting, values)
        return [StoredClause(number=number, text=_strings.decode(body)) for number, body in rows]

    async def assess(self, tenant: str, task: int, results: Sequence[tuple[int, ClauseResult]]) -> Assessing | None:
        """See ``ReviewStore``."""
        name = {"tenant": tenant, "task": task}
        async with self._db.transaction() as transaction:
            stored, completed = 0, False
            if await transaction.run(self._s.hold, name):  # the lock; whoever comes next sees what is stored here
                for number, result in results:
                    values = {"task": task, "number": number, "result": _json(result)}
                    stored += len(await transaction.run(self._s.keep_result, values))
                completed = await self._count(transaction, name)
            rows = await transaction.run(self._s.one, name)
        return Assessing(row=_row(rows[0]), stored=stored, completed=completed) if rows else None

    async def _count(self, transaction: Transaction, name: dict[str, Any]) -> bool:
        """Write how many clauses are done; where all are, gather. Returns whether it did."""
        rows = await transaction.run(self._s.count_done, name)
        if rows[0][0] < rows[0][1]:
            return False
        results = [_results.decode(row[0]) for row in await transaction.run(self._s.results, name)]
        await transaction.run(self._s.complete, {**name, "summary": _json(gathered(results))})
        return True

    async def fail(self, tenant: str, task: int, error: str) -> bool:
        """See ``ReviewStore``."""
        values = {"tenant": tenant, "task": task, "error": _json(error)}
        return bool(await self._db.write(self._s.fail, values))

    async def findings(self, tenant: str, task: int) -> list[Finding]:
        """See ``ReviewStore``."""
        rows = await self._db.read(self._s.judged, {"tenant": tenant, "task": task})
        return [finding for row in rows for finding in _findings(row)]

    async def stalled(self, still_s: float, *, limit: int) -> list[ReviewRow]:
        """See ``ReviewStore``."""
        rows = await self._db.write(self._s.stalled, {"age": still_s, "limit": limit})
        return [_row(row) for row in rows]

    async def forget(self, older_than_s: float, *, limit: int) -> int:
        """See ``ReviewStore``."""
        return len(await self._db.write(self._s.forget, {"age": older_than_s, "limit": limit}))


class _Statements:
    """Compiled once per store."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._now = now(database.dialect)
        self.columns = (
            *(_R.tenant, _R.id, _R.status, _R.digest, _R.about, _R.error, _R.clauses, _R.done, _R.summary),
            *(_R.created_at, _R.updated_at, (self._now - _R.created_at).label("age_s")),
        )
        self._tasks(database)
        self._texts(database)
        self._clauses(database)
        self._sweeps(database)

    def _tasks(self, database: Database) -> None:
        prepare, moment = database.prepare, self._now
        self.next = prepare(
            sa.update(sequence)
            .where(sequence.c.name == _NAME)
            .values(value=sequence.c.value + value("by", sa.BigInteger()))
            .returning(sequence.c.value)
        )
        self.any = prepare(sa.select(*self.columns).where(_R.id == value("task")))
        self.one = prepare(sa.select(*self.columns).where(_MINE))
        self.count_open = prepare(sa.select(sa.func.count()).select_from(table).where(_OPEN))
        self.insert = prepare(
            sa.insert(table).values(
                id=value("task"),
                tenant=value("tenant"),
                status=ReviewStatus.PENDING.value,
                ended=0,
                digest=value("digest"),
                about=value("about"),
                error='""',
                clauses=0,
                done=0,
                created_at=moment,
                updated_at=moment,
                heard_at=moment,
            )
        )
        pending = _R.status == ReviewStatus.PENDING.value
        self.withdraw = prepare(sa.delete(table).where(_MINE, pending).returning(_R.id))
        self.begin = self._moved(pending, status=ReviewStatus.PROCESSING.value)
        self.fail = self._moved(_OPEN, status=ReviewStatus.FAILED.value, ended=1, error=value("error"))
        self.complete = self._moved(
            _OPEN, status=ReviewStatus.COMPLETED.value, ended=1, summary=value("summary", sa.Text())
        )

    def _texts(self, database: Database) -> None:
        prepare = database.prepare
        joined = text_table.join(table, _R.id == _T.task)
        self.insert_text = prepare(
            sa.insert(text_table).values(task=value("task"), data=value("data", sa.LargeBinary()), facts='""')
        )
        self.document = prepare(
            sa.select(_R.about, _T.data).select_from(joined).where(_MINE, _OPEN, _R.clauses == sa.literal_column("0"))
        )
        self.text = prepare(sa.select(_T.body).select_from(joined).where(_MINE))
        self.facts = prepare(sa.select(_T.facts).select_from(joined).where(_MINE))
        uncut = sa.and_(_R.status == ReviewStatus.PROCESSING.value, _R.clauses == sa.literal_column("0"))
        self.cut = self._moved(uncut, clauses=value("clauses"))
        self.keep_text = prepare(
            sa.update(text_table)
            .where(_T.task == value("task"))
            .values(data=b"", body=value("body", sa.Text()), facts=value("facts"))
        )

    def _clauses(self, database: Database) -> None:
        prepare = database.prepare
        joined = clause_table.join(table, _R.id == _C.task)
        self.insert_clause = prepare(
            sa.insert(clause_table).values(
                task=value("task"),
                number=value("number"),
                starts=value("starts"),
                ends=value("ends"),
                body=value("body"),
            )
        )
        self.waiting = prepare(
            sa.select(_C.number, _C.body)
            .select_from(joined)
            .where(_MINE, _OPEN, _C.result.is_(None), _C.number >= value("first"), _C.number < value("to"))
            .order_by(_C.number)
        )
        self.hold = self._moved(sa.and_(_OPEN, _R.clauses > sa.literal_column("0")))
        self.keep_result = prepare(
            sa.update(clause_table)
            .where(_C.task == value("task"), _C.number == value("number"), _C.result.is_(None))
            .values(result=value("result", sa.Text()))
            .returning(_C.number)
        )
        missing = (
            sa.select(sa.func.count())
            .select_from(clause_table)
            .where(_C.task == value("task"), _C.result.is_(None))
            .scalar_subquery()
        )
        self.count_done = prepare(
            sa.update(table).where(_MINE).values(done=_R.clauses - missing).returning(_R.done, _R.clauses)
        )
        self.results = prepare(sa.select(_C.result).where(_C.task == value("task")).order_by(_C.number))
        self.judged = prepare(
            sa.select(_C.number, _C.body, _C.starts, _C.ends, _C.result)
            .select_from(joined)
            .where(_MINE, _C.result.is_not(None))
            .order_by(_C.number)
        )

    def _sweeps(self, database: Database) -> None:
        before = ago(database.dialect, "age")
        limit = value("limit", sa.BigInteger())
        still = sa.and_(_OPEN, _R.heard_at < before)
        oldest = sa.select(_R.id).where(still).order_by(_R.heard_at).limit(limit)
        self.stalled = database.prepare(
            sa.update(table).where(_R.id.in_(oldest), still).values(heard_at=self._now).returning(*self.columns)
        )
        over = sa.and_(_R.ended == sa.literal_column("1"), _R.updated_at < before)
        gone = sa.select(_R.id).where(over).order_by(_R.updated_at).limit(limit)
        self.forget = database.prepare(sa.delete(table).where(_R.id.in_(gone)).returning(_R.id))

    def _moved(self, condition: Any, **values: Any) -> Prepared:
        """An update of one task that has been heard of by it."""
        statement = sa.update(table).where(_MINE, condition)
        return self._db.prepare(statement.values(updated_at=self._now, heard_at=self._now, **values).returning(_R.id))


def gathered(results: Sequence[ClauseResult]) -> ReviewSummary:
    """The summary of a whole review. Pure."""
    risks = Counter(verdict.risk for result in results for verdict in result.verdicts)
    notes = dict.fromkeys(result.note for result in results if result.note)
    return ReviewSummary(
        clauses=len(results),
        risks={risk.value: risks[risk] for risk in Risk},
        assessors=dict(sorted(Counter(result.assessor for result in results).items())),
        notes=tuple(notes)[:MAX_NOTES],
    )


def _json(value: Any) -> str:
    return _encode.encode(value).decode()


def _same(row: Row, review: NewReview) -> ReviewRow:
    found = _row(row)
    if (found.tenant, found.digest) != (review.tenant, review.digest):
        raise Conflict(f"there is another review with the id {found.task}; leave the id out to get a new one")
    return found


def _row(row: Row) -> ReviewRow:
    tenant, task, status, digest, about, error, clauses, done, summary, created_at, updated_at, age_s = row
    said = _abouts.decode(about)
    return ReviewRow(
        tenant=tenant,
        task=task,
        status=ReviewStatus(status),
        contract_type=said.contract_type,
        role=said.role,
        name=said.name,
        digest=digest,
        error=_strings.decode(error),
        clauses=clauses,
        done=done,
        summary=None if summary is None else _summaries.decode(summary),
        created_at=created_at,
        updated_at=updated_at,
        age_s=age_s,
    )


def _findings(row: Row) -> list[Finding]:
    number, body, start, end, stored = row
    result = _results.decode(stored)
    if not result.verdicts:
        return []
    text = _strings.decode(body)
    return [
        Finding(
            number=number,
            clause=text,
            start=start,
            end=end,
            risk=verdict.risk,
            reason=verdict.reason,
            rule=verdict.rule,
            assessor=result.assessor,
        )
        for verdict in result.verdicts
    ]
