"""A queue that is deleted under its consumers, and declared anew before every channel has heard of it."""

import asyncio

import pytest

from parley_protocol.routes import CONTROL, DEAD, EVENTS, WORK, topology
from parley_runtime.amqp.consuming import ALWAYS_CANCELS, major_version
from parley_runtime.amqp.mending import routes
from parley_runtime.errors import Unroutable
from parley_runtime.ports import Message
from parley_testkit.contracts import RabbitUnderTest
from parley_testkit.contracts.lab import Lab, Taken, eventually
from parley_testkit.rabbit import RealBroker

pytestmark = pytest.mark.rabbit


def consuming_channels(real: RealBroker) -> set[str]:
    """Process ids, inside the broker, of the channels that have a consumer."""
    rows = [line.split("\t") for line in real.ctl("list_channels", "pid", "consumer_count").splitlines()]
    return {pid for pid, consumers in rows if consumers == "1"}


def hold(real: RealBroker, channel: str, verb: str) -> None:
    """``suspend`` or ``resume`` a channel inside the broker: it is as slow as on a busy machine, for as long."""
    real.ctl("eval", f'sys:{verb}(rabbit_misc:string_to_pid("{channel}")).')


@pytest.mark.parametrize("quorum", [True, False])
async def test_a_consumer_is_not_left_behind_in_a_queue_that_was_deleted_and_declared_anew(
    under_test: RabbitUnderTest, real: RealBroker, quorum: bool
) -> None:
    lab, slow_taken, quick_taken = Lab(under_test), Taken(), Taken()
    queue = lab.queue(quorum=quorum)
    slow_link, quick_link = await lab.link("slow"), await lab.link("quick")
    slow = await lab.take(slow_link, queue, slow_taken)
    (channel,) = await asyncio.to_thread(consuming_channels, real)
    await lab.put(quick_link, "q", "old")
    (old,) = await slow_taken.until(1)
    assert await old.proven(), "a question to the channel does not undo what makes the broker cancel"
    quick = await lab.take(quick_link, queue, quick_taken)

    await asyncio.to_thread(hold, real, channel, "suspend")
    await under_test.delete_queue(queue.name)
    await eventually(lambda: quick_link.depth(queue.name), (0, 1))
    await asyncio.to_thread(hold, real, channel, "resume")

    await eventually(lambda: quick_link.depth(queue.name), (0, 2))
    await eventually(lambda: old.alive, False)
    await slow.wait_consuming(2)
    await quick.wait_consuming(2)
    assert not await old.ack()
    wanted = [f"new {number}" for number in range(20)]
    await lab.put(quick_link, "q", *wanted)
    await eventually(lambda: len(slow_taken.all) + len(quick_taken.all), 1 + len(wanted))
    assert sorted(slow_taken.bodies + quick_taken.bodies) == sorted(["old", *wanted])
    assert len(slow_taken.all) > 1, "the slow one takes its share again"


async def test_a_queue_without_a_consumer_is_declared_again_by_who_publishes(under_test: RabbitUnderTest) -> None:
    """A rung of the retry ladder: nobody else would notice for as long as all connections last."""
    lab, taken = Lab(under_test), Taken()
    fan = lab.fanout("rung")
    work = lab.queue()
    rung = lab.queue("wait", exchange=fan, message_ttl=1, dead_letter_exchange=lab.exchange)
    link = await lab.link()
    await lab.take(link, work, taken)
    await under_test.delete_queue(rung.name)
    with pytest.raises(Unroutable):
        await link.publish(fan, "q", Message(b"nowhere"))

    async def routed() -> bool:
        try:
            await link.publish(fan, "q", Message(b"kept"))
        except Unroutable:
            return False
        return True

    await eventually(routed, True)
    await taken.until(1)
    assert taken.bodies == ["kept"]


@pytest.mark.parametrize(
    ("exchange", "key", "routed"),
    [
        (WORK, "retrieve", True),
        (WORK, "nothing", False),
        (DEAD, "any", True),
        ("parley.retry.0", "generate", True),
        (EVENTS, "gateway-1", False),
        (CONTROL, "workers", False),
        ("unknown", "retrieve", False),
    ],
)
def test_what_the_topology_has_a_queue_for(exchange: str, key: str, routed: bool) -> None:
    assert routes(topology(), exchange, key) is routed


@pytest.mark.parametrize(
    ("properties", "major"),
    [
        ({"version": "3.10.8"}, 3),
        ({"version": "4.0.2"}, 4),
        ({"version": "10.1"}, 10),
        ({"version": "?"}, ALWAYS_CANCELS),
        ({}, ALWAYS_CANCELS),
    ],
)
def test_the_major_version_of_a_broker(properties: dict[str, object], major: int) -> None:
    assert major_version(properties) == major
