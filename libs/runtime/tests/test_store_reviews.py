"""Tasks of contract reviews, on SQLite and PostgreSQL alike."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from parley_protocol.reviews import ClauseResult, ReviewStatus, Risk, RuleCited, Verdict
from parley_runtime.errors import Conflict, Invalid, Overloaded
from parley_runtime.store import open_store
from parley_runtime.store.ports import Store
from parley_runtime.store.review_ports import NewClause, NewReview, ReviewStore

RULE = RuleCited(id="p1", title="预付款", document="zh.md", kb="playbook")
TEXT = "第一条 甲\x00方\n第二条 乙方\n第三条 丙方"


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = await open_store(store_url)
    yield opened
    await opened.aclose()


@pytest.fixture
def reviews(store: Store) -> ReviewStore:
    return store.reviews


def new(digest: str = "d1", tenant: str = "acme") -> NewReview:
    return NewReview(
        tenant=tenant,
        contract_type="采购\x00",
        role="buyer",
        name="a.pdf",
        media_type="",
        data=b"\x00%PDF",
        digest=digest,
    )


def clauses(count: int) -> list[NewClause]:
    return [NewClause(i * 10, i * 10 + 5, f"条款{i}\x00") for i in range(count)]


def good(note: str = "") -> ClauseResult:
    return ClauseResult(assessor="playbook", note=note)


def bad(*risks: Risk) -> ClauseResult:
    return ClauseResult(assessor="model", verdicts=tuple(Verdict(risk=r, reason=f"因为{r}", rule=RULE) for r in risks))


async def analysed(reviews: ReviewStore, count: int) -> int:
    """A task with so many clauses, none of them assessed."""
    row, fresh = await reviews.create(new(), limit=10)
    assert fresh
    await reviews.begin("acme", row.task)
    assert await reviews.cut("acme", row.task, TEXT, "facts", clauses(count))
    return row.task


async def test_a_task_from_upload_to_findings(reviews: ReviewStore) -> None:
    row, fresh = await reviews.create(new(), limit=10)
    assert (fresh, row.status, row.role, row.contract_type) == (True, ReviewStatus.PENDING, "buyer", "采购\x00")
    document = await reviews.document("acme", row.task)
    assert document is not None
    assert (document.name, document.data) == ("a.pdf", b"\x00%PDF")
    assert await reviews.text("acme", row.task) is None
    begun = await reviews.begin("acme", row.task)
    assert begun is not None
    assert begun.status is ReviewStatus.PROCESSING
    assert await reviews.cut("acme", row.task, TEXT, "facts", clauses(3))
    assert not await reviews.cut("acme", row.task, "other", "", clauses(2)), "a redelivered job cuts nothing anew"
    assert await reviews.document("acme", row.task) is None
    assert await reviews.text("acme", row.task) == TEXT
    assert await reviews.facts("acme", row.task) == "facts"
    waiting = await reviews.waiting("acme", row.task, 1, 5)
    assert [(one.number, one.text) for one in waiting] == [(1, "条款1\x00"), (2, "条款2\x00")]
    part = await reviews.assess("acme", row.task, [(2, bad(Risk.HIGH, Risk.LOW)), (0, good("n"))])
    assert part is not None
    assert (part.stored, part.completed, part.row.done, part.row.status) == (2, False, 2, ReviewStatus.PROCESSING)
    last = await reviews.assess("acme", row.task, [(1, bad(Risk.UNKNOWN))])
    assert last is not None
    assert (last.stored, last.completed, last.row.status, last.row.done) == (1, True, ReviewStatus.COMPLETED, 3)
    assert last.row.summary is not None
    assert last.row.summary.risks == {"high": 1, "medium": 0, "low": 1, "unknown": 1}
    assert last.row.summary.assessors == {"model": 2, "playbook": 1}
    assert last.row.summary.notes == ("n",)
    found = await reviews.findings("acme", row.task)
    assert [(one.number, one.start, one.end, one.risk.value) for one in found] == [
        (1, 10, 15, "unknown"),
        (2, 20, 25, "high"),
        (2, 20, 25, "low"),
    ]
    assert (found[0].clause, found[0].rule, found[0].reason) == ("条款1\x00", RULE, "因为unknown")


async def test_a_clause_keeps_its_first_result(reviews: ReviewStore) -> None:
    task = await analysed(reviews, 2)
    first = await reviews.assess("acme", task, [(0, bad(Risk.HIGH))])
    again = await reviews.assess("acme", task, [(0, good()), (9, good())])
    assert first is not None
    assert again is not None
    assert (first.stored, again.stored, again.row.done, again.completed) == (1, 0, 1, False)
    assert [one.risk for one in await reviews.findings("acme", task)] == [Risk.HIGH]


async def test_exactly_one_of_many_completes_a_task(store_url: str, reviews: ReviewStore) -> None:
    """Each clause is stored twice, by two processes' stores, all side by side."""
    count = 24
    task = await analysed(reviews, count)
    other = await open_store(store_url)
    try:
        work = [
            one.assess("acme", task, [(number, bad(Risk.LOW))])
            for number in range(count)
            for one in (reviews, other.reviews)
        ]
        done = [outcome for outcome in await asyncio.gather(*work) if outcome is not None]
    finally:
        await other.aclose()
    assert sum(outcome.completed for outcome in done) == 1
    assert sum(outcome.stored for outcome in done) == count
    row = await reviews.row("acme", task)
    assert row is not None
    assert (row.status, row.done) == (ReviewStatus.COMPLETED, count)
    assert row.summary is not None
    assert row.summary.risks["low"] == len(await reviews.findings("acme", task)) == count


