"""Links on a bad network and a broker that misbehaves, beyond what the broker contract asks."""

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiormq.channel import Channel

from parley_protocol.routes import QueueSpec
from parley_runtime.amqp import AmqpBroker, subscriber
from parley_runtime.amqp.subscriber import AmqpSubscription
from parley_runtime.amqp.wire import silence_limit_s
from parley_runtime.errors import OutcomeUnknown, Unavailable
from parley_runtime.ports import Delivery, Link, LinkState, Message
from parley_runtime.telemetry import metrics, names
from parley_testkit.contracts import RabbitUnderTest
from parley_testkit.contracts.lab import Lab, Taken, eventually
from parley_testkit.proxy import CuttableProxy
from parley_testkit.rabbit import RabbitNode

pytestmark = pytest.mark.rabbit

HEARTBEAT_S = 1
LIMIT_S = silence_limit_s(HEARTBEAT_S) + 1.0
"""What a scaled-down link may take to notice, and a second for a busy machine."""


@pytest.fixture
async def under_test(rabbit: RabbitNode) -> AsyncIterator[RabbitUnderTest]:
    real = RabbitUnderTest(rabbit)
    yield real
    await real.close()


@pytest.fixture
async def proxy(rabbit: RabbitNode) -> AsyncIterator[CuttableProxy]:
    async with CuttableProxy("127.0.0.1", rabbit.port) as proxy:
        yield proxy


@contextlib.asynccontextmanager
async def connected(lab: Lab, proxy: CuttableProxy) -> AsyncIterator[AmqpBroker]:
    url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/"
    broker = AmqpBroker(url, name="p", topology=lab.topology, heartbeat_s=HEARTBEAT_S)
    try:
        yield broker
    finally:
        await broker.close()


async def test_an_idle_half_open_link_is_noticed_and_comes_back(
    under_test: RabbitUnderTest, proxy: CuttableProxy
) -> None:
    lab, taken = Lab(under_test), Taken()
    queue = lab.queue()
    async with connected(lab, proxy) as broker:
        link = await broker.open("test")
        subscription = await lab.take(link, queue, taken)
        proxy.blackhole()
        await eventually(lambda: link.state, LinkState.CONNECTING, LIMIT_S)
        assert not subscription.consuming
        await proxy.restore()
        await subscription.wait_consuming(10)
        await lab.put(link, "q", "after")
        await taken.until(1)


@pytest.mark.parametrize("size", [10, 200_000], ids=["small", "more than the socket holds"])
async def test_publishes_into_a_half_open_link_end(
    under_test: RabbitUnderTest, proxy: CuttableProxy, size: int
) -> None:
    lab = Lab(under_test)
    lab.queue()
    async with connected(lab, proxy) as broker:
        link = await broker.open("test")
        await lab.put(link, "q", "before")
        loop = asyncio.get_running_loop()
        proxy.blackhole()
        began = loop.time()

        async def publish(timeout_s: float) -> tuple[type[Exception] | None, float]:
            try:
                await link.publish(lab.exchange, "q", Message(b"x" * size), timeout_s=timeout_s)
            except (OutcomeUnknown, Unavailable) as error:
                return type(error), loop.time() - began
            return None, 0.0

        async with asyncio.timeout(LIMIT_S + 10):
            brief = await asyncio.gather(*(publish(0.5) for _ in range(60)))
            assert all(took < 1.5 for _, took in brief), brief
            assert OutcomeUnknown in {kind for kind, _ in brief}
            patient = [asyncio.create_task(publish(60.0)) for _ in range(60)]
            # Those with time left learn that the wire is gone long before their own deadline; what was never written
            # waits for the next wire.
            await eventually(lambda: link.state, LinkState.CONNECTING, LIMIT_S)
            await proxy.restore()
            results = await asyncio.gather(*patient)
        assert {kind for kind, _ in results} <= {OutcomeUnknown, None}
        assert all(took < LIMIT_S for kind, took in results if kind)
        await eventually(lambda: link.state, LinkState.UP)


