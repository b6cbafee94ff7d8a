"""The row of a turn, on SQLite and PostgreSQL alike."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from parley_protocol.events import Ending, Fault, Hop, Marks, Retrieval, Source, ToolCall, TurnStatus, Usage
from parley_protocol.ids import TurnKey
from parley_protocol.work import DeadInfo, Record
from parley_runtime.store import open_store
from parley_runtime.store.ports import (
    AlreadyClosed,
    Claimed,
    Crossed,
    Exchange,
    NotMine,
    OtherSubmission,
    Store,
    Stored,
    Superseded,
    TurnRow,
)
from parley_runtime.work.envelope import terminal_of

KEY = TurnKey("acme", "s1", "t1")
ODD = "naïve 漢字 \x00 \U0001f600 \\ \" '"


def record(**fields: object) -> Record:
    base = Record(key=KEY, submission="sub", budget_s=30.0, base=1, fence=1, status=TurnStatus.COMPLETED, text="Yes.")
    return replace(base, **fields)


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = await open_store(store_url)
    yield opened
    await opened.aclose()


async def test_of_an_interrupted_answer_the_conversation_has_what_was_heard(store: Store) -> None:
    assert not await store.keep_heard(KEY, 3)
    await claim(store)
    assert await store.keep_heard(KEY, 3)
    await store.close(record(text=ODD))
    (row,) = await store.rows([KEY])
    assert (row.text, row.heard) == (ODD, 3)
    (exchange,) = await store.conversation("acme", "s1", limit=5)
    assert exchange.answer == ODD[:3]
    assert await store.keep_heard(KEY, 8)
    (exchange,) = await store.conversation("acme", "s1", limit=5)
    assert exchange.answer == ODD[:8] == "naïve 漢字"
    other = TurnKey("acme", "s1", "t2")
    await claim(store, other)
    await store.close(record(key=other, text="All of it."))
    assert [row.heard for row in await store.after("acme", "s1", "t1", limit=5)] == [None]
    assert (await store.conversation("acme", "s1", limit=1))[0].answer == "All of it."


async def claim(store: Store, key: TurnKey = KEY, submission: str = "sub", digest: str = "d") -> object:
    return await store.claim_first(key, submission=submission, digest=digest, question="Why?")


def then(answer: object) -> object:
    """A row, or what holds one, as if read at the moment it was closed."""
    if isinstance(answer, list):
        return [then(one) for one in answer]
    if isinstance(answer, AlreadyClosed):
        return AlreadyClosed(then(answer.row))
    return replace(answer, closed_ago_s=0.0) if isinstance(answer, TurnRow) else answer


async def aged(store: Store, sql: str) -> None:
    """Let time pass."""
    database = store._db
    await database.write(database.prepare(sa.text(sql)), {})


async def test_first_claim_opens_the_row_and_repeats_raise_the_fence(store: Store) -> None:
    assert await claim(store) == Claimed(1, 1)
    assert await claim(store) == Claimed(2, 2)
    assert await store.claim_later(KEY, base=2) == Claimed(2, 3)
    assert await claim(store) == Claimed(4, 4)
    [row] = await store.rows([KEY])
    assert (row.base, row.fence, row.status, row.text, row.question) == (4, 4, TurnStatus.OPEN, None, "Why?")
    assert abs(row.opened_at - time.time()) < 60


async def test_a_claim_that_names_a_fence_lands_only_above_that(store: Store) -> None:
    named = {"submission": "sub", "digest": "d", "question": "Why?"}
    assert await store.claim_first(KEY, **named, fence=0) == Claimed(1, 1)
    assert await store.claim_first(KEY, **named, fence=0) == Crossed()
    assert await store.claim_later(KEY, base=1, fence=1) == Claimed(1, 2)
    assert await store.claim_later(KEY, base=1, fence=1) == Crossed()
    assert await store.claim_later(KEY, base=9, fence=2) == NotMine()
    assert await store.claim_first(KEY, **named, fence=1) == Crossed()
    assert await store.claim_first(KEY, **(named | {"submission": "x"}), fence=2) == OtherSubmission(conflict=False)
    assert await store.claim_first(KEY, **named, fence=2) == Claimed(3, 3)
    stored = await store.close(record(fence=3, base=3))
    assert isinstance(stored, Stored)
    assert then(await store.claim_later(KEY, base=3, fence=2)) == AlreadyClosed(stored.row)
    assert then(await store.claim_first(KEY, **named, fence=0)) == AlreadyClosed(stored.row)
    assert await store.claim_later(TurnKey("acme", "s1", "none"), base=1, fence=0) == NotMine()


async def test_another_submission_of_an_open_turn_is_refused_and_changes_nothing(store: Store) -> None:
    await claim(store)
    assert await claim(store, submission="other") == OtherSubmission(conflict=False)
    assert await claim(store, submission="other", digest="e") == OtherSubmission(conflict=True)
    [row] = await store.rows([KEY])
    assert (row.fence, row.submission, row.digest) == (1, "sub", "d")


async def test_a_later_claim_needs_the_row_open_and_its_base(store: Store) -> None:
    assert await store.claim_later(KEY, base=1) == NotMine()
    await claim(store)
    assert await store.claim_later(KEY, base=2) == NotMine()
    assert await store.claim_later(KEY, base=1) == Claimed(1, 2)
    await store.close(record(fence=2))
    answer = await store.claim_later(KEY, base=1)
    assert isinstance(answer, AlreadyClosed)
    assert (answer.row.text, answer.row.fence) == ("Yes.", 2)


async def test_the_turn_is_of_its_tenant_and_session(store: Store) -> None:
    for key in (KEY, TurnKey("other", "s1", "t1"), TurnKey("acme", "s2", "t1")):
        assert await claim(store, key) == Claimed(1, 1)
    assert len(await store.rows([KEY])) == 1


async def test_closing_keeps_everything_of_the_record(store: Store) -> None:
    await claim(store)
    full = record(
        n=17,
        text=ODD,
        question=ODD,
        sources=(Source("p1", "a.md", "T › U", 0.5, ODD, 3, 40, "kb"),),
        usage=Usage(11, 22),
        hops=(Hop("retrieve", 0.5, 1.25), Hop("generate", 2.0, 30.0, 4.5)),
        fault=Fault("engine_failed", "gone", True),
        marks=Marks("generating", "said", Retrieval(2, "question", "kb")),
        ending=Ending("length", (ToolCall("call_1", "look_up", ODD),)),
    )
    stored = await store.close(full)
    [row] = await store.rows([KEY])
    assert isinstance(stored, Stored)
    assert stored.row == then(row)
    assert (row.text, row.question, row.n) == (ODD, ODD, 17)
    assert (row.sources, row.usage, row.hops) == (full.sources, full.usage, full.hops)
    assert (row.fault, row.marks, row.status) == (full.fault, full.marks, TurnStatus.COMPLETED)
    assert row.ending == full.ending == terminal_of(row).ending
    assert row.closed
    assert 0.0 <= row.closed_ago_s < 60


async def test_times_are_the_stores_own_whatever_a_process_takes_the_time_to_be(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process an hour behind claims and closes, one an hour ahead reads: an age is an age."""
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() - 3600.0)
    await claim(store)
    monkeypatch.setattr(time, "time", lambda: right() + 3600.0)
    assert await store.overdue(60, limit=10) == []
    [row] = await store.overdue(-60, limit=10)
    assert abs(row.opened_at - right()) < 60
    assert row.closed_ago_s == 0.0
    monkeypatch.setattr(time, "time", lambda: right() - 3600.0)
    stored = await store.close(record())
    assert isinstance(stored, Stored)
    assert stored.row.closed_ago_s == 0.0
    monkeypatch.setattr(time, "time", lambda: right() + 3600.0)
    [row] = await store.rows([KEY])
    assert 0.0 <= row.closed_ago_s < 60
    await aged(store, "UPDATE turns SET closed_at = closed_at - 700")
    for [row] in (await store.rows([KEY]), await store.rows([KEY, replace(KEY, turn="x")])):
        assert 700.0 <= row.closed_ago_s < 760


