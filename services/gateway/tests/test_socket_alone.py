"""Turns without a socket, over real sockets: left, ended, counted; and what a returning client finds."""

import asyncio
import itertools

import pytest

from parley_gateway.config import TurnSettings
from parley_protocol.control import Attach, Detached, Leave, Stop
from parley_protocol.events import Delta, Marks, Snapshot

from .conftest import counted

pytestmark = pytest.mark.unit

SOON = TurnSettings(abandon_s=0.05)


async def until(condition):
    """Turns of the loop until ``condition`` holds, within five seconds."""
    deadline = asyncio.get_running_loop().time() + 5
    for _ in itertools.takewhile(lambda _: not condition(), itertools.count()):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0)


async def begun(house, gateway, text="half "):
    """(client, job) of a turn whose client has read ``text`` and gone."""
    async with house.client(gateway) as client:
        await client.start("a")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, text))
        await client.until_text("a", text)
    return client, job


async def test_a_turn_that_nobody_follows_is_ended(house):
    gateway = await house.gateway(turns=SOON)
    before = counted("parley_detached_turns_total", outcome="abandoned")
    client, job = await begun(house, gateway)
    leave = await house.worker.heard.get(Leave)
    assert (leave.key, leave.gateway, leave.abandoned) == (job.key, "gateway-1", True)
    await house.worker.control.send("gateway-1", Detached(job.key, 1, "worker-1"))
    record = await house.worker.records.get()
    assert (record.forced, record.status, record.text, record.fault.code) == (True, "expired", "half ", "abandoned")
    assert (await house.worker.heard.get(Stop)).key == job.key
    async with house.client(gateway, greet=False, known=client.seen) as again:
        await again.hello(session=client.session, position=client.position, pending=["a"])
        done = await again.until("turn.done")
    assert (done["status"], done["text"], done["fault"]["code"]) == ("expired", "half ", "abandoned")
    assert done["fault"]["retryable"]
    assert counted("parley_detached_turns_total", outcome="abandoned") == before + 1


async def test_a_turn_that_another_gateway_follows_goes_on(house):
    one, two = await house.gateway("gateway-1", turns=SOON), await house.gateway("gateway-2", turns=SOON)
    client, job = await begun(house, one)
    async with house.client(two, greet=False, known=client.seen) as second:
        await second.hello(session=client.session, position=client.position, pending=["a"])
        assert (await house.worker.heard.get(Attach)).gateway == "gateway-2"
        assert (await house.worker.heard.get(Leave)).gateway == "gateway-1"
        moved = to(job, "gateway-2")
        await house.worker.emit(moved, Snapshot(1, Marks(), "half "), Delta(1, 5, "whole"))
        await second.until_text("a", "half whole")
        await house.worker.finish(moved, "half whole", 2)
        assert (await second.until("turn.done"))["status"] == "completed"
    assert all(leave.gateway == "gateway-1" for leave in house.worker.heard.all if isinstance(leave, Leave))


async def test_a_client_that_comes_back_to_a_turn_that_was_left_gets_what_it_missed(house):
    gateway = await house.gateway(turns=SOON)
    client, job = await begun(house, gateway)
    await house.worker.heard.get(Leave)
    async with house.client(gateway, greet=False, known=client.seen) as again:
        await again.hello(session=client.session, position=client.position, pending=["a"])
        assert (await house.worker.heard.get(Attach)).keys == (job.key,)
        # What the owner sent after it was left is not known here: a snapshot tells.
        await house.worker.emit(job, Snapshot(7, Marks(), "half and more "), Delta(7, 14, "whole"))
        await house.worker.control.send("gateway-1", Detached(job.key, 1, "worker-1"))
        await again.until_text("a", "half and more whole")
        await house.worker.finish(job, "half and more whole", 8)
        assert (await again.until("turn.done"))["status"] == "completed"
    assert again.seen["a"].restarts == 0
    assert house.worker.records.all == []


async def test_a_turn_that_ends_alone_is_counted_and_kept(house):
    gateway = await house.gateway()
    turns = counted("parley_detached_turns_total", outcome="completed")
    characters = counted("parley_detached_characters_total")
    client, job = await begun(house, gateway)
    await house.worker.emit(job, Delta(1, 5, "whole"))
    await house.worker.finish(job, "half whole", 2)
    await until(lambda: not gateway.hub.registry.open_turns())
    assert counted("parley_detached_turns_total", outcome="completed") == turns + 1
    assert counted("parley_detached_characters_total") == characters + len("whole")
    async with house.client(gateway, greet=False, known=client.seen) as again:
        await again.hello(session=client.session, position=client.position, pending=["a"])
        assert (await again.until("turn.done"))["text"] == "half whole"


async def test_a_turn_that_ends_elsewhere_is_not_counted_as_alone(house):
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    before = counted("parley_detached_turns_total", outcome="completed")
    client, job = await begun(house, one)
    async with house.client(two, greet=False, known=client.seen) as second:
        await second.hello(session=client.session, position=client.position, pending=["a"])
        await house.worker.heard.get(Attach)
        await until(lambda: one.hub.registry.turns[job.key].elsewhere)
        both = to(job, "gateway-1", "gateway-2")
        await house.worker.finish(both, "half ", 1)
        await second.until("turn.done")
        await until(lambda: not one.hub.registry.open_turns())
    assert counted("parley_detached_turns_total", outcome="completed") == before


def to(job, *gateways):
    import msgspec

    return msgspec.structs.replace(job, reply_to=gateways)
