"""Queues that are declared for the first time, that were deleted, and that lost their leader for good."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from parley_protocol.routes import QueueSpec, topology
from parley_runtime.amqp import AmqpBroker, leaderless, subscriber
from parley_runtime.amqp.address import parse
from parley_runtime.amqp.known import remember, unknown
from parley_runtime.amqp.leaderless import Found, replace
from parley_runtime.amqp.wire import Wire, dial
from parley_testkit.contracts import RabbitUnderTest
from parley_testkit.contracts.lab import Lab, Taken
from parley_testkit.rabbit import RealBroker

pytestmark = pytest.mark.rabbit


@pytest.fixture
async def wires(real: RealBroker) -> AsyncIterator[list[Wire]]:
    """Three connections."""
    opened = [await dial(parse(real.url, heartbeat_s=5), name=f"w{i}", heartbeat_s=5) for i in range(3)]
    yield opened
    for wire in opened:
        await wire.hang_up()


def errors(log: str) -> list[str]:
    return [line for line in log.splitlines() if "[error]" in line]


def silence(real: RealBroker, queue: QueueSpec) -> None:
    """Leave the queue in the broker's books and let its leader answer nobody."""
    real.ctl(
        "eval",
        f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{queue.name}">>)), '
        "{Name, _} = amqqueue:get_pid(Q), sys:suspend(whereis(Name)).",
    )


async def test_first_and_later_starts_are_no_errors_in_the_log_of_the_broker(real: RealBroker) -> None:
    """Of an installation of three processes, each with three links, that start at once."""

    async def process(name: str) -> None:
        broker = AmqpBroker(real.url, name=name, topology=topology())
        links = await asyncio.gather(*(broker.open(purpose) for purpose in ("publish", "consume", "control")))
        for queue in topology().queues:
            assert await links[0].depth(queue.name) == (0, 0)
        await broker.close()

    before = errors(await asyncio.to_thread(real.log))
    for _ in range(2):
        await asyncio.gather(*(process(f"p{i}") for i in range(3)))
    assert errors(await asyncio.to_thread(real.log))[len(before) :] == []
    names = set((await asyncio.to_thread(real.ctl, "list_queues", "name")).splitlines()[1:])
    declared = {queue.name for queue in topology().queues}
    assert declared < names
    assert names - declared == {f"{name}.young" for name in declared}


async def test_a_queue_is_unknown_until_it_is_remembered(wires: list[Wire]) -> None:
    one, two = wires[:2]
    names = [f"known.{i}" for i in range(3)]
    assert await unknown(one, names) == set(names)
    await remember(one, names[:2])
    await remember(two, names[:1])
    assert [await unknown(wire, names) for wire in (one, two)] == [{names[2]}, {names[2]}]


async def test_a_queue_that_was_deleted_is_young_when_it_is_declared_again(
    under_test: RabbitUnderTest, wires: list[Wire]
) -> None:
    lab = Lab(under_test)
    kept, deleted = lab.queue("kept"), lab.queue("deleted")
    link = await lab.link("first")
    for queue in (kept, deleted):
        assert await link.depth(f"{queue.name}.young") == (0, 0)
        await under_test.delete_queue(f"{queue.name}.young")
    await under_test.delete_queue(deleted.name)
    await leaderless.prepare(wires[0], lab.topology)
    assert await link.depth(deleted.name) == (0, 0)
    assert await link.depth(f"{deleted.name}.young") == (0, 0)
    assert await link.depth(f"{kept.name}.young") is None


async def test_a_young_queue_without_a_leader_is_declared_anew(
    under_test: RabbitUnderTest, real: RealBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The silent leader never speaks again, so whoever consumes does so from a new queue."""
    lab, taken = Lab(under_test), Taken()
    queue = lab.queue()
    publisher = await lab.link("publisher")
    await asyncio.to_thread(silence, real, queue)
    monkeypatch.setattr(subscriber, "CONSUME_S", 0.5)
    link = await lab.link("consumer")
    subscription = await link.subscribe(lambda: queue, taken, prefetch=1)
    await subscription.wait_consuming(40)
    await lab.put(publisher, "q", "new")
    await taken.until(1)
    assert taken.bodies == ["new"]


@pytest.mark.parametrize("holds", ["a message", "a consumer"])
async def test_a_young_queue_that_tells_of_something_is_left_alone(
    under_test: RabbitUnderTest, wires: list[Wire], holds: str
) -> None:
    lab, taken = Lab(under_test), Taken()
    queue = lab.queue()
    link = await lab.link()
    if holds == "a consumer":
        await lab.take(link, queue, taken)
    await lab.put(link, "q", "confirmed")
    for _ in range(2):
        assert await replace(wires[0], queue) is Found.ANSWERS
    if holds == "a message":
        await lab.take(link, queue, taken)
    await taken.until(1)
    assert taken.bodies == ["confirmed"]


async def test_one_at_a_time_declares_a_queue_anew(
    under_test: RabbitUnderTest, real: RealBroker, wires: list[Wire]
) -> None:
    lab = Lab(under_test)
    queue = lab.queue()
    link = await lab.link()
    await asyncio.to_thread(silence, real, queue)
    found = await asyncio.gather(*(replace(wire, queue) for wire in wires))
    assert sorted(one.name for one in found) == ["NOT_YOUNG", "NOT_YOUNG", "REPLACED"]
    await lab.put(link, "q", "kept")
    assert await replace(wires[0], queue) is Found.NOT_YOUNG
    assert await link.depth(queue.name) == (1, 0)