async def test_a_superseded_record_is_refused(store: Store) -> None:
    await claim(store)
    await store.claim_later(KEY, base=1)
    assert await store.close(record(fence=1, text="old")) == Superseded()
    assert await store.close(record(fence=3, text="from nowhere")) == Superseded()
    [row] = await store.rows([KEY])
    assert (row.status, row.text) == (TurnStatus.OPEN, None)
    assert isinstance(await store.close(record(fence=2, text="new")), Stored)


async def test_a_record_without_a_row_stores_nothing(store: Store) -> None:
    assert await store.close(record()) == Superseded()
    assert await store.rows([KEY]) == []


async def test_a_closed_row_never_changes(store: Store) -> None:
    await claim(store)
    stored = await store.close(record())
    assert isinstance(stored, Stored)
    for late in (
        record(text="again"),
        record(fence=2, text="newer"),
        record(text="cut", status=TurnStatus.CANCELLED, forced=True),
        record(text=None, status=TurnStatus.FAILED, forced=True),
    ):
        assert then(await store.close(late)) == AlreadyClosed(stored.row)
    for submission in ("sub", "other"):
        assert then(await claim(store, submission=submission, digest="e")) == AlreadyClosed(stored.row)
    assert then(await store.rows([KEY])) == [stored.row]


