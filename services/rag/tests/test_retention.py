"""Old rows go in batches, are counted, and only those that the settings name."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from parley_protocol.events import TurnStatus
from parley_protocol.ids import TurnKey
from parley_protocol.work import DeadInfo, Record
from parley_rag.config import RagSettings
from parley_rag.retention import Retention, RetentionOptions
from parley_runtime.config import read
from parley_runtime.errors import ConfigError
from parley_runtime.store import open_store
from parley_runtime.store.ports import Store
from parley_runtime.telemetry import names
from parley_runtime.telemetry.metrics import value

pytestmark = pytest.mark.unit


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite+aiosqlite:///{tmp_path}/p.db")
    yield opened
    await opened.aclose()


async def ended(store: Store, turn: str) -> None:
    key = TurnKey("acme", "s", turn)
    await store.claim_first(key, submission="a", digest="d", question="Why?")
    await store.close(Record(key=key, submission="a", budget_s=1, fence=1, status=TurnStatus.COMPLETED, text="So."))


async def test_what_is_too_old_goes_in_batches_and_is_counted(store: Store, tmp_path: Path) -> None:
    for i in range(7):
        await ended(store, str(i))
    await store.park(DeadInfo(id="d", queue="q", reason="r", cause="c", parked_at="", body=b""))
    before = value(names.FORGOTTEN, "turns")
    with closing(sqlite3.connect(tmp_path / "p.db")) as file, file:  # let time pass
        file.execute("UPDATE turns SET closed_at = closed_at - 7200")
        file.execute("UPDATE dead SET parked_at = '2020-01-01T00:00:00.000Z'")
    kept = Retention(store, RetentionOptions(batch=3))
    assert await kept.sweep() == {"dead": 1}
    assert value(names.FORGOTTEN, "turns") == before
    sweeping = Retention(store, RetentionOptions(turns_s=3600, batch=3))
    assert await sweeping.sweep() == {"turns": 7}
    assert await sweeping.sweep() == {}
    assert value(names.FORGOTTEN, "turns") == before + 7


def test_keeping_for_less_than_a_client_may_be_away_is_refused() -> None:
    with pytest.raises(ConfigError, match="PARLEY_KEEP_TURNS_S"):
        read(RagSettings, {"PARLEY_KEEP_TURNS_S": "600"})
    assert read(RagSettings, {"PARLEY_KEEP_TURNS_S": "0", "PARLEY_KEEP_DEAD_S": "3600"}).retention.dead_s == 3600
