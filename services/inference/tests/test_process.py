"""The service as a process of its own, on a real RabbitMQ and a real store."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from parley_protocol.events import Marks, Retrieval, Source
from parley_protocol.routes import topology
from parley_protocol.work import Record
from parley_runtime.amqp import AmqpBroker
from parley_runtime.store import open_store
from parley_testkit.house import KEY, prompt
from parley_testkit.rabbit import RabbitNode, free_port
from parley_testkit.service import running, says
from parley_testkit.turns import FakeGateway, JobTap

pytestmark = pytest.mark.rabbit

PASSAGE = "A fence is a number that the store gives to each run of a turn. The higher fence wins over the lower one."


@pytest.fixture(scope="module")
def vhost(rabbit: RabbitNode) -> str:
    """Address of a virtual host of our own."""
    return rabbit.add_vhost("inference")


@pytest.fixture
async def broker(vhost: str) -> AsyncIterator[AmqpBroker]:
    broker = AmqpBroker(vhost, name="test", topology=topology(), heartbeat_s=5)
    yield broker
    await broker.close()


async def test_from_start_to_sigterm(vhost: str, broker: AmqpBroker, tmp_path: Path) -> None:
    store_url = f"sqlite+aiosqlite:///{tmp_path}/parley.db"
    port = free_port()
    environ = {"AMQP_URL": vhost, "PARLEY_STORE": store_url, "PARLEY_HEALTH_PORT": str(port)}
    store = await open_store(store_url)
    try:
        await store.claim_first(KEY, submission="sub-1", digest="d1", question="What is a fence?")
    finally:
        await store.aclose()
    async with running("parley_inference", **environ, PARLEY_LOG_LEVEL="debug") as child:
        chosen = await says(child, "engine chosen")
        assert chosen["engine"] == "extractive"
        await says(child, "started")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert (await client.get("/readyz")).json()["ready"] is True
            gateway = await FakeGateway.open(broker, "gw")
            tap = await JobTap.open(broker, "record")
            source = Source("p1", "g.md", "Fencing", 1.0, PASSAGE, 0, len(PASSAGE))
            marks = Marks(retrieval=Retrieval(0, "question", "knowledge_base", (source,)))
            await gateway.publish(prompt(question="What is a fence?", marks=marks))
            record = await tap.next(limit_s=60)
            assert isinstance(record, Record)
            assert record.text == f"{PASSAGE} [1]"
            await gateway.until(lambda: gateway.text(KEY) == record.text)
            served = await says(child, "job served")  # counted after it was published and acked: we hear of it before
            assert served["outcome"] == "done"
            assert 'parley_jobs_total{outcome="done",stage="generate"} 1.0' in (await client.get("/metrics")).text
            assert (await client.get("/statusz")).json()["engines"][0]["name"] == "extractive"
            await gateway.close()
        child.send_signal(signal.SIGTERM)
        await says(child, "stopped")
        assert await asyncio.wait_for(child.wait(), 30) == 0


async def test_a_refused_password_ends_the_process_with_78(vhost: str, tmp_path: Path) -> None:
    url = vhost.replace("guest:guest", "guest:wrong")
    async with running(
        "parley_inference", AMQP_URL=url, PARLEY_STORE=f"sqlite+aiosqlite:///{tmp_path}/parley.db"
    ) as child:
        _, written = await asyncio.wait_for(child.communicate(), 30)
    assert child.returncode == 78
    assert b"AMQP_URL" in written
    assert b"wrong" not in written
