"""Turns over a real socket: order, cancel, expiry, resume, failover, slow clients."""

import asyncio
import contextlib
from functools import partial

import pytest

from parley_gateway.config import LimitSettings, TurnSettings
from parley_protocol.control import Attach, Audience, Begin, Prefix, Stop
from parley_protocol.events import Delta, Snapshot, Status
from parley_protocol.events import Marks as M

pytestmark = pytest.mark.unit


async def test_a_turn_streams_and_ends(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.start("one")
        job = await house.worker.jobs.get()
        await house.worker.answer(job, "Because ", "it ", "is.")
        done = await client.until("turn.done")
        kinds = [frame["type"] for frame in client.frames]
    assert kinds[:3] == ["welcome", "turn.accepted", "turn.status"]
    assert done["status"] == "completed"
    assert done["text"] == "Because it is."
    assert done["latency"]["total_ms"] >= done["latency"]["first_token_ms"] > 0


async def test_turns_of_a_session_run_one_after_another(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.start("one")
        await client.start("two")
        first = await house.worker.jobs.get()
        assert house.worker.jobs.all == [first]
        await house.worker.answer(first, "1")
        second = await house.worker.jobs.get()
        await house.worker.answer(second, "2")
        await client.until("turn.done", "two")
    order = [frame["turn"] for frame in client.frames if frame["type"] in ("turn.accepted", "turn.done")]
    assert order == ["one", "one", "two", "two"]


async def test_the_same_turn_twice_is_one_turn(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.start("one")
        job = await house.worker.jobs.get()
        await client.until("turn.accepted")
        await client.start("one")
        await client.until("turn.accepted")
        await house.worker.answer(job, "once")
        await client.until("turn.done")
        await client.start("one", "another text")
        error = await client.until("error")
    assert (error["code"], error["turn"]) == ("conflict", "one")
    assert len(house.worker.jobs.all) == 1


async def test_a_turn_asked_again_after_its_end_is_told_again_from_its_start(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.start("one")
        await house.worker.answer(await house.worker.jobs.get(), "once")
        await client.until("turn.done")
        client.seen.clear()
        client.frames.clear()
        await client.start("one")
        done = await client.until("turn.done")
    assert client.frames[0]["type"] == "turn.accepted"
    assert [frame["seq"] for frame in client.frames[1:]] == list(range(len(client.frames) - 1))
    assert (done["status"], done["text"]) == ("completed", "once")
    assert len(house.worker.jobs.all) == 1


async def test_cancel_keeps_exactly_the_text_delivered(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.start("one")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Status(0, "generating"), Delta(1, 0, "so far"))
        await client.until_text("one", "so far")
        await client.send(type="turn.cancel", turn="one")
        record = await house.worker.records.get()
        await house.worker.emit(job, Delta(2, 6, " and on"))
        stop = await house.worker.heard.get(Stop)
        done = await client.until("turn.done")
    assert (record.forced, record.text, record.status) == (True, "so far", "cancelled")
    assert stop.key == job.key
    assert (done["status"], done["text"]) == ("cancelled", "so far")


async def test_interrupt_cancels_what_runs_and_what_waits(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.start("one")
        await house.worker.jobs.get()
        await client.start("two")
        await client.start("three", interrupt=True)
        job = await house.worker.jobs.get()
        assert job.key.turn == "three"
        await house.worker.answer(job, "3")
        await client.until("turn.done", "three")
    ends = {frame["turn"]: frame["status"] for frame in client.frames if frame["type"] == "turn.done"}
    assert ends == {"one": "cancelled", "two": "cancelled", "three": "completed"}


async def test_a_turn_past_its_deadline_expires(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.start("one", deadline_ms=100)
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "half"))
        done = await client.until("turn.done")
    assert (done["status"], done["text"], done["fault"]["code"]) == ("expired", "half", "expired")


async def test_resume_on_the_same_gateway_gives_exactly_what_was_missed(house):
    gateway = await house.gateway()
    async with house.client(gateway) as first:
        await first.start("one")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Status(0, "generating"), Delta(1, 0, "one "))
        await first.until_text("one", "one ")
    await house.worker.emit(job, Delta(2, 4, "two "))
    async with house.client(gateway, greet=False, known=first.seen) as second:
        welcome = await second.hello(session=first.session, position=first.position, pending=["one"])
        await second.until_text("one", "one two ")
        await house.worker.emit(job, Delta(3, 8, "three"))
        await house.worker.finish(job, "one two three", 4)
        await second.until("turn.done")
    assert (welcome["resumed"], welcome["gap"]) == (True, False)
    assert second.seen["one"].restarts == 0
    assert second.seen["one"].statuses == ["generating"]


async def test_resume_on_another_gateway(house):
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    async with house.client(one) as first:
        await first.start("one")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "one "))
        await first.until_text("one", "one ")
    async with house.client(two, greet=False, known=first.seen) as second:
        welcome = await second.hello(session=first.session, position=first.position, pending=["one"])
        attach = await house.worker.heard.get(Attach)
        assert (attach.gateway, attach.keys) == ("gateway-2", (job.key,))
        await house.worker.emit(_to(job, "gateway-2"), Snapshot(2, M(), "one two "), Delta(2, 8, "three"))
        await second.until_text("one", "one two three")
        await house.worker.finish(_to(job, "gateway-2"), "one two three", 3)
        await second.until("turn.done")
    assert welcome["resumed"]
    assert second.seen["one"].restarts == 0


async def test_resume_where_the_turn_was_asked_too_goes_on_without_a_restart(house):
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    async with house.client(one) as first:
        await first.start("one")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "one "))
        await first.until_text("one", "one ")
    async with house.client(two, greet=False) as twin:
        await twin.hello(session=first.session)
        await twin.start("one")
        await twin.until("turn.accepted")
        async with house.client(two, greet=False, known=first.seen) as second:
            await second.hello(session=first.session, position=first.position, pending=["one"])
            attach = await house.worker.heard.get(Attach)
            assert (attach.gateway, attach.keys) == ("gateway-2", (job.key,))
            await house.worker.emit(_to(job, "gateway-2"), Snapshot(2, M(), "one two "))
            await second.until_text("one", "one two ")
            await house.worker.finish(_to(job, "gateway-2"), "one two ", 2)
            await second.until("turn.done")
            await twin.until("turn.done")
    assert second.seen["one"].restarts == 0
    assert twin.seen["one"].text == "one two "