async def test_an_ended_task_stays_as_it_is(reviews: ReviewStore) -> None:
    task = await analysed(reviews, 1)
    assert await reviews.fail("acme", task, "坏了\x00")
    assert not await reviews.fail("acme", task, "other")
    late = await reviews.assess("acme", task, [(0, good())])
    assert late is not None
    assert (late.stored, late.completed, late.row.status, late.row.error) == (0, False, ReviewStatus.FAILED, "坏了\x00")
    assert await reviews.waiting("acme", task, 0, 10) == []
    again = await reviews.begin("acme", task)
    assert again is not None
    assert again.status is ReviewStatus.FAILED
    done = await analysed(reviews, 1)
    await reviews.assess("acme", done, [(0, good())])
    assert not await reviews.fail("acme", done, "too late")


async def test_tenants_are_apart(reviews: ReviewStore) -> None:
    task = await analysed(reviews, 1)
    assert await reviews.row("other", task) is None
    assert await reviews.begin("other", task) is None
    assert await reviews.text("other", task) is None
    assert await reviews.facts("other", task) == ""
    assert await reviews.waiting("other", task, 0, 9) == []
    assert await reviews.assess("other", task, [(0, good())]) is None
    assert not await reviews.fail("other", task, "x")
    assert not await reviews.withdraw("other", task)
    row = await reviews.row("acme", task)
    assert row is not None
    assert (row.status, row.done) == (ReviewStatus.PROCESSING, 0)


async def test_ids_that_are_asked_for(reviews: ReviewStore) -> None:
    row, fresh = await reviews.create(new(), limit=10, task=123)
    assert (row.task, fresh) == (123, True)
    same, fresh = await reviews.create(new(), limit=10, task=123)
    assert (same.task, fresh) == (123, False)
    with pytest.raises(Conflict):
        await reviews.create(new("other"), limit=10, task=123)
    with pytest.raises(Conflict):
        await reviews.create(new(tenant="other"), limit=10, task=123)
    for outside in (0, -1, 1001):
        with pytest.raises(Invalid):
            await reviews.create(new(), limit=10, task=outside)
    given = [(await reviews.create(new(), limit=10))[0].task for _ in range(2)]
    assert given == [1001, 1002]


async def test_a_flood_is_bounded_over_all_tenants(reviews: ReviewStore) -> None:
    made = await asyncio.gather(
        *(reviews.create(new(tenant=f"t{i % 3}"), limit=3) for i in range(12)), return_exceptions=True
    )
    assert sum(isinstance(one, Overloaded) for one in made) == 9
    kept = [one[0] for one in made if not isinstance(one, BaseException)]
    assert await reviews.withdraw(kept[0].tenant, kept[0].task)
    assert await reviews.fail(kept[1].tenant, kept[1].task, "x")
    await reviews.create(new(), limit=3)
    await reviews.create(new(), limit=3)
    with pytest.raises(Overloaded) as full:
        await reviews.create(new(), limit=3)
    assert full.value.retry_after_s > 0


async def test_a_task_at_work_cannot_be_withdrawn(reviews: ReviewStore) -> None:
    row, _ = await reviews.create(new(), limit=10)
    await reviews.begin("acme", row.task)
    assert not await reviews.withdraw("acme", row.task)


async def backdate(store: Store, column: str, task: int, seconds: float) -> None:
    """Let time pass for one column of a task."""
    database = store._db
    statement = f"UPDATE reviews SET {column} = {column} - {seconds} WHERE id = {task}"
    await database.write(database.prepare(sa.text(statement)), {})


async def test_a_still_task_is_given_to_one_sweep(store: Store, reviews: ReviewStore) -> None:
    still, lively = await analysed(reviews, 1), await analysed(reviews, 1)
    ended = await analysed(reviews, 1)
    await reviews.fail("acme", ended, "x")
    for task in (still, ended):
        await backdate(store, "heard_at", task, 100)
    await backdate(store, "created_at", still, 500)
    looks = await asyncio.gather(*(reviews.stalled(60, limit=10) for _ in range(4)))
    (row,) = [row for rows in looks for row in rows]
    assert (row.task, row.age_s > 499) == (still, True)
    assert lively != still
    await backdate(store, "heard_at", still, 100)
    await reviews.assess("acme", still, [])  # heard of
    assert await reviews.stalled(60, limit=10) == []


async def test_old_tasks_are_forgotten_with_all_they_have(store: Store, reviews: ReviewStore) -> None:
    old, young, running = await analysed(reviews, 2), await analysed(reviews, 1), await analysed(reviews, 1)
    for task in (old, young):
        await reviews.fail("acme", task, "x")
    for task in (old, running):
        await backdate(store, "updated_at", task, 100)
    assert await reviews.forget(60, limit=10) == 1
    assert await reviews.row("acme", old) is None
    assert await reviews.row("acme", young) is not None
    assert await reviews.row("acme", running) is not None
    database = store._db
    for table in ("review_clauses", "review_texts"):
        left = await database.read(database.prepare(sa.text(f"SELECT count(*) FROM {table} WHERE task = {old}")), {})
        assert left[0][0] == 0
