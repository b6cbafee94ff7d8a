"""What an engine calls a conversation, on SQLite and PostgreSQL alike."""

from collections.abc import AsyncIterator

import pytest

from parley_runtime.store import open_store
from parley_runtime.store.ports import Store


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = await open_store(store_url)
    yield opened
    await opened.aclose()


async def test_the_last_name_kept_counts(store: Store) -> None:
    assert await store.threads.find("acme", "s", "dify") == ""
    for thread in ("one", "two"):
        await store.threads.keep("acme", "s", "dify", thread)
        assert await store.threads.find("acme", "s", "dify") == thread


async def test_tenants_sessions_and_engines_are_apart(store: Store) -> None:
    await store.threads.keep("acme", "s", "dify", "one")
    for tenant, session, engine in (("other", "s", "dify"), ("acme", "t", "dify"), ("acme", "s", "openai")):
        assert await store.threads.find(tenant, session, engine) == ""


async def test_every_store_of_the_installation_sees_it(store: Store, store_url: str) -> None:
    await store.threads.keep("acme", "s", "dify", "one")
    again = await open_store(store_url)
    assert await again.threads.find("acme", "s", "dify") == "one"
    await again.aclose()


async def test_old_names_are_forgotten(store: Store) -> None:
    for number in range(5):
        await store.threads.keep("acme", f"s{number}", "dify", "x")
    assert await store.threads.forget(3600, limit=10) == 0
    assert await store.threads.forget(-1, limit=3) == 3
    assert await store.threads.forget(-1, limit=10) == 2
    assert await store.threads.find("acme", "s4", "dify") == ""