async def test_resume_after_the_end_reads_the_row(house):
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    async with house.client(one) as first:
        await first.start("one")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "one "))
        await first.until_text("one", "one ")
    await house.worker.finish(_to(job, "nobody"), "one two", 2)
    async with house.client(two, greet=False, known=first.seen) as second:
        await second.hello(session=first.session, position=first.position, pending=["one"])
        done = await second.until("turn.done")
    assert done["text"] == "one two"
    assert second.seen["one"].restarts == 0


async def test_a_lost_terminal_is_found_in_the_row(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.start("one")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "all"))
        await house.worker.finish(_to(job, "nobody"), "all", 1)
        done = await client.until("turn.done")
    assert done["text"] == "all"


async def test_a_successor_continues_without_the_client_noticing(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.start("one")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "one "))
        await client.until_text("one", "one ")
        await house.worker.control.broadcast(Audience.GATEWAYS, Begin(job.key, 2, "worker-1"))
        prefix = await house.worker.heard.get(Prefix)
        assert (prefix.text, prefix.fence, prefix.gateway) == ("one ", 2, "gateway-1")
        await house.worker.emit(job, Delta(1, 4, "WRONG"), fence=1)
        stop = await house.worker.heard.get(Stop)
        assert stop.fence == 2
        await house.worker.emit(job, Snapshot(1, M(), "one "), Delta(1, 4, "two"), fence=2)
        await client.until_text("one", "one two")
    assert client.seen["one"].restarts == 0


async def test_a_successor_with_another_text_restarts(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.start("one")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "one "))
        await client.until_text("one", "one ")
        await house.worker.emit(job, Snapshot(1, M(), "uno "), Delta(1, 4, "due"), fence=2)
        await client.until_text("one", "uno due")
    assert client.seen["one"].restarts == 1


async def test_a_full_queue_is_said_at_once(house):
    gateway = await house.gateway(turns=TurnSettings(publish_s=0.2))
    async with house.client(gateway) as client:
        house.broker.stop()
        await client.until("degraded")
        await client.start("one")
        error = await client.until("error")
        assert (error["code"], error["turn"], error["retryable"]) == ("unavailable", "one", True)
        assert error["retry_after_ms"] > 0
        house.broker.start()
        await client.until("restored")
        await client.start("one")
        job = await house.worker.jobs.get()
        await house.worker.answer(job, "back")
        await client.until("turn.done")


async def test_an_unconfirmed_publish_is_repeated_and_runs_once(house):
    gateway = await house.gateway(turns=TurnSettings(publish_s=0.1))
    async with house.client(gateway) as client:
        house.broker.lose_confirms(1)
        await client.start("one")
        job = await house.worker.jobs.get()
        await client.until("turn.accepted")
        await house.worker.answer(job, "once")
        await client.until("turn.done")
    assert len(house.worker.jobs.all) == 1


async def test_a_reconnect_is_followed_by_a_watch(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.start("one")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "one "))
        await client.until_text("one", "one ")
        house.broker.cut("gateway-1")
        attach = await house.worker.heard.get(Attach)
        assert attach.keys == (job.key,)
        await house.worker.emit(job, Snapshot(2, M(), "one two"))
        await client.until_text("one", "one two")