async def test_a_forced_record_skips_the_fence_and_keeps_the_claims_question(store: Store) -> None:
    await claim(store)
    await store.claim_later(KEY, base=1)
    forced = record(fence=1, text="Y", status=TurnStatus.CANCELLED, forced=True)
    stored = await store.close(forced)
    assert isinstance(stored, Stored)
    assert (stored.row.fence, stored.row.question, stored.row.text) == (2, "Why?", "Y")
    assert stored.row.status is TurnStatus.CANCELLED


async def test_a_forced_record_for_its_own_submission_ends_no_other_one(store: Store) -> None:
    await claim(store)
    await store.claim_later(KEY, base=1)
    late = record(submission="second", fence=2, text=None, status=TurnStatus.EXPIRED, forced=True, own=True)
    assert await store.close(late) == Superseded()
    [row] = await store.rows([KEY])
    assert (row.status, row.submission, row.fence) == (TurnStatus.OPEN, "sub", 2)
    mine = await store.close(replace(late, submission="sub", base=0, fence=1))
    assert isinstance(mine, Stored)
    assert (mine.row.status, mine.row.fence) == (TurnStatus.EXPIRED, 2)
    assert then(await store.close(late)) == AlreadyClosed(then(mine.row))


async def test_a_forced_record_for_its_own_submission_makes_a_row_where_there_is_none(store: Store) -> None:
    stored = await store.close(record(text=None, status=TurnStatus.EXPIRED, forced=True, own=True))
    assert isinstance(stored, Stored)
    assert then(await claim(store, submission="second")) == AlreadyClosed(then(stored.row))


async def test_whoever_ends_the_turn_itself_ends_it_whatever_its_submission(store: Store) -> None:
    """A gateway that only follows the turn, asked to cancel it."""
    await claim(store)
    stored = await store.close(record(submission="none of these", status=TurnStatus.CANCELLED, forced=True))
    assert isinstance(stored, Stored)
    assert (stored.row.status, stored.row.submission) == (TurnStatus.CANCELLED, "sub")


async def test_a_turn_that_was_ended_before_its_first_claim_keeps_its_digest(store: Store) -> None:
    stored = await store.close(record(text="", status=TurnStatus.CANCELLED, digest="d", forced=True))
    assert isinstance(stored, Stored)
    assert stored.row.digest == "d"
    (row,) = await store.rows([KEY])
    assert row.digest == "d"


async def test_a_forced_record_without_a_row_makes_a_closed_one(store: Store) -> None:
    fault = Fault("expired", "too late")
    forced = record(text=None, status=TurnStatus.EXPIRED, question="Why?", fault=fault, forced=True)
    stored = await store.close(forced)
    assert isinstance(stored, Stored)
    assert (stored.row.status, stored.row.text, stored.row.digest) == (TurnStatus.EXPIRED, None, "")
    assert then(await claim(store)) == AlreadyClosed(stored.row)
    assert then(await store.rows([KEY])) == [stored.row]


async def test_a_record_cannot_leave_the_turn_open(store: Store) -> None:
    with pytest.raises(ValueError, match="open"):
        await store.close(record(status=TurnStatus.OPEN))


async def test_rows_are_found_whatever_their_number(store: Store) -> None:
    keys = [TurnKey("acme", f"s{i % 3}", f"t{i}") for i in range(70)]
    for key in keys[:40]:
        await claim(store, key)
    found = await store.rows([*keys, keys[0]])
    assert sorted(row.key.turn for row in found) == sorted(f"t{i}" for i in range(40))
    assert await store.rows([]) == []


async def test_after_gives_the_later_turns_of_the_session_in_order(store: Store) -> None:
    for turn in ("zeta", "alpha", "mid", "beta"):
        await claim(store, TurnKey("acme", "s1", turn))
        await claim(store, TurnKey("acme", "s2", turn))
    await claim(store, TurnKey("acme", "s1", "zeta"))
    assert [row.key.turn for row in await store.after("acme", "s1", "zeta", limit=10)] == ["alpha", "mid", "beta"]
    assert [row.key.turn for row in await store.after("acme", "s1", "alpha", limit=1)] == ["mid"]
    assert await store.after("acme", "s1", "unknown", limit=10) == []
    assert await store.after("other", "s1", "zeta", limit=10) == []


