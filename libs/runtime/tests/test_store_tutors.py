"""Tutors and their sessions, on SQLite and PostgreSQL alike."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from parley_runtime.store import open_store
from parley_runtime.store.ports import Store
from parley_runtime.store.tutor_ports import Full, SessionState, TutorSession


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = await open_store(store_url)
    yield opened
    await opened.aclose()


async def begin(
    store: Store, session: str, *, tenant: str = "acme", tutor: int = 1, limit: int = 10, timeout_s: float = 60
) -> Full | None:
    return await store.tutors.begin(
        tenant, session, tutor=tutor, student="999", kb="test", limit=limit, timeout_s=timeout_s
    )


async def state(store: Store, session: str) -> SessionState | None:
    return (await store.tutors.states([session])).get(session)


async def later(store: Store, seconds: float) -> None:
    """Time passes. The database's clock decides, and there is none to turn: what it has told goes back instead."""
    database = store._db
    await database.write(database.prepare(sa.text(f"UPDATE tutor_sessions SET seen_at = seen_at - {seconds}")), {})


async def test_tutors_belong_to_their_administrator_and_tenant(store: Store) -> None:
    one = await store.tutors.add("acme", admin="7", name="李\x00老师")
    two = await store.tutors.add("acme", admin="8", name="")
    assert (one.admin, one.name, two.id > one.id) == ("7", "李\x00老师", True)
    assert await store.tutors.tutor("acme", one.id) == one
    assert await store.tutors.tutor("other", one.id) is None
    assert await store.tutors.tutors("acme") == [one, two]
    assert await store.tutors.tutors("acme", after=one.id, limit=1) == [two]
    assert await store.tutors.tutors("other") == []
    assert await store.tutors.remove("other", one.id) is None
    assert await store.tutors.remove("acme", one.id) == []
    assert await store.tutors.tutor("acme", one.id) is None


async def test_a_session_is_read_as_it_was_begun(store: Store) -> None:
    assert await begin(store, "s1") is None
    want = TutorSession(id="s1", tenant="acme", tutor=1, student="999", kb="test", admin="", state=SessionState.ACTIVE)
    assert await store.tutors.session("acme", "s1") == want
    assert await store.tutors.session("other", "s1") is None
    assert await store.tutors.find("s1") == want
    assert await store.tutors.find("s2") is None


async def test_the_limit_holds_whoever_asks_at_once(store: Store) -> None:
    outcomes = await asyncio.gather(*(begin(store, f"s{i}", tenant=f"t{i % 2}", limit=3) for i in range(12)))
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert len(refused) == 9
    assert all(50 < outcome.retry_after_s <= 60 for outcome in refused)
    (active,) = {await state(store, f"s{i}") for i, outcome in enumerate(outcomes) if outcome is None}
    assert active is SessionState.ACTIVE


async def test_an_idle_session_makes_room(store: Store) -> None:
    assert await begin(store, "idle", limit=1, timeout_s=-1) is None
    assert await state(store, "idle") is SessionState.EXPIRED  # before anybody has noticed
    assert await begin(store, "next", limit=1) is None
    assert isinstance(await begin(store, "more", limit=1), Full)
    assert await store.tutors.touch("idle", 0) is False
    assert await store.tutors.end("acme", "idle") is False


async def test_a_deleted_session_makes_room_and_stays_deleted(store: Store) -> None:
    await begin(store, "s1", limit=1)
    assert await store.tutors.end("other", "s1") is False
    assert await store.tutors.end("acme", "s1") is True
    assert await store.tutors.end("acme", "s1") is False
    assert await state(store, "s1") is SessionState.DELETED
    assert await store.tutors.touch("s1", 0) is False
    assert await begin(store, "s2", limit=1) is None


async def test_use_keeps_a_session_awake_and_late_word_of_earlier_use_takes_nothing_away(store: Store) -> None:
    await begin(store, "s1", timeout_s=600)
    for _ in range(4):
        await later(store, 400)
        assert await store.tutors.touch("s1", 0) is True
    await later(store, 400)
    assert await store.tutors.touch("s1", 3600) is True
    assert await state(store, "s1") is SessionState.ACTIVE
    await later(store, 201)
    assert await store.tutors.expire() == 1
    assert await store.tutors.expire() == 0
    assert await state(store, "s1") is SessionState.EXPIRED


async def test_removing_a_tutor_ends_his_sessions(store: Store) -> None:
    tutor = await store.tutors.add("acme", admin="7", name="")
    for session, of in (("s1", tutor.id), ("s2", tutor.id), ("s3", tutor.id + 1)):
        await begin(store, session, tutor=of)
    await begin(store, "s4", tutor=tutor.id, tenant="other")
    assert sorted(await store.tutors.remove("acme", tutor.id) or []) == ["s1", "s2"]
    assert await state(store, "s3") is await state(store, "s4") is SessionState.ACTIVE


async def test_a_session_is_granted_to_its_administrator_here_or_elsewhere(store: Store) -> None:
    await begin(store, "here")
    for session in ("here", "elsewhere"):
        await store.tutors.grant("acme", session, tutor=1, student="999", admin="7")
    here, elsewhere = await store.tutors.session("acme", "here"), await store.tutors.session("acme", "elsewhere")
    assert here is not None
    assert elsewhere is not None
    assert (here.admin, here.state, here.kb) == ("7", SessionState.ACTIVE, "test")
    assert (elsewhere.admin, elsewhere.state) == ("7", SessionState.REMOTE)
    assert isinstance(await begin(store, "more", limit=1), Full)  # remote ones do not count
    assert await begin(store, "more", limit=2) is None
    assert await store.tutors.end("acme", "elsewhere") is True
    assert await store.tutors.end("acme", "elsewhere") is False


async def test_states_are_told_of_any_number(store: Store) -> None:
    for number in range(40):
        await begin(store, f"s{number}", limit=100)
    await store.tutors.end("acme", "s39")
    found = await store.tutors.states([f"s{number}" for number in range(50)])
    assert len(found) == 40
    assert [id for id, state in found.items() if state is not SessionState.ACTIVE] == ["s39"]
    assert await store.tutors.states([]) == {}


async def test_what_ended_long_ago_is_removed(store: Store) -> None:
    await begin(store, "active")
    await begin(store, "deleted")
    await store.tutors.end("acme", "deleted")
    await store.tutors.grant("acme", "remote", tutor=1, student="1", admin="7")
    assert await store.tutors.forget_sessions(3600, limit=10) == 0
    assert await store.tutors.forget_sessions(-1, limit=10) == 2
    assert await state(store, "active") is SessionState.ACTIVE
