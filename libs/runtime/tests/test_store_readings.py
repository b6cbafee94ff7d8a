"""Time series, on SQLite and PostgreSQL alike."""

from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from parley_protocol.readings import Reading
from parley_runtime.store import open_store
from parley_runtime.store.engine import SqlStore
from parley_runtime.store.reading_ports import Series, Stats, StoredReading


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[SqlStore]:
    opened = await open_store(store_url)
    assert isinstance(opened, SqlStore)
    yield opened
    await opened.aclose()


def one(at: int, value: str, sensor: str = "pond-1", metric: str = "temp", unit: str = "℃") -> StoredReading:
    return StoredReading(metric=metric, sensor=sensor, at=at, value=value, number=float(value), unit=unit)


async def texts(store: SqlStore, **fields: object) -> list[str]:
    found = await store.readings.select("acme", "temp", **{"limit": 10, **fields})
    return [reading.value for reading in found]


async def test_digits_are_kept_and_the_same_time_replaces(store: SqlStore) -> None:
    await store.readings.put("acme", [one(1, "23.50"), one(2, "23.500"), one(2, "2e1")])
    assert await texts(store) == ["2e1", "23.50"]
    await store.readings.put("acme", [one(1, "0.10")])
    (newest, oldest) = await store.readings.select("acme", "temp", limit=10)
    assert (oldest.value, oldest.number, oldest.unit, oldest.sensor) == ("0.10", 0.1, "℃", "pond-1")
    assert newest.told() == Reading(
        timestamp="1970-01-01T00:00:00.000002+00:00", value="2e1", unit="℃", sensor="pond-1"
    )


async def test_newest_and_ranges_by_sensor(store: SqlStore) -> None:
    await store.readings.put("acme", [one(at, str(at)) for at in (1, 2, 3)] + [one(4, "40", "pond-2")])
    assert await texts(store, limit=2) == ["40", "3"]
    assert await texts(store, sensor="pond-1", limit=2) == ["3", "2"]
    assert await texts(store, span=(2, 4)) == ["3", "2"]
    assert await texts(store, span=(2, 4), order="oldest", limit=1) == ["2"]
    assert await texts(store, span=(10, 20)) == []


async def test_highest_and_lowest_are_numbers_and_of_equals_the_newest(store: SqlStore) -> None:
    await store.readings.put("acme", [one(1, "9"), one(2, "10"), one(3, "10.0"), one(4, "-3")])
    assert await texts(store, order="highest", limit=2) == ["10.0", "10"]
    assert await texts(store, order="lowest", limit=1) == ["-3"]
    await store.readings.put("acme", [one(5, "70", unit="℉")])
    assert await texts(store, order="highest", limit=1) == ["70"]
    assert await texts(store, order="highest", unit="℃", limit=1) == ["10.0"]


async def test_stats_by_unit(store: SqlStore) -> None:
    await store.readings.put("acme", [one(1, "1"), one(2, "2"), one(3, "6"), one(4, "70", unit="℉")])
    assert await store.readings.stats("acme", "temp") == [
        Stats(unit="℃", count=3, mean=3.0, first=1, last=3),
        Stats(unit="℉", count=1, mean=70.0, first=4, last=4),
    ]
    assert await store.readings.stats("acme", "temp", sensor="pond-1", span=(1, 3)) == [
        Stats(unit="℃", count=2, mean=1.5, first=1, last=2)
    ]
    assert await store.readings.stats("acme", "ph") == []


async def test_series_tell_the_newest_reading_whatever_order_they_came_in(store: SqlStore) -> None:
    await store.readings.put("acme", [one(5, "1", unit="K"), one(1, "2", metric="ph", unit="")])
    await store.readings.put("acme", [one(3, "1", unit="℃")])
    assert await store.readings.series("acme", limit=10) == [
        Series(metric="ph", sensor="pond-1", unit="", newest=1),
        Series(metric="temp", sensor="pond-1", unit="K", newest=5),
    ]
    assert len(await store.readings.series("acme", limit=1)) == 1


async def test_tenants_see_their_own_only(store: SqlStore) -> None:
    await store.readings.put("acme", [one(1, "1")])
    await store.readings.put("other", [one(1, "2"), one(2, "3")])
    assert await texts(store) == ["1"]
    assert (await store.readings.stats("acme", "temp"))[0].count == 1
    assert await store.readings.drop("acme", "temp") == 1
    assert await store.readings.series("acme", limit=10) == []
    assert len(await store.readings.select("other", "temp", limit=10)) == 2


async def test_drop_of_one_sensor_leaves_the_others(store: SqlStore) -> None:
    await store.readings.put("acme", [one(1, "1"), one(1, "2", "pond-2")])
    assert await store.readings.drop("acme", "temp", "pond-1") == 1
    assert await texts(store) == ["2"]
    assert [series.sensor for series in await store.readings.series("acme", limit=10)] == ["pond-2"]


async def test_what_was_stored_long_ago_is_forgotten_in_batches(store: SqlStore) -> None:
    await store.readings.put("acme", [one(at, str(at)) for at in range(5)])
    assert await store.readings.forget(3600, limit=3) == 0
    for table in ("readings", "series"):  # let time pass
        later = sa.text(f"UPDATE {table} SET stored_at = stored_at - 7200")
        await store._db.write(store._db.prepare(later), {})
    await store.readings.put("acme", [one(9, "9", "pond-2")])
    assert [await store.readings.forget(3600, limit=3) for _ in range(3)] == [3, 2, 0]
    assert await texts(store) == ["9"]
    assert [series.sensor for series in await store.readings.series("acme", limit=10)] == ["pond-2"]


async def test_newest_readings_are_found_by_an_index(store: SqlStore) -> None:
    if store._db.dialect != "sqlite":
        pytest.skip("the plan of an empty PostgreSQL table says nothing")
    for one_sensor, index in ((False, "readings_time"), (True, "sqlite_autoindex_readings_1")):
        sql = store.readings._select["newest", one_sensor].sql
        values = [1] * sql.count("?")
        rows = await store._db._run(store._db._readers[0], f"EXPLAIN QUERY PLAN {sql}", tuple(values))
        assert f"USING INDEX {index}" in rows[0][-1]
