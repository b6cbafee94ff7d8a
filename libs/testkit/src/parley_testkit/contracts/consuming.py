"""Contract of consuming: bounds, order, settlement, and consumers that come back."""

import asyncio
import itertools
from functools import partial

import pytest

from parley_protocol.routes import QueueSpec
from parley_runtime.errors import Unavailable
from parley_runtime.ports import Delivery
from parley_testkit.contracts.harness import BrokerUnderTest
from parley_testkit.contracts.lab import WITHIN_S, Lab, Taken, eventually


class ConsumingContract:
    """``Link.subscribe``, ``Subscription`` and ``Delivery``'s settlement."""

    async def test_deliveries_come_in_order(self, under_test: BrokerUnderTest) -> None:
        lab, taken = Lab(under_test), Taken()
        queue = lab.queue()
        link = await lab.link()
        await lab.take(link, queue, taken, prefetch=200)
        await lab.put(link, "q", *(str(n) for n in range(100)))
        await taken.until(100)
        assert taken.bodies == [str(n) for n in range(100)]

    async def test_prefetch_bounds_what_is_unsettled(self, under_test: BrokerUnderTest) -> None:
        lab, taken = Lab(under_test), Taken()
        queue = lab.queue()
        link = await lab.link()
        await lab.put(link, "q", *"01234")
        await lab.take(link, queue, taken, prefetch=2)
        first, second = await taken.until(2)
        await eventually(lambda: link.depth(queue.name), (3, 1))
        assert taken.bodies == ["0", "1"]
        assert await first.ack()
        await taken.until(3)
        assert await second.reject()
        await taken.until(4)
        await eventually(lambda: link.depth(queue.name), (1, 1))
        assert taken.bodies == ["0", "1", "2", "3"]

    async def test_one_acknowledgement_settles_all_before_it(self, under_test: BrokerUnderTest) -> None:
        lab, taken, left = Lab(under_test), Taken(), Taken()
        queue = lab.queue()
        link, other = await lab.link("p"), await lab.link("other")
        await lab.put(link, "q", *"01234")
        await lab.take(link, queue, taken)
        deliveries = await taken.until(5)
        assert await deliveries[3].ack(multiple=True)
        assert not await deliveries[1].ack()
        assert not await deliveries[2].reject()
        await link.close()
        await lab.take(other, queue, left)
        await left.until(1)
        assert left.bodies == ["4"]

    async def test_a_delivery_is_settled_once(self, under_test: BrokerUnderTest) -> None:
        lab, taken = Lab(under_test), Taken()
        queue = lab.queue()
        link = await lab.link()
        await lab.put(link, "q", "a", "b")
        subscription = await lab.take(link, queue, taken)
        first, second = await taken.until(2)
        assert await first.ack()
        assert not await first.ack()
        assert not await first.reject()
        assert await second.reject()
        assert not await second.ack()
        await lab.put(link, "q", "c")
        third = (await taken.until(3))[2]
        assert await third.ack(), "the channel has survived"
        assert subscription.consuming

    async def test_two_consumers_share_a_queue(self, under_test: BrokerUnderTest) -> None:
        lab, one, two = Lab(under_test), Taken(), Taken()
        queue = lab.queue()
        link = await lab.link()
        await lab.take(link, queue, one, prefetch=2)
        await lab.take(link, queue, two, prefetch=2)
        await lab.put(link, "q", *"0123")
        await one.until(2)
        await two.until(2)
        assert sorted(one.bodies + two.bodies) == list("0123")
        assert await link.depth(queue.name) == (0, 2)

    async def test_a_handler_that_raises_dead_letters_and_the_rest_goes_on(self, under_test: BrokerUnderTest) -> None:
        lab, taken, parked = Lab(under_test), Taken(), Taken()
        exchange, dead = lab.dead_letters()
        queue = lab.queue(dead_letter_exchange=exchange)
        link = await lab.link()

        def handler(delivery: Delivery) -> None:
            if delivery.body == b"bad":
                raise ZeroDivisionError
            taken(delivery)

        subscription = await link.subscribe(lambda: queue, handler, prefetch=1)
        await subscription.wait_consuming(WITHIN_S)
        await lab.take(link, dead, parked)
        await lab.put(link, "q", "bad", "good")
        await taken.until(1)
        await parked.until(1)
        assert parked.bodies == ["bad"]

    async def test_cancel_ends_deliveries_and_leaves_settlement(self, under_test: BrokerUnderTest) -> None:
        lab, taken = Lab(under_test), Taken()
        queue = lab.queue()
        link = await lab.link()
        await lab.put(link, "q", "held")
        subscription = await lab.take(link, queue, taken)
        (held,) = await taken.until(1)
        await subscription.cancel()
        await subscription.cancel()
        assert not subscription.consuming
        await lab.put(link, "q", "later")

        async def ready() -> int:
            # A quorum queue counts a cancelled consumer until its last delivery is settled.
            return (await link.depth(queue.name) or (0, 0))[0]

        await eventually(ready, 1)
        assert taken.bodies == ["held"]
        assert held.alive
        assert await held.ack()
        await link.close()
        again, other = Taken(), await lab.link("other")
        await lab.take(other, queue, again)
        await again.until(1)
        assert again.bodies == ["later"]

    async def test_consumers_return_after_a_lost_connection(self, under_test: BrokerUnderTest) -> None:
        lab, taken = Lab(under_test), Taken()
        queue = lab.queue()
        publisher, link = await lab.link("publisher"), await lab.link("p")
        ready: list[str] = []
        asked = itertools.count(1)
        calls: list[int] = []

        def factory() -> QueueSpec:
            calls.append(next(asked))
            return queue

        async def on_ready(spec: QueueSpec) -> None:
            ready.append(spec.name)

        subscription = await link.subscribe(factory, taken, prefetch=5, on_ready=on_ready)
        await subscription.wait_consuming(WITHIN_S)
        await under_test.part("p")
        await eventually(lambda: subscription.consuming, False)
        with pytest.raises(Unavailable):
            await subscription.wait_consuming(0.1)
        await lab.put(publisher, "q", "meanwhile")
        await under_test.rejoin("p")
        await taken.until(1)
        await subscription.wait_consuming(WITHIN_S)
        await eventually(lambda: len(ready), 2)
        assert ready == [queue.name, queue.name]
        assert len(calls) >= 2

    async def test_a_deleted_queue_is_declared_and_consumed_again(self, under_test: BrokerUnderTest) -> None:
        lab, taken = Lab(under_test), Taken()
        queue = lab.spec("own", max_length=10)
        link = await lab.link()
        ready = asyncio.Event()
        subscription = await link.subscribe(lambda: queue, taken, prefetch=5, on_ready=lambda _: ready.set())
        await subscription.wait_consuming(WITHIN_S)
        ready.clear()
        await under_test.delete_queue(queue.name)
        async with asyncio.timeout(WITHIN_S):
            await ready.wait()
        await lab.put(link, "own", "after")
        await taken.until(1)

    async def test_a_replaced_queue_is_deleted_unread(self, under_test: BrokerUnderTest) -> None:
        lab, taken = Lab(under_test), Taken()
        publisher, link = await lab.link("publisher"), await lab.link("p")
        specs: list[QueueSpec] = []

        def factory() -> QueueSpec:
            spec = lab.spec("epoch", expires=60_000)
            specs.append(QueueSpec(f"{spec.name}.{len(specs)}", spec.arguments, spec.bindings))
            return specs[-1]

        subscription = await link.subscribe(factory, taken, prefetch=5, replaces=True)
        await subscription.wait_consuming(WITHIN_S)
        for _ in range(2):
            old = specs[-1].name
            await under_test.part("p")
            await eventually(lambda: subscription.consuming, False)
            await lab.put(publisher, "epoch", "lost with its queue")
            await under_test.rejoin("p")
            await subscription.wait_consuming(WITHIN_S)
            await eventually(partial(publisher.depth, old), None)
        await lab.put(publisher, "epoch", "new")
        await taken.until(1)
        assert taken.bodies == ["new"]
        assert await publisher.depth(specs[-1].name) == (0, 1)

    async def test_an_unused_queue_expires(self, under_test: BrokerUnderTest) -> None:
        lab, taken = Lab(under_test), Taken()
        queue = lab.queue("brief", quorum=False, expires=700)
        link = await lab.link()
        subscription = await lab.take(link, queue, taken)
        await asyncio.sleep(1.0)  # a consumer keeps it
        assert await link.depth(queue.name) == (0, 1)
        await subscription.cancel()
        assert await link.depth(queue.name) == (0, 0)
        await asyncio.sleep(1.5)
        await eventually(lambda: link.depth(queue.name), None)

    async def test_depth_tells_ready_messages_and_consumers(self, under_test: BrokerUnderTest) -> None:
        lab, taken = Lab(under_test), Taken()
        queue = lab.queue()
        link = await lab.link()
        assert await link.depth(f"{lab.prefix}.unknown") is None
        assert await link.depth(queue.name) == (0, 0)
        await lab.put(link, "q", "a", "b", "c")
        await lab.take(link, queue, taken, prefetch=1)
        await taken.until(1)
        await eventually(lambda: link.depth(queue.name), (2, 1))

    async def test_prefetch_must_be_bounded(self, under_test: BrokerUnderTest) -> None:
        lab = Lab(under_test)
        queue = lab.queue()
        link = await lab.link()
        with pytest.raises(ValueError, match="prefetch"):
            await link.subscribe(lambda: queue, Taken(), prefetch=0)
