"""Messages of the contact chat, on SQLite and PostgreSQL alike."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from parley_protocol.contact import ContactMessage
from parley_runtime.store import open_store
from parley_runtime.store.ports import Store


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = await open_store(store_url)
    yield opened
    await opened.aclose()


async def keep(store: Store, text: str, *, tenant: str = "acme", client: str = "v-1") -> ContactMessage:
    return await store.contact.keep(tenant, client=client, sender="visitor", kind="chat_message", text=text)


async def test_a_message_comes_back_as_it_was_kept(store: Store) -> None:
    kept = await store.contact.keep(
        "acme", client="v-1", sender="visitor", kind="contact_request", text="你好\x00 \U0001f600", user_agent="M\x00/5"
    )
    assert (kept.id, kept.client_id, kept.sender, kept.kind) == (1, "v-1", "visitor", "contact_request")
    assert (kept.message, kept.user_agent) == ("你好\x00 \U0001f600", "M\x00/5")
    written = datetime.fromisoformat(kept.timestamp)
    assert written.tzinfo is not None
    assert abs(datetime.now(UTC) - written) < timedelta(minutes=1)
    assert await store.contact.messages("acme") == [kept]


async def test_pages_follow_one_another_and_end(store: Store) -> None:
    for number in range(5):
        await keep(store, f"m{number}")
    first = await store.contact.messages("acme", limit=3)
    assert [one.message for one in first] == ["m0", "m1", "m2"]
    assert [one.message for one in await store.contact.messages("acme", after=first[-1].id, limit=3)] == ["m3", "m4"]
    assert await store.contact.messages("acme", after=5) == []


async def test_tenants_never_see_each_other(store: Store) -> None:
    await keep(store, "ours")
    theirs = await keep(store, "theirs", tenant="other")
    assert [one.message for one in await store.contact.messages("acme")] == ["ours"]
    assert await store.contact.messages("other") == [theirs]
    assert await store.contact.messages("nobody") == []
    assert [(tenant, one.message) for tenant, one in await store.contact.news(0, limit=10)] == [
        ("acme", "ours"),
        ("other", "theirs"),
    ]


async def test_a_reader_that_goes_on_from_the_last_id_misses_nothing(store: Store) -> None:
    """Though many write at once: an id is never seen before one below it."""
    assert await store.contact.last() == 0
    writing = asyncio.gather(*(keep(store, f"m{number}", client=f"v{number}") for number in range(40)))
    seen: list[int] = []
    async with asyncio.timeout(20):
        while len(seen) < 40:
            seen += [one.id for _, one in await store.contact.news(seen[-1] if seen else 0, limit=7)]
    await writing
    assert seen == list(range(1, 41))
    assert await store.contact.last() == 40


async def test_what_is_too_old_is_removed_and_numbers_are_not_used_again(store: Store) -> None:
    await keep(store, "old")
    assert await store.contact.forget(3600, limit=10) == 0
    assert await store.contact.forget(-1, limit=10) == 1
    assert await store.contact.messages("acme") == []
    assert (await keep(store, "new")).id == 2
