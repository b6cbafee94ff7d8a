"""Contract of redelivery: what comes back, in which order, with which count, and where it ends."""

import asyncio

import pytest

from parley_runtime.ports import Message
from parley_testkit.contracts.harness import BrokerUnderTest
from parley_testkit.contracts.lab import WITHIN_S, Lab, Taken, eventually


class RedeliveryContract:
    """What happens to unsettled, rejected, expired and over-delivered messages."""

    async def test_a_quorum_queue_counts_deliveries_that_failed(self, under_test: BrokerUnderTest) -> None:
        """Where they come back is not promised: RabbitMQ puts them before or behind the waiting ones."""
        lab, dead, heir = Lab(under_test), Taken(), Taken()
        queue = lab.queue()
        doomed, other = await lab.link("doomed"), await lab.link("other")
        await lab.put(other, "q", *"0123")
        await lab.take(doomed, queue, dead, prefetch=2)
        held = await dead.until(2)
        await under_test.kill("doomed")
        await eventually(lambda: other.depth(queue.name), (4, 0))
        await lab.take(other, queue, heir)
        seen = {(d.body.decode(), d.redelivered, d.delivery_count) for d in await heir.until(4)}
        assert seen == {("0", True, 1), ("1", True, 1), ("2", False, None), ("3", False, None)}
        assert not held[0].alive
        assert not await held[0].ack()
        assert await heir.all[2].ack()

    async def test_a_classic_queue_returns_messages_to_their_place(self, under_test: BrokerUnderTest) -> None:
        lab, dead, heir = Lab(under_test), Taken(), Taken()
        queue = lab.queue(quorum=False)
        doomed, other = await lab.link("doomed"), await lab.link("other")
        await lab.put(other, "q", *"0123")
        await lab.take(doomed, queue, dead, prefetch=2)
        await dead.until(2)
        await under_test.kill("doomed")
        await eventually(lambda: other.depth(queue.name), (4, 0))
        await lab.take(other, queue, heir)
        seen = [(d.body.decode(), d.redelivered, d.delivery_count) for d in await heir.until(4)]
        assert seen == [("0", True, None), ("1", True, None), ("2", False, None), ("3", False, None)]

    async def test_the_broker_can_be_asked_whether_a_delivery_is_still_ours(self, under_test: BrokerUnderTest) -> None:
        lab, taken = Lab(under_test), Taken()
        queue = lab.queue()
        link = await lab.link("p")
        await lab.put(link, "q", "m", "n")
        subscription = await lab.take(link, queue, taken, prefetch=2)
        stale, _ = await taken.until(2)
        assert await stale.proven()
        assert await stale.proven()
        assert subscription.consuming
        await under_test.cut("p")
        assert not await stale.proven()
        fresh = (await taken.until(4))[2]
        assert await fresh.proven()

    async def test_a_delivery_dies_with_its_channel(self, under_test: BrokerUnderTest) -> None:
        lab, taken = Lab(under_test), Taken()
        queue = lab.queue()
        link = await lab.link("p")
        await lab.put(link, "q", "m")
        await lab.take(link, queue, taken)
        (stale,) = await taken.until(1)
        await under_test.cut("p")
        fresh = (await taken.until(2))[1]
        assert (stale.alive, fresh.alive) == (False, True)
        assert not await stale.ack()
        assert not await stale.reject()
        assert fresh.redelivered
        assert await fresh.ack()
        await link.close()
        other = await lab.link("other")
        await eventually(lambda: other.depth(queue.name), (0, 0))

    async def test_closing_a_link_returns_what_is_unsettled(self, under_test: BrokerUnderTest) -> None:
        lab, taken = Lab(under_test), Taken()
        queue = lab.queue()
        link, other = await lab.link("p"), await lab.link("other")
        await lab.put(link, "q", "m")
        await lab.take(link, queue, taken)
        (held,) = await taken.until(1)
        await link.close()
        assert not held.alive
        assert not await held.ack()
        await eventually(lambda: other.depth(queue.name), (1, 0))

    async def test_a_rejected_message_is_a_dead_letter_with_its_cause(self, under_test: BrokerUnderTest) -> None:
        lab, taken, parked = Lab(under_test), Taken(), Taken()
        exchange, dead = lab.dead_letters()
        queue = lab.queue(dead_letter_exchange=exchange)
        link = await lab.link()
        await lab.put(link, "q", "bad", headers={"trace": "t1"})
        await lab.take(link, queue, taken)
        (delivery,) = await taken.until(1)
        assert await delivery.reject()
        await lab.take(link, dead, parked)
        (letter,) = await parked.until(1)
        assert letter.death == ("rejected", queue.name)
        assert dict(letter.headers) == {"trace": "t1"}

    async def test_a_delivery_limit_ends_in_a_dead_letter(self, under_test: BrokerUnderTest) -> None:
        lab, parked = Lab(under_test), Taken()
        exchange, dead = lab.dead_letters()
        queue = lab.queue(delivery_limit=2, dead_letter_exchange=exchange)
        other = await lab.link("other")
        await lab.put(other, "q", "poison")
        counts = []
        for round_ in range(3):
            taken = Taken()
            doomed = await lab.link(f"doomed{round_}")
            await lab.take(doomed, queue, taken)
            (delivery,) = await taken.until(1)
            counts.append(delivery.delivery_count)
            await under_test.kill(f"doomed{round_}")
        assert counts == [None, 1, 2]
        await lab.take(other, dead, parked)
        (letter,) = await parked.until(1)
        assert letter.death == ("delivery_limit", queue.name)

    @pytest.mark.parametrize("quorum", [True, False], ids=["quorum", "classic"])
    async def test_an_expired_message_is_a_dead_letter(self, under_test: BrokerUnderTest, quorum: bool) -> None:
        lab, parked = Lab(under_test), Taken()
        exchange, dead = lab.dead_letters()
        queue = lab.queue(quorum=quorum, dead_letter_exchange=exchange)
        link = await lab.link()
        await lab.take(link, dead, parked)
        began = asyncio.get_running_loop().time()
        await lab.put(link, "q", "late", expires_s=0.3)
        await lab.put(link, "q", "early")
        (letter,) = await parked.until(1)
        assert asyncio.get_running_loop().time() - began >= 0.29
        assert letter.death == ("expired", queue.name)
        await eventually(lambda: link.depth(queue.name), (1, 0))

    async def test_a_retry_rung_brings_a_job_back_to_its_stage(self, under_test: BrokerUnderTest) -> None:
        lab, taken = Lab(under_test), Taken()
        rung_exchange = lab.fanout("rung-x")
        rung = lab.queue(
            "rung",
            exchange=rung_exchange,
            message_ttl=300,
            dead_letter_exchange=lab.exchange,
            dead_letter_strategy="at-least-once",
            overflow="reject-publish",
        )
        one, two = lab.queue("one"), lab.queue("two")
        link = await lab.link()
        await lab.take(link, one, taken)
        await lab.take(link, two, Taken())
        await link.publish(rung_exchange, "one", Message(b"job", {"attempt": 2}))
        assert await link.depth(rung.name) == (1, 0)
        (delivery,) = await taken.until(1)
        assert (delivery.queue, delivery.redelivered, delivery.delivery_count) == (one.name, False, None)
        assert delivery.death == ("expired", rung.name)
        assert dict(delivery.headers) == {"attempt": 2}

    async def test_the_last_death_is_told(self, under_test: BrokerUnderTest) -> None:
        lab, parked = Lab(under_test), Taken()
        exchange, dead = lab.dead_letters()
        last = lab.queue("last", dead_letter_exchange=exchange)
        first = lab.queue("first", dead_letter_exchange=lab.exchange, dead_letter_routing_key="last")
        link = await lab.link()
        taken, second = Taken(), Taken()
        await lab.put(link, "first", "m")
        await lab.take(link, first, taken)
        await (await taken.until(1))[0].reject()
        await lab.take(link, last, second)
        (again,) = await second.until(1)
        assert again.death == ("rejected", first.name)
        await again.reject()
        await lab.take(link, dead, parked)
        (letter,) = await parked.until(1)
        assert letter.death == ("rejected", last.name)

    async def test_a_restart_keeps_what_is_durable(self, under_test: BrokerUnderTest) -> None:
        lab, taken = Lab(under_test), Taken()
        classic, quorum = lab.queue("classic", quorum=False), lab.queue("quorum")
        link = await lab.link()
        held = Taken()
        await lab.put(link, "quorum", "held")
        subscription = await lab.take(link, quorum, held, prefetch=1)
        await held.until(1)
        for stem in ("classic", "quorum"):
            await lab.put(link, stem, "durable")
            await lab.put(link, stem, "transient", durable=False)
        await under_test.restart()
        await held.until(2, within_s=30)
        await subscription.wait_consuming(WITHIN_S)
        await eventually(lambda: link.depth(quorum.name), (2, 1))
        assert not held.all[0].alive
        await lab.take(link, classic, taken)
        await taken.until(1)
        await eventually(lambda: link.depth(classic.name), (0, 1))
        assert taken.bodies == ["durable"]