async def test_a_client_that_takes_nothing_is_closed_and_can_resume(house):
    gateway = await house.gateway(limits=LimitSettings(connect_rate=0, send_s=1.0))
    text = "x" * 100_000
    async with house.client(gateway, max_queue=1, close_timeout=0.1) as slow:
        await slow.start("one")
        job = await house.worker.jobs.get()
        slow.socket.transport.pause_reading()
        for number in range(100):
            await house.worker.emit(job, Delta(number, number * len(text), text))
        async with asyncio.timeout(30):
            while gateway.hub.connections:
                gateway.hub.left.clear()
                await gateway.hub.left.wait()
        slow.socket.transport.resume_reading()
        with contextlib.suppress(Exception):
            await slow.until("turn.done")
    async with house.client(gateway, greet=False, known=slow.seen, max_size=None) as again:
        await again.hello(session=slow.session, position=slow.position, pending=["one"])
        await house.worker.finish(job, text * 100, 100)
        done = await again.until("turn.done")
    assert len(done["text"]) == len(text) * 100
    assert again.seen["one"].restarts == 0


async def ticks_until(happened):
    for _ in range(1_000_000):
        if happened():
            return
        await asyncio.sleep(0)
    pytest.fail("it did not happen")


def has_said(entry, size):
    return len(entry.turn.text) == size


async def test_a_full_socket_is_written_nothing_more_to(house):
    """What it has not been given is kept once for all, and its end is not even encoded."""
    gateway = await house.gateway(limits=LimitSettings(connect_rate=0, send_s=60.0))
    async with house.client(gateway, max_queue=1, max_size=None) as slow:
        await slow.start("one")
        job = await house.worker.jobs.get()
        slow.socket.transport.pause_reading()
        (connection,) = gateway.hub.connections.values()
        transport, text = connection.wire._protocol.transport, ""
        (entry,) = gateway.hub.registry.turns.values()
        async with asyncio.timeout(20):
            while not transport.get_write_buffer_size():
                await house.worker.emit(job, Delta(entry.turn.n, len(text), "x" * 5000))
                text += "x" * 5000
                await ticks_until(partial(has_said, entry, len(text)))
            await house.worker.finish(job, text + "y" * 1_000_000, entry.turn.n)
            await ticks_until(lambda: entry.ended)
            for _ in range(10):  # a flush comes with the next turn of the loop
                await asyncio.sleep(0)
        assert 0 < transport.get_write_buffer_size() < 65_536
        assert not connection.outbox.empty
        slow.socket.transport.resume_reading()
        done = await slow.until("turn.done")
    assert done["text"] == text + "y" * 1_000_000


async def test_drain_tells_and_closes_resumably(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        drain = asyncio.create_task(gateway.drain(5))
        frame = await client.until("draining")
        assert await client.closed() == 4001
        await drain
    assert frame["reconnect_in_ms"] > 0


async def test_msgpack_frames(house):
    from websockets.asyncio.client import connect

    from parley_protocol.client import Done, Hello, TurnStart, Welcome
    from parley_protocol.codec import decode_server, encode_pack

    gateway = await house.gateway()
    address = f"ws://127.0.0.1:{gateway.port}/v1/connect"
    async with connect(address, subprotocols=["parley.v1.msgpack"]) as socket:
        await socket.send(encode_pack(Hello()))
        assert isinstance(decode_server(await socket.recv()), Welcome)
        await socket.send(encode_pack(TurnStart(turn="one", text="why?")))
        await house.worker.answer(await house.worker.jobs.get(), "so")
        async with asyncio.timeout(30):
            while not isinstance(frame := decode_server(await socket.recv()), Done):
                pass
    assert frame.text == "so"


def _to(job, gateway):
    import msgspec

    return msgspec.structs.replace(job, reply_to=(gateway,))


async def test_a_turn_that_was_read_is_not_told_again_though_somebody_asks_for_it_while_a_client_comes_back(
    house, monkeypatch
):
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    async with house.client(one) as first:
        for turn in ("old", "new"):
            await first.start(turn)
            await house.worker.answer(await house.worker.jobs.get(), turn)
            await first.until("turn.done", turn)
    asked, go, after = asyncio.Event(), asyncio.Event(), house.store.after

    async def slow(*args, **options):
        asked.set()
        await go.wait()
        return await after(*args, **options)

    async with house.client(two, greet=False) as other, house.client(two, greet=False, known=first.seen) as back:
        await other.hello(session=first.session)
        monkeypatch.setattr(house.store, "after", slow)
        await back.send(type="hello", session=first.session, position=first.position)
        await asked.wait()
        await other.start("old")
        assert (await other.until("turn.done", "old"))["text"] == "old"
        go.set()
        await back.start("next")
        await house.worker.answer(await house.worker.jobs.get(), "next")
        await back.until("turn.done", "next")  # any frame of the old one fails in between
    assert [frame["type"] for frame in back.frames if frame.get("turn") == "old"] == []