async def test_the_conversation_holds_answered_turns_only(store: Store) -> None:
    endings = [
        ("q9", TurnStatus.COMPLETED, "one"),
        ("q1", TurnStatus.FAILED, "half"),
        ("q5", TurnStatus.CANCELLED, "cut"),
        ("q7", TurnStatus.CANCELLED, ""),
        ("q2", TurnStatus.EXPIRED, None),
        ("q3", TurnStatus.COMPLETED, ODD),
    ]
    for turn, status, text in endings:
        key = TurnKey("acme", "s1", turn)
        await claim(store, key)
        await store.close(record(key=key, status=status, text=text))
    await claim(store, TurnKey("acme", "s1", "q8"))
    assert await store.conversation("acme", "s1", limit=10) == [
        Exchange("q9", "Why?", "one"),
        Exchange("q5", "Why?", "cut"),
        Exchange("q3", "Why?", ODD),
    ]
    assert [one.turn for one in await store.conversation("acme", "s1", limit=2)] == ["q5", "q3"]
    assert await store.conversation("other", "s1", limit=10) == []


async def test_overdue_lists_open_rows_by_age(store: Store) -> None:
    for turn in ("t1", "t2", "t3"):
        await claim(store, TurnKey("acme", "s1", turn))
    await store.close(record())
    assert await store.overdue(3600, limit=10) == []
    assert [row.key.turn for row in await store.overdue(-1, limit=10)] == ["t2", "t3"]
    assert [row.key.turn for row in await store.overdue(-1, limit=1)] == ["t2"]


async def test_dead_letters_are_listed_without_bodies(store: Store) -> None:
    one = DeadInfo(id="1", queue="parley.generate", reason="rejected", cause=ODD, parked_at="2026-01-01T00:00:00Z")
    two = replace(one, id="2", turn="t1", session="s1", tries=3, body=b"\x00\xff")
    for info in (one, two, replace(two, cause="changed")):
        await store.park(info)
    assert await store.dead() == [replace(two, body=b""), one]
    assert await store.dead(limit=1) == [replace(two, body=b"")]
    assert await store.dead(id="2") == [two]
    assert await store.dead(id="3") == []


async def test_concurrent_claims_get_distinct_fences(store: Store, store_url: str) -> None:
    other = await open_store(store_url)
    try:
        claims = await asyncio.gather(*(claim((store, other)[i % 2]) for i in range(50)))
    finally:
        await other.aclose()
    assert all(isinstance(one, Claimed) for one in claims)
    assert sorted(one.fence for one in claims if isinstance(one, Claimed)) == list(range(1, 51))
    assert all(one.base == one.fence for one in claims if isinstance(one, Claimed))


async def test_concurrent_submissions_start_one_turn(store: Store, store_url: str) -> None:
    other = await open_store(store_url)
    try:
        claims = await asyncio.gather(*(claim((store, other)[i % 2], submission=f"sub{i}") for i in range(20)))
    finally:
        await other.aclose()
    assert claims.count(Claimed(1, 1)) == 1
    assert claims.count(OtherSubmission(conflict=False)) == 19


async def test_only_one_of_many_closings_wins(store: Store, store_url: str) -> None:
    await claim(store)
    other = await open_store(store_url)
    records = [record(text=str(i), forced=i % 3 == 0, status=TurnStatus.CANCELLED) for i in range(30)]
    try:
        results = await asyncio.gather(*((store, other)[i % 2].close(one) for i, one in enumerate(records)))
    finally:
        await other.aclose()
    [winner] = [one for one in results if isinstance(one, Stored)]
    assert [then(one) for one in results if not isinstance(one, Stored)] == [AlreadyClosed(winner.row)] * 29
    assert then(await store.rows([KEY])) == [winner.row]


async def test_the_end_of_one_submission_races_with_the_claim_of_another(store: Store, store_url: str) -> None:
    other = await open_store(store_url)
    keys = [TurnKey("acme", "s1", f"race{i}") for i in range(20)]
    try:
        for key in keys:
            late = record(key=key, submission="dead", text=None, status=TurnStatus.EXPIRED, forced=True, own=True)
            claimed, closed = await asyncio.gather(claim(store, key), other.close(late))
            [row] = await store.rows([key])
            if isinstance(claimed, Claimed):
                assert (closed, row.status, row.submission) == (Superseded(), TurnStatus.OPEN, "sub")
            else:
                assert isinstance(closed, Stored)
                assert (row.status, row.submission) == (TurnStatus.EXPIRED, "dead")
    finally:
        await other.aclose()


async def test_claims_race_with_closings(store: Store, store_url: str) -> None:
    """A fence handed out after the closing would be a run of a closed turn."""
    other = await open_store(store_url)
    try:
        for i in range(20):
            key = TurnKey("acme", "race", str(i))
            await claim(store, key)
            closing = record(key=key)
            closed, claimed = await asyncio.gather(store.close(closing), other.claim_later(key, base=1))
            if isinstance(claimed, Claimed):
                assert (claimed.fence, closed) == (2, Superseded())
            else:
                assert isinstance(closed, Stored)
                assert then(claimed) == AlreadyClosed(closed.row)
    finally:
        await other.aclose()
