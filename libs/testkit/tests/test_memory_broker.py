"""What the in-memory broker offers beyond the contract: faults and looking inside."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from parley_protocol.routes import DEAD_QUEUE, WORK, Stage, stage_queue, topology
from parley_runtime.errors import OutcomeUnknown, Refused, Unavailable
from parley_runtime.ports import LinkState, Message
from parley_testkit.contracts.lab import Taken, eventually
from parley_testkit.memory import MemoryBroker

pytestmark = [pytest.mark.unit, pytest.mark.virtual_time]

RETRIEVE = stage_queue(Stage.RETRIEVE)
SPECS = {queue.name: queue for queue in topology().queues}


@pytest.fixture
async def broker() -> AsyncIterator[MemoryBroker]:
    memory = MemoryBroker(topology(admission=3))
    yield memory
    await memory.close()


async def test_a_confirm_can_be_lost_and_the_message_is_there(broker: MemoryBroker) -> None:
    link = await broker.process("gateway").open("publish")
    broker.lose_confirms(1)
    with pytest.raises(OutcomeUnknown):
        await link.publish(WORK, Stage.RETRIEVE, Message(b"1"), timeout_s=2)
    await link.publish(WORK, Stage.RETRIEVE, Message(b"2"))
    assert broker.messages(RETRIEVE) == (b"1", b"2")


async def test_admission_is_the_length_of_the_first_stage(broker: MemoryBroker) -> None:
    link = await broker.process("gateway").open("publish")
    for _ in range(3):
        await link.publish(WORK, Stage.RETRIEVE, Message(b""))
    with pytest.raises(Refused):
        await link.publish(WORK, Stage.RETRIEVE, Message(b""))


async def test_returned_messages_go_behind_the_waiting_ones(broker: MemoryBroker) -> None:
    link, heir = await broker.process("a").open("all"), await broker.process("b").open("all")
    first, second = Taken(), Taken()
    spec = topology(admission=3).queues[0]
    assert spec.name == RETRIEVE
    for body in (b"0", b"1", b"2"):
        await heir.publish(WORK, Stage.RETRIEVE, Message(body))
    await link.subscribe(lambda: spec, first, prefetch=2)
    await first.until(2)
    broker.kill("a")
    assert link.state is LinkState.CLOSED
    await heir.subscribe(lambda: spec, second, prefetch=9)
    assert [d.body for d in await second.until(3)] == [b"2", b"0", b"1"]


async def test_a_killed_process_can_do_nothing_and_its_name_can_start_again(broker: MemoryBroker) -> None:
    link = await broker.process("a").open("all")
    broker.kill("a")
    with pytest.raises(Unavailable):
        await link.publish(WORK, Stage.RETRIEVE, Message(b""))
    again = await broker.process("a").open("all")
    await again.publish(WORK, Stage.RETRIEVE, Message(b""))


async def test_a_publish_written_during_an_alarm_arrives_after_it(broker: MemoryBroker) -> None:
    link = await broker.process("a").open("publish")
    broker.block()
    with pytest.raises(OutcomeUnknown):
        await link.publish(WORK, Stage.RETRIEVE, Message(b"late"), timeout_s=1)
    assert broker.messages(RETRIEVE) == ()
    broker.unblock()
    await eventually(lambda: broker.messages(RETRIEVE), (b"late",))


async def test_a_sure_dead_letter_waits_for_room(broker: MemoryBroker) -> None:
    """A retry rung whose stage is full keeps the job until there is room."""
    link = await broker.process("a").open("all")
    for body in (b"0", b"1", b"2"):
        await link.publish(WORK, Stage.RETRIEVE, Message(body))
    await link.publish("parley.retry.0", Stage.RETRIEVE, Message(b"retried"))
    await asyncio.sleep(5)
    assert broker.messages(RETRIEVE) == (b"0", b"1", b"2")
    taken = Taken()
    await link.subscribe(lambda: topology(admission=3).queues[0], taken, prefetch=1)
    for index in range(4):
        await (await taken.until(index + 1))[index].ack()
    assert taken.bodies == ["0", "1", "2", "retried"]


async def test_stop_and_start_are_an_outage(broker: MemoryBroker) -> None:
    process = broker.process("a")
    link = await process.open("all")
    broker.stop()
    assert link.state is LinkState.CONNECTING
    with pytest.raises(Unavailable):
        await process.open("more", wait_s=1)
    broker.start()
    await eventually(lambda: link.state, LinkState.UP)


async def test_a_rejected_job_is_parked(broker: MemoryBroker) -> None:
    link, taken = await broker.process("a").open("all"), Taken()
    await link.publish(WORK, Stage.GENERATE, Message(b"poison"))
    await link.subscribe(lambda: SPECS[stage_queue(Stage.GENERATE)], taken, prefetch=1)
    await (await taken.until(1))[0].reject()
    await eventually(lambda: broker.messages(DEAD_QUEUE), (b"poison",))
