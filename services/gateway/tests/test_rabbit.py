"""The gateway on a real RabbitMQ: one turn, a lost event queue, a conserved number of broker objects."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from parley_protocol.control import Attach
from parley_protocol.events import Delta, Marks, Snapshot
from parley_protocol.routes import topology
from parley_runtime.amqp import AmqpBroker

pytestmark = pytest.mark.rabbit


class Processes:
    """What the in-memory broker is to the other tests."""

    def __init__(self, url, stack):
        self.url = url
        self.stack = stack

    def process(self, name):
        broker = AmqpBroker(self.url, name=name, topology=topology(), heartbeat_s=5)
        self.stack.push_async_callback(broker.close)
        return broker


@pytest.fixture
async def house(rabbit, tmp_path, open_house):
    async with AsyncExitStack() as stack:
        yield await open_house(Processes(rabbit.url, stack), tmp_path, stack)


async def test_a_turn_over_rabbitmq(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.start("one")
        job = await house.worker.jobs.get()
        await house.worker.answer(job, "one ", "two")
        done = await client.until("turn.done")
    assert done["text"] == "one two"


async def test_a_cut_connection_loses_nothing(house, rabbit):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.start("one")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "one "))
        await client.until_text("one", "one ")
        await asyncio.to_thread(rabbit.ctl, "close_all_connections", "test")
        await client.until("restored")
        answering = asyncio.create_task(answer_attaches(house.worker, job))
        await client.until_text("one", "one two")
        answering.cancel()
        await house.worker.finish(job, "one two", 2)
        await client.until("turn.done")


async def answer_attaches(worker, job):
    """What the owner of a turn does, as often as it is asked."""
    while True:
        attach = await worker.heard.get(Attach)
        assert attach.keys == (job.key,)
        await worker.emit(job, Snapshot(2, Marks(), "one two"))


async def test_sockets_cost_the_broker_nothing(house, rabbit):
    gateway = await house.gateway("gateway-idle")

    def objects():
        """Connections, channels, and this gateway's queues: those of the tests before expire meanwhile."""
        pids = [len(rabbit.ctl("-q", f"list_{kind}", "pid").splitlines()) for kind in ("connections", "channels")]
        queues = rabbit.ctl("-q", "list_queues", "name").splitlines()
        return [*pids, sorted(name for name in queues if "gateway-idle" in name)]

    before = await asyncio.to_thread(objects)
    assert len(before[2]) == 2, "one for events, one for control"
    async with AsyncExitStack() as sockets:
        for _ in range(50):
            await sockets.enter_async_context(house.client(gateway))
        assert await asyncio.to_thread(objects) == before