async def test_an_open_port_that_never_answers_is_unavailable_in_time(
    under_test: RabbitUnderTest, proxy: CuttableProxy
) -> None:
    proxy.blackhole()
    async with connected(Lab(under_test), proxy) as broker:
        began = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable):
            await broker.open("test", wait_s=0.5)
        assert asyncio.get_running_loop().time() - began < 3


async def test_acknowledgements_do_not_hang_on_a_dead_wire(under_test: RabbitUnderTest, proxy: CuttableProxy) -> None:
    lab, taken = Lab(under_test), Taken()
    queue = lab.queue(quorum=False)
    async with connected(lab, proxy) as broker:
        publisher, link = await broker.open("publish"), await broker.open("consume")
        await asyncio.gather(*(lab.put(publisher, "q", "m") for _ in range(2000)))
        await lab.take(link, queue, taken, prefetch=2000)
        held = await taken.until(2000)
        proxy.cut()
        async with asyncio.timeout(30):
            await asyncio.gather(*(delivery.ack() for delivery in held))
            await eventually(lambda: link.state, LinkState.UP)
            await eventually(lambda: any(delivery.alive for delivery in held), False)
            assert await asyncio.gather(*(delivery.ack() for delivery in held)) == [False] * 2000


async def test_a_closed_channel_takes_only_its_own_consumer_along(
    under_test: RabbitUnderTest, proxy: CuttableProxy
) -> None:
    lab, taken, other = Lab(under_test), Taken(), Taken()
    one, two = lab.queue("one"), lab.queue("two")
    async with connected(lab, proxy) as broker:
        link = await broker.open("test")
        hit, spared = await lab.take(link, one, taken), await lab.take(link, two, other)
        await lab.put(link, "one", "m")
        (stale,) = await taken.until(1)
        # What the broker does to a consumer that holds a delivery for longer than its consumer_timeout.
        assert isinstance(hit, AmqpSubscription)
        assert hit._lane is not None
        await hit._lane.channel.basic_ack(424242)
        fresh = (await taken.until(2))[1]
        assert (stale.alive, fresh.alive, fresh.redelivered) == (False, True, True)
        assert not await stale.ack()
        assert await fresh.ack()
        assert (link.state, spared.consuming) == (LinkState.UP, True)
        await lab.put(link, "two", "m")
        await other.until(1)


