"""``/v1/readings`` and the health routes: what is asked of the worker and the store, and how refusals look."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from parley_gateway import readiness
from parley_gateway.config import LimitSettings, ServerSettings, TurnSettings
from parley_gateway.readiness import STAGES, Readiness
from parley_protocol.events import Fault
from parley_protocol.readings import DropReadings, PutReadings, RefusedReading
from parley_protocol.routes import stage_queue
from parley_protocol.work import KnowledgeReply
from parley_runtime.errors import Unavailable
from parley_runtime.store.reading_ports import StoredReading

from .api_fakes import Desk, error_of, http
from .conftest import House

pytestmark = pytest.mark.unit


@pytest.fixture
async def desk(house: House) -> Desk:
    return await Desk.open(house.broker.process("rag-1"))


@pytest.fixture
async def client(house: House, desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    limits = LimitSettings(connect_rate=0, max_readings=1024)
    gateway = await house.gateway(limits=limits, turns=TurnSettings(call_s=0.3, ingest_s=1))
    async with http(gateway) as made:
        yield made


async def test_what_is_sent_goes_to_a_worker_as_it_came(client: httpx.AsyncClient, desk: Desk) -> None:
    desk.say = lambda _: KnowledgeReply(stored=2, refused=(RefusedReading(3, "value is missing"),), refused_count=1)
    headers = {"content-type": "text/csv; charset=utf-8"}
    answer = await client.post("/v1/readings?all_or_nothing=1", content=b"metric,...", headers=headers)
    assert (answer.status_code, answer.json()) == (
        200,
        {"stored": 2, "refused": [{"line": 3, "reason": "value is missing"}]},
    )
    (command,) = desk.commands
    assert isinstance(command, PutReadings)
    assert (command.data, command.media_type, command.all_or_nothing) == (b"metric,...", "text/csv", True)
    assert command.tenant == "default"


async def test_more_refusals_than_are_named_are_counted(client: httpx.AsyncClient, desk: Desk) -> None:
    desk.say = lambda _: KnowledgeReply(refused=(RefusedReading(2, "x"),), refused_count=7)
    answer = await client.post("/v1/readings", json={})
    assert answer.json() == {"stored": 0, "refused": [{"line": 2, "reason": "x"}], "refused_count": 7}


@pytest.mark.parametrize(
    ("body", "status", "code"), [(b" \n", 400, "invalid"), (b"x" * 2000, 413, "too_large"), (b"bad", 400, "invalid")]
)
async def test_what_cannot_be_used(client: httpx.AsyncClient, desk: Desk, body: bytes, status: int, code: str) -> None:
    desk.say = lambda _: Fault("invalid", "the first line must name the columns")
    answer = await client.post("/v1/readings", content=body)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)


async def test_no_worker_is_told_in_time(client: httpx.AsyncClient, desk: Desk) -> None:
    desk.say = lambda _: None
    answer = await client.post("/v1/readings", content=b"x")
    assert (answer.status_code, error_of(answer)["retryable"]) == (503, True)


async def test_what_is_held_is_listed_by_tenant(house: House, client: httpx.AsyncClient) -> None:
    def one(at: int, value: str) -> StoredReading:
        return StoredReading(metric="temp", sensor="a", at=at * 1_000_000, value=value, number=float(value), unit="℃")

    await house.store.readings.put("default", [one(1, "1.50"), one(2, "2.50")])
    await house.store.readings.put("other", [one(3, "3")])
    series = (await client.get("/v1/readings")).json()
    assert series == {"series": [{"metric": "temp", "sensor": "a", "unit": "℃", "newest": "1970-01-01T00:00:02+00:00"}]}
    found = (await client.get("/v1/readings?metric=temp&to=1970-01-01T00:00:02Z")).json()["readings"]
    assert found == [{"timestamp": "1970-01-01T00:00:01+00:00", "value": "1.50", "unit": "℃", "sensor": "a"}]
    newest = (await client.get("/v1/readings?metric=temp&limit=1&sensor=a")).json()["readings"]
    assert [reading["value"] for reading in newest] == ["2.50"]
    for query in ("metric=temp&from=soon", "metric=temp&limit=0"):
        assert (await client.get(f"/v1/readings?{query}")).status_code == 400


async def test_readings_are_dropped_by_a_worker(client: httpx.AsyncClient, desk: Desk) -> None:
    desk.say = lambda _: KnowledgeReply(removed=5)
    assert (await client.delete("/v1/readings?metric=temp&sensor=a")).json() == {"removed": 5}
    (command,) = desk.commands
    assert isinstance(command, DropReadings)
    assert (command.metric, command.sensor) == ("temp", "a")
    assert (await client.delete("/v1/readings")).status_code == 400


async def test_health_tells_the_service_and_the_broker(house: House) -> None:
    gateway = await house.gateway(service_name="Pond 1")
    async with http(gateway) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        up = {"status": "healthy", "service": "Pond 1", "broker": "up"}
        assert (await client.get("/health")).json() == up
        gateway.hub.degraded = "away"
        assert ((await client.get("/health")).status_code, (await client.get("/health")).json()) == (
            200,
            up | {"broker": "down"},
        )
    assert ServerSettings().service_name == "GPU Server"


class Queues:
    """Tells depths as a link does."""

    def __init__(self) -> None:
        self.consumers = dict.fromkeys((stage_queue(stage) for stage in STAGES), 1)
        self.away = False
        self.looks = 0

    async def depth(self, queue: str) -> tuple[int, int] | None:
        self.looks += 1
        if self.away:
            raise Unavailable("away")
        return None if queue not in self.consumers else (0, self.consumers[queue])


async def test_readiness_waits_for_workers_and_bases_and_does_not_flap(house: House) -> None:
    queues = Queues()
    ready = Readiness(queues, house.store, ("default",))
    assert all(ready.reasons().values())
    await ready.look()
    assert ready.reasons() == {"workers": None, "bases": "not in the store yet: default"}
    await house.store.put_document("default", "default", _document(), [])
    await ready.look()
    assert ready.reasons() == {"workers": None, "bases": None}
    queues.consumers["parley.generate"] = 0
    await ready.look()
    assert ready.reasons()["workers"] is None
    await ready.look()
    assert "generate" in (ready.reasons()["workers"] or "")
    queues.consumers["parley.generate"] = 2
    del queues.consumers["parley.retrieve"]
    await ready.look()
    assert ready.reasons()["workers"] is None
    queues.away = True
    await ready.look()
    assert "broker" in (ready.reasons()["workers"] or "")


async def test_nobody_looks_at_the_broker_unless_somebody_asks(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SOON_S", "EVERY_S", "ASKED_S", "STALE_S"):
        monkeypatch.setattr(readiness, name, 0.0)
    queues = Queues()
    ready = Readiness(queues, house.store, ())
    looking = asyncio.create_task(ready.run())
    try:
        for looks in range(3):
            for _ in range(20):
                await asyncio.sleep(0)
            assert queues.looks == looks * len(STAGES)
            assert (await ready.ask())["workers"] is None
    finally:
        looking.cancel()


def _document() -> object:
    from parley_protocol.work import DocumentInfo

    return DocumentInfo(path="a", title="a", digest="a", size=1, passages=0, updated_at="")


async def test_readyz_says_what_is_missing(house: House) -> None:
    gateway = await house.gateway(ready_bases=("mine",))
    async with http(gateway) as client:
        answer = await client.get("/readyz")
        checks = answer.json()["checks"]
        assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
        assert "mine" in checks["bases"]
        assert checks["workers"]
        assert (await client.get("/readyz?without=workers,bases")).status_code == 200
