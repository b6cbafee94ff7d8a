"""Contract of publishing: four outcomes, one deadline."""

import asyncio

import pytest

from parley_runtime.errors import OutcomeUnknown, Refused, Unavailable, Unroutable
from parley_runtime.ports import LinkState, Message
from parley_testkit.contracts.harness import BrokerUnderTest
from parley_testkit.contracts.lab import WITHIN_S, Lab, Taken, eventually

SLACK_S = 1.0
"""How much later than its deadline a publish may return on a busy machine."""


class PublishingContract:
    """``Link.publish``."""

    async def test_a_message_arrives_as_it_was_published(self, under_test: BrokerUnderTest) -> None:
        lab, taken = Lab(under_test), Taken()
        queue = lab.queue()
        link = await lab.link()
        headers: dict[str, str | int] = {"text": "größe 对话", "number": -7, "big": 2**40}
        await link.publish(lab.exchange, "q", Message(b"\x00\xff body", headers))
        await lab.take(link, queue, taken)
        (delivery,) = await taken.until(1)
        assert delivery.body == b"\x00\xff body"
        assert dict(delivery.headers) == headers
        assert (delivery.queue, delivery.redelivered, delivery.delivery_count) == (queue.name, False, None)
        assert delivery.death is None
        assert delivery.alive

    @pytest.mark.parametrize("size", [0, 1, 300_000, 1_500_000])
    async def test_any_size_arrives(self, under_test: BrokerUnderTest, size: int) -> None:
        lab, taken = Lab(under_test), Taken()
        queue = lab.queue()
        link = await lab.link()
        await link.publish(lab.exchange, "q", Message(b"x" * size))
        await lab.take(link, queue, taken)
        (delivery,) = await taken.until(1)
        assert delivery.body == b"x" * size

    async def test_a_fanout_reaches_every_queue(self, under_test: BrokerUnderTest) -> None:
        lab = Lab(under_test)
        exchange = lab.fanout("fan")
        queues = [lab.queue(stem, quorum=False, exchange=exchange) for stem in ("a", "b")]
        link = await lab.link()
        await link.publish(exchange, "any key", Message(b"m"))
        for queue in queues:
            assert await link.depth(queue.name) == (1, 0)

    async def test_no_queue_is_unroutable(self, under_test: BrokerUnderTest) -> None:
        lab = Lab(under_test)
        queue = lab.queue()
        link = await lab.link()
        with pytest.raises(Unroutable):
            await link.publish(lab.exchange, "nowhere", Message(b"m"))
        await link.publish(lab.exchange, "nowhere", Message(b"m"), mandatory=False)
        assert await link.depth(queue.name) == (0, 0)

    async def test_an_unknown_exchange_is_unroutable_and_harms_nothing_else(self, under_test: BrokerUnderTest) -> None:
        lab = Lab(under_test)
        queue = lab.queue()
        link = await lab.link()
        with pytest.raises(Unroutable):
            await link.publish(f"{lab.prefix}.unknown", "q", Message(b"m"))
        await lab.put(link, "q", "after")
        await eventually(lambda: link.depth(queue.name), (1, 0))

    @pytest.mark.parametrize("quorum", [True, False], ids=["quorum", "classic"])
    async def test_a_full_queue_refuses_until_there_is_room(self, under_test: BrokerUnderTest, quorum: bool) -> None:
        lab, taken = Lab(under_test), Taken()
        queue = lab.queue(quorum=quorum, max_length=3, overflow="reject-publish")
        link = await lab.link()
        await lab.put(link, "q", "0", "1", "2")
        with pytest.raises(Refused):
            # RabbitMQ may let a few in before it has told its channels that the queue is full.
            await lab.put(link, "q", *("more" for _ in range(5)))
        subscription = await lab.take(link, queue, taken, prefetch=100)
        for delivery in await taken.until(3):
            await delivery.ack()
        await subscription.cancel()

        async def accepted() -> bool:
            try:
                await lab.put(link, "q", "room")
            except Refused:
                return False
            return True

        await eventually(accepted, True)

    async def test_publishes_made_together_keep_their_order(self, under_test: BrokerUnderTest) -> None:
        lab, taken = Lab(under_test), Taken()
        queue = lab.queue(quorum=False)
        link = await lab.link()
        await asyncio.gather(*(lab.put(link, "q", str(n)) for n in range(300)))
        await lab.take(link, queue, taken, prefetch=300)
        await taken.until(300)
        assert taken.bodies == [str(n) for n in range(300)]

    async def test_cancelled_publishes_leave_the_others_in_step(self, under_test: BrokerUnderTest) -> None:
        lab = Lab(under_test)
        queue = lab.queue(quorum=False)
        link = await lab.link()
        tasks = [asyncio.create_task(lab.put(link, "q", "m")) for _ in range(600)]
        await asyncio.sleep(0)
        for index, task in enumerate(tasks):
            if index % 3 == 0:
                task.cancel()
            elif index % 50 == 1:
                await asyncio.sleep(0)  # cancel some before, some while and some after they are written
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for index, result in enumerate(results) if index % 3} == {type(None)}
        with pytest.raises(Unroutable):
            await link.publish(lab.exchange, "nowhere", Message(b"m"))
        await lab.put(link, "q", "last")
        ready, _ = await link.depth(queue.name) or (0, 0)
        assert 401 <= ready <= 601

    async def test_without_a_connection_the_deadline_holds(self, under_test: BrokerUnderTest) -> None:
        lab = Lab(under_test)
        lab.queue()
        link = await lab.link("p")
        await under_test.part("p")
        await eventually(lambda: link.state, LinkState.CONNECTING)
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(Unavailable):
            await link.publish(lab.exchange, "q", Message(b"m"), timeout_s=0.3)
        assert 0.29 <= loop.time() - began < 0.3 + SLACK_S
        waiting = asyncio.create_task(lab.put(link, "q", "patient"))
        await under_test.rejoin("p")
        await waiting

    async def test_a_lost_connection_never_hides_an_outcome(self, under_test: BrokerUnderTest) -> None:
        lab = Lab(under_test)
        queue = lab.queue(quorum=False)
        link = await lab.link("p")
        confirmed = 0

        async def publish() -> None:
            nonlocal confirmed
            try:
                await link.publish(lab.exchange, "q", Message(b"m"), timeout_s=WITHIN_S)
                confirmed += 1
            except (OutcomeUnknown, Unavailable):
                pass

        tasks = []
        for round_ in range(3):
            tasks += [asyncio.create_task(publish()) for _ in range(200)]
            await asyncio.sleep(0.001 * round_)
            await under_test.cut("p")
            await eventually(lambda: link.state, LinkState.UP)
        async with asyncio.timeout(WITHIN_S + SLACK_S):
            await asyncio.gather(*tasks)
        await lab.put(link, "q", "last")
        ready, _ = await link.depth(queue.name) or (0, 0)
        assert confirmed + 1 <= ready <= 601

    async def test_an_alarm_is_seen_and_stops_publishers_only(self, under_test: BrokerUnderTest) -> None:
        lab, taken = Lab(under_test), Taken()
        queue = lab.queue()
        publisher, consumer = await lab.link("p"), await lab.link("c")
        states: list[LinkState] = []
        publisher.watch(lambda state, _: states.append(state))
        await lab.put(publisher, "q", "before")
        await under_test.block()
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises((OutcomeUnknown, Unavailable)):
            await publisher.publish(lab.exchange, "q", Message(b"blocked"), timeout_s=0.5)
        assert loop.time() - began < 0.5 + SLACK_S
        await eventually(lambda: publisher.state, LinkState.BLOCKED)
        with pytest.raises(Unavailable):
            await publisher.publish(lab.exchange, "q", Message(b"blocked"), timeout_s=0.2)
        await lab.take(consumer, queue, taken)
        (first,) = await taken.until(1)
        assert await first.ack()
        await under_test.unblock()
        await eventually(lambda: publisher.state, LinkState.UP)
        await lab.put(publisher, "q", "after")
        assert states == [LinkState.BLOCKED, LinkState.UP]

    async def test_a_closed_link_publishes_nothing(self, under_test: BrokerUnderTest) -> None:
        lab = Lab(under_test)
        lab.queue()
        link = await lab.link()
        await link.close()
        with pytest.raises(Unavailable):
            await link.publish(lab.exchange, "q", Message(b"m"))