async def test_a_queue_that_does_not_answer_consume_is_asked_again(
    under_test: RabbitUnderTest, proxy: CuttableProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, taken = Lab(under_test), Taken()
    queue = lab.queue()
    async with connected(lab, proxy) as broker:
        link = await broker.open("test")
        monkeypatch.setattr(subscriber, "CONSUME_S", 0.3)
        proxy.latency_s = 0.5
        subscription = await link.subscribe(lambda: queue, taken, prefetch=1)
        with pytest.raises(Unavailable, match="consume-ok"):
            await subscription.wait_consuming(2.0)
        proxy.latency_s = 0.0
        await subscription.wait_consuming(15)
        assert link.state is LinkState.UP


async def test_consumers_are_back_within_two_seconds_of_a_killed_broker(
    under_test: RabbitUnderTest, rabbit: RabbitNode
) -> None:
    lab, taken = Lab(under_test), Taken()
    queue = lab.queue(quorum=False)
    broker = AmqpBroker(rabbit.url, name="p", topology=lab.topology)
    try:
        link = await broker.open("test")
        subscription = await lab.take(link, queue, taken)
        await lab.put(link, "q", "held")
        await taken.until(1)
        await asyncio.to_thread(rabbit.kill)
        await eventually(lambda: link.state, LinkState.CONNECTING)
        await asyncio.sleep(3)  # long enough for the back-off to reach its cap
        await asyncio.to_thread(rabbit.start)  # returns at the first login
        await subscription.wait_consuming(2.0)
        assert (await taken.until(2))[1].redelivered
    finally:
        await broker.close()


async def test_a_login_refused_later_is_retried_and_never_shown(
    under_test: RabbitUnderTest, rabbit: RabbitNode, caplog: pytest.LogCaptureFixture
) -> None:
    user, password = f"user-{secrets.token_hex(3)}", f"pw-{secrets.token_hex(8)}"
    ctl = rabbit.ctl
    await asyncio.to_thread(ctl, "add_user", user, password)
    await asyncio.to_thread(ctl, "set_permissions", user, ".*", ".*", ".*")
    url = f"amqp://{user}:{password}@127.0.0.1:{rabbit.port}/"
    broker = AmqpBroker(url, name="p", topology=Lab(under_test).topology)
    try:
        with caplog.at_level(logging.DEBUG):
            link = await broker.open("test")
            await asyncio.to_thread(ctl, "change_password", user, f"other-{password}")
            await asyncio.to_thread(ctl, "close_all_user_connections", user, "test")
            await eventually(lambda: link.state, LinkState.CONNECTING)
            await eventually(lambda: "ACCESS_REFUSED" in caplog.text, True)
            with pytest.raises(Unavailable, match="AMQP_URL"):
                await link.publish("x", "y", Message(b""), timeout_s=0.2)
            await asyncio.to_thread(ctl, "change_password", user, password)
            await eventually(lambda: link.state, LinkState.UP, 25)
        assert user in caplog.text
        assert password not in caplog.text
    finally:
        await broker.close()
        await asyncio.to_thread(ctl, "delete_user", user)


async def test_connections_are_named_after_process_and_purpose(under_test: RabbitUnderTest, rabbit: RabbitNode) -> None:
    name = f"rag-{secrets.token_hex(4)}"
    broker = AmqpBroker(rabbit.url, name=name, topology=Lab(under_test).topology)
    try:
        await broker.open("publish")
        await broker.open("control")
        listed = await asyncio.to_thread(rabbit.ctl, "list_connections", "timeout", "client_properties")
        found = [line for line in listed.splitlines() if name in line]
        assert len(found) == 2
        assert all(line.split()[0] == "5" for line in found)
        for purpose in ("publish", "control"):
            assert any(f'"{name}:{purpose}"' in line for line in found)
    finally:
        await broker.close()


async def test_links_are_measured(under_test: RabbitUnderTest, proxy: CuttableProxy) -> None:
    lab, taken = Lab(under_test), Taken()
    queue = lab.queue()
    purpose = f"test{secrets.token_hex(3)}"
    async with connected(lab, proxy) as broker:
        link = await broker.open(purpose)
        assert metrics.value(names.LINK_STATE, purpose) == 1
        await lab.take(link, queue, taken)
        await lab.put(link, "q", "m")
        await taken.until(1)
        assert metrics.value(names.PUBLISHES, lab.exchange, "confirmed") == 1
        assert metrics.value(names.PUBLISH_SECONDS, lab.exchange, suffix="_count") == 1
        assert metrics.value(names.DELIVERIES, queue.name, "no") == 1
        proxy.cut()
        await eventually(lambda: metrics.value(names.LINK_RECONNECTS, purpose), 1)
        await taken.until(2)
        assert metrics.value(names.DELIVERIES, queue.name, "yes") == 1
    assert metrics.value(names.LINK_STATE, purpose) == 0


async def test_consumers_return_while_the_broker_still_believes_in_the_old_connection(
    under_test: RabbitUnderTest, proxy: CuttableProxy
) -> None:
    """A queue of its own name that was exclusive would be locked (405) until the broker notices the dead peer."""
    lab, private, shared = Lab(under_test), Taken(), Taken()
    queue = lab.queue()
    epochs = itertools.count()

    def factory() -> QueueSpec:
        spec = lab.spec("epoch", expires=60_000)
        return QueueSpec(f"{spec.name}.{next(epochs)}", spec.arguments, spec.bindings)

    async with connected(lab, proxy) as broker:
        link = await broker.open("test")
        mine = await link.subscribe(factory, private, prefetch=5, replaces=True)
        await mine.wait_consuming(5)
        ours = await lab.take(link, queue, shared)
        proxy.orphan()
        await eventually(lambda: (mine.consuming, ours.consuming), (False, False))
        await mine.wait_consuming(3)
        await ours.wait_consuming(3)
        await lab.put(link, "epoch", "new")
        await private.until(1)
        await eventually(lambda: link.depth(f"{lab.prefix}.epoch.0"), None)
        # Two messages, two believed consumers: the dead one's share returns when its heartbeat runs out.
        await lab.put(link, "q", "a", "b")
        await shared.until(2)
        assert sorted(shared.bodies) == ["a", "b"]


async def test_nothing_confirmed_is_lost_on_a_bad_network(under_test: RabbitUnderTest, proxy: CuttableProxy) -> None:
    lab, taken = Lab(under_test), Taken()
    queue = lab.queue()
    confirmed: set[str] = set()
    stop = asyncio.Event()

    def consume(delivery: Delivery) -> None:
        taken(delivery)
        acks.create_task(delivery.ack())

    async def publish(link: Link, worker: int) -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            name = f"{worker}.{number}"
            while name not in confirmed:
                try:
                    await lab.put(link, "q", name)
                    confirmed.add(name)
                except OutcomeUnknown:
                    pass  # publish it again

    async with connected(lab, proxy) as broker:
        publisher, consumer = await broker.open("publish"), await broker.open("consume")
        async with asyncio.timeout(60), asyncio.TaskGroup() as acks:
            subscription = await consumer.subscribe(lambda: queue, consume, prefetch=50)
            workers = [acks.create_task(publish(publisher, worker)) for worker in range(20)]
            for round_ in range(12):
                await asyncio.sleep(0.05 + 0.02 * round_)
                if round_ % 4 == 3:
                    await proxy.refuse()
                    await asyncio.sleep(0.3)
                    await proxy.restore()
                else:
                    proxy.cut()
            stop.set()
            await asyncio.gather(*workers)
            await subscription.wait_consuming(10)
            await eventually(lambda: confirmed <= set(taken.bodies), True)
            await eventually(lambda: publisher.depth(queue.name), (0, 1))
    assert len(confirmed) > 20


@pytest.mark.parametrize(
    ("young", "waiting", "said"),
    [
        (True, [], "queue_replaced"),
        (True, ["confirmed"], "queue_silent"),
        (False, [], "queue_without_leader"),
    ],
)
async def test_a_silent_queue_is_declared_anew_only_while_it_is_young(
    under_test: RabbitUnderTest,
    rabbit: RabbitNode,
    proxy: CuttableProxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    young: bool,
    waiting: list[str],
    said: str,
) -> None:
    """A quorum queue declared a moment before its broker was killed may be there and never answer a consumer; one on a
    busy broker may be as silent, and hold jobs.
    """
    lab, taken, hushed = Lab(under_test), Taken(), [True]
    queue = lab.queue()
    consume = Channel.basic_consume

    async def silent(channel: Channel, name: str, receive: Any, *, arguments: Any) -> Any:
        if hushed:
            await asyncio.Event().wait()
        return await consume(channel, name, receive, arguments=arguments)

    monkeypatch.setattr(Channel, "basic_consume", silent)
    monkeypatch.setattr(subscriber, "CONSUME_S", 0.2)
    async with connected(lab, proxy) as broker:
        publisher = await broker.open("publish")
        await lab.put(publisher, "q", *waiting)
        if not young:
            await asyncio.to_thread(rabbit.ctl, "delete_queue", f"{queue.name}.young")
        link = await broker.open("consume")
        subscription = await link.subscribe(lambda: queue, taken, prefetch=1)
        await eventually(lambda: said in caplog.text, True)
        hushed.clear()
        await subscription.wait_consuming(20)
        assert ("rabbitmqctl delete_queue" in caplog.text) is not young
        await lab.put(publisher, "q", "after")
        for count in range(1, len(waiting) + 2):
            await (await taken.until(count))[-1].ack()
        assert taken.bodies == [*waiting, "after"]
        left = (0, 0) if waiting else None
        await eventually(lambda: publisher.depth(f"{queue.name}.young"), left)
