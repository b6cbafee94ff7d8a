"""The control plane between processes on the in-memory broker."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from parley_protocol import codec
from parley_protocol.control import Alive, Audience, Control, Hail, Leave, Presence, Running, Stop
from parley_protocol.ids import TurnKey
from parley_protocol.routes import CONTROL, topology
from parley_runtime.control import ControlPlane
from parley_runtime.ports import Message
from parley_runtime.telemetry import metrics, names
from parley_runtime.work.asks import Asks
from parley_runtime.work.options import AskOptions
from parley_testkit.memory import MemoryBroker
from parley_testkit.turns import Collector, FakeGateway

pytestmark = pytest.mark.unit

KEY = TurnKey("default", "s", "t")


class Ear(Collector):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Control] = []

    def __call__(self, message: Control) -> None:
        self.heard.append(message)
        self.changed()


@pytest.fixture
async def broker() -> AsyncIterator[MemoryBroker]:
    made = MemoryBroker(topology())
    yield made
    await made.close()


def presence() -> Presence:
    return Presence(id="w1", role="rag", host="h", pid=1, version="0", uptime_s=1.0, ready=True)


async def plane(broker: MemoryBroker, name: str, audience: Audience) -> tuple[ControlPlane, Ear]:
    made = await ControlPlane.open(broker.process(name), process_id=name, audience=audience, presence=presence)
    ear = Ear()
    made.on(Stop, ear)
    await made.start()
    return made, ear


async def test_a_broadcast_reaches_its_audience_and_a_message_one_process(broker: MemoryBroker) -> None:
    one, heard_one = await plane(broker, "w1", Audience.WORKERS)
    two, heard_two = await plane(broker, "w2", Audience.WORKERS)
    gateway, heard_gateway = await plane(broker, "g1", Audience.GATEWAYS)
    assert await gateway.broadcast(Audience.WORKERS, Stop(KEY, 1))
    assert await gateway.send("w2", Stop(KEY, 2))
    assert await gateway.send("g1", Stop(KEY, 3))
    await heard_two.until(lambda: len(heard_two.heard) == 2)
    await heard_gateway.until(lambda: bool(heard_gateway.heard))
    assert (heard_one.heard, heard_two.heard) == ([Stop(KEY, 1)], [Stop(KEY, 1), Stop(KEY, 2)])
    assert heard_gateway.heard == [Stop(KEY, 3)]
    for each in (one, two, gateway):
        await each.aclose()


async def test_each_kind_has_its_handlers_and_one_that_fails_stops_nobody(broker: MemoryBroker) -> None:
    made, ear = await plane(broker, "w1", Audience.WORKERS)

    def broken(_: Leave) -> None:
        raise RuntimeError("defect")

    second = Ear()
    made.on(Leave, broken)
    made.on(Leave, second)
    made.post("w1", Leave(KEY, "g1"))
    made.post("w1", Running(KEY, 1, "w2"))
    made.post("w1", Stop(KEY))
    await ear.until(lambda: bool(ear.heard))
    assert second.heard == [Leave(KEY, "g1")]
    await made.aclose()


async def test_what_cannot_be_decoded_is_counted_and_dropped(broker: MemoryBroker) -> None:
    made, ear = await plane(broker, "w1", Audience.WORKERS)
    link = await broker.process("x").open("raw")
    before = metrics.value(names.UNDECODABLE, "control")
    await link.publish(CONTROL, "w1", Message(b"\xc1"))
    await link.publish(CONTROL, "w1", Message(codec.pack(Stop(KEY))))
    await ear.until(lambda: bool(ear.heard))
    assert metrics.value(names.UNDECODABLE, "control") == before + 1
    await made.aclose()


async def test_a_hail_is_answered_with_the_presence(broker: MemoryBroker) -> None:
    made, _ = await plane(broker, "w1", Audience.WORKERS)
    gateway = await FakeGateway.open(broker.process("gw"), "gw")
    gateway.control.post("workers", Hail("call-1", "gw"))
    await gateway.until(lambda: bool(gateway.replies))
    reply = gateway.replies[0]
    assert (reply.call, codec.unpack(reply.body, Presence)) == ("call-1", presence())
    await made.aclose()
    await gateway.close()


async def test_a_lost_message_is_counted_not_raised(broker: MemoryBroker) -> None:
    made, _ = await plane(broker, "w1", Audience.WORKERS)
    lost = metrics.value(names.CONTROL_LOST)
    broker.stop()
    assert not await made.send("w2", Stop(KEY))
    assert metrics.value(names.CONTROL_LOST) == lost + 1
    assert made.check() is not None
    await made.aclose()


async def test_after_a_lost_connection_a_new_queue_is_consumed(broker: MemoryBroker) -> None:
    made, ear = await plane(broker, "w1", Audience.WORKERS)
    for fence in range(5):
        made.post("w1", Stop(KEY, fence))
    await ear.until(lambda: len(ear.heard) == 5)
    broker.cut("w1")
    other, _ = await plane(broker, "w2", Audience.WORKERS)
    async with asyncio.timeout(30):
        while len(ear.heard) < 6:
            await other.send("w1", Stop(KEY, 9))
    assert set(ear.heard[5:]) == {Stop(KEY, 9)}
    await other.aclose()
    await made.aclose()


async def test_each_of_two_that_ask_the_same_hears_that_a_turn_is_at_work(broker: MemoryBroker) -> None:
    made, _ = await plane(broker, "w1", Audience.WORKERS)
    worker, heard = await plane(broker, "w2", Audience.WORKERS)
    worker.on(Running, heard)
    asks = Asks(made, AskOptions())
    first = asyncio.create_task(asks.running(KEY, 1, 60.0))
    await heard.until(lambda: bool(heard.heard))
    second = asyncio.create_task(asks.running(KEY, 1, 60.0))
    await heard.until(lambda: len(heard.heard) == 2)
    worker.post("w1", Alive(KEY, 1, "w2"))
    async with asyncio.timeout(30):
        assert await asyncio.gather(first, second) == [True, True]
    await worker.aclose()
    await made.aclose()


async def test_one_that_gives_up_asking_leaves_the_other_asking(broker: MemoryBroker) -> None:
    made, _ = await plane(broker, "w1", Audience.WORKERS)
    worker, heard = await plane(broker, "w2", Audience.WORKERS)
    worker.on(Running, heard)
    asks = Asks(made, AskOptions())
    stays = asyncio.create_task(asks.running(KEY, 1, 60.0))
    await heard.until(lambda: bool(heard.heard))
    assert not await asks.running(KEY, 1, 0.01)
    worker.post("w1", Alive(KEY, 1, "w2"))
    async with asyncio.timeout(30):
        assert await stays
    await worker.aclose()
    await made.aclose()
