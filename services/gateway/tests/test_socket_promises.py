"""Promises around turns: gaps are said, several sockets follow, drain waits, traces join, tokens stay out of logs."""

import asyncio
import json
import logging
from contextlib import AsyncExitStack

import msgspec
import pytest

from parley_client.resume import Memory
from parley_client.turn import Turn as LibraryTurn
from parley_gateway import endpoint
from parley_gateway.config import TurnSettings
from parley_gateway.identity import ANONYMOUS
from parley_protocol.codec import decode_server
from parley_protocol.control import Attach, Audience, Begin, Leave, Stop
from parley_protocol.events import Delta, Fault, Marks, Refusal, Retrieval, Snapshot, Source, Status
from parley_protocol.position import Position, encode_position
from parley_runtime.errors import Unavailable
from parley_runtime.settings import CommonSettings
from parley_runtime.telemetry import tracing

pytestmark = pytest.mark.unit


async def test_an_unknown_position_is_a_gap(house):
    gateway = await house.gateway()
    async with house.client(gateway) as first:
        pass
    lost = encode_position(Position("nobody", 4, 1, 4, 10, 77))
    for position in (lost, "nonsense"):
        async with house.client(gateway, greet=False) as second:
            welcome = await second.hello(session=first.session, position=position)
            assert (welcome["resumed"], welcome["gap"]) == (True, True)


async def test_a_turn_whose_window_has_passed_is_told_anew_from_its_record(house):
    one = await house.gateway("gateway-1")
    async with house.client(one) as first:
        await first.start("a")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Status(0, "generating"), Delta(1, 0, "so "))
        await first.until_text("a", "so ")
    await house.worker.finish(job, "so far away", 2)
    two = await house.gateway("gateway-2", turns=TurnSettings(resume_s=0))
    async with house.client(two, greet=False) as second:
        welcome = await second.hello(session=first.session, position=first.position, pending=["a"])
        done = await second.until("turn.done")
    assert (welcome["resumed"], welcome["gap"]) == (True, True)
    frames = [frame for frame in second.frames if frame.get("turn") == "a"]
    assert [frame["seq"] for frame in frames] == list(range(len(frames))), "numbered anew"
    assert second.seen["a"].text == done["text"] == "so far away"


async def test_the_client_library_takes_a_turn_that_is_told_anew(house):
    """Frames of a gap, as the gateway sends them, through what the library remembers of the turn."""
    gateway = await house.gateway(turns=TurnSettings(resume_s=0))
    session = gateway.hub.sessions.make(ANONYMOUS)
    async with house.client(gateway, greet=False) as first:
        await first.hello(session=session)
        await first.start("a")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Status(0, "generating"), Delta(1, 0, "so "))
        await first.until_text("a", "so ")
        memory = Memory(session=session, position=first.position, token=None)
        known = LibraryTurn("a", lambda _: asyncio.sleep(0))
        memory.turns.begin(known)
        for frame in first.frames:
            if frame.get("turn") == "a" and "seq" in frame:
                memory.take(decode_server(json.dumps(frame)))
    await house.worker.finish(to(job, "nobody"), "so far away", 2)
    gateway.hub.registry.sweep(gateway.hub.now())
    async with house.client(gateway, greet=False) as second:
        hello = memory.hello()
        await second.send(type="hello", session=hello.session, position=hello.position, pending=list(hello.pending))
        await second.until("turn.done")
        for frame in second.frames:
            memory.take(decode_server(json.dumps(frame)))
    kinds = [type(frame).__name__ async for frame in known]
    assert (known.text, known.next_seq) == ("so far away", len([f for f in second.frames if "seq" in f]))
    assert kinds.count("Restarted") == 1
    assert kinds[-1] == "Done"


def to(job, *gateways):
    return msgspec.structs.replace(job, reply_to=gateways)


async def test_within_the_window_the_same_turn_goes_on(house):
    """The other half of the test above: nothing but the window differs."""
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2", turns=TurnSettings(resume_s=60))
    async with house.client(one) as first:
        await first.start("a")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Status(0, "generating"), Delta(1, 0, "so "))
        await first.until_text("a", "so ")
    await house.worker.finish(job, "so far away", 2)
    async with house.client(two, greet=False, known=first.seen) as second:
        welcome = await second.hello(session=first.session, position=first.position, pending=["a"])
        await second.until("turn.done")
    assert not welcome["gap"]
    assert second.seen["a"].text == "so far away"


async def test_a_finished_turn_that_nobody_knows_is_a_gap(house):
    """Nor is it known then what came after it."""
    gateway = await house.gateway()
    async with house.client(gateway) as first:
        pass
    lost = encode_position(Position("nobody", 4, 1, 4, 10, 77, done=True))
    async with house.client(gateway, greet=False) as second:
        assert (await second.hello(session=first.session, position=lost))["gap"]


async def test_turns_after_the_position_are_replayed(house):
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    async with house.client(one) as first:
        await first.start("a")
        await house.worker.answer(await house.worker.jobs.get(), "first")
        await first.until("turn.done", "a")
        position = first.position
        await first.start("b")
        await house.worker.answer(await house.worker.jobs.get(), "second")
        await first.until("turn.done", "b")
    async with house.client(two, greet=False) as second:
        welcome = await second.hello(session=first.session, position=position)
        done = await second.until("turn.done")
    assert not welcome["gap"]
    assert (done["turn"], done["text"]) == ("b", "second")
    assert "a" not in second.seen


@pytest.mark.parametrize("later", [False, True])
async def test_a_turn_read_to_its_end_is_not_told_again_where_that_end_is_not_known_yet(house, later):
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    async with house.client(one) as first:
        await first.start("a")
        job = await house.worker.jobs.get()
        async with house.client(two, greet=False) as other:
            await other.hello(session=first.session, pending=["a"])
            await house.worker.answer(job, "first")  # gateway-2 is not among those who are told
            await first.until("turn.done", "a")
            if later:
                await first.start("b")
                await house.worker.answer(await house.worker.jobs.get(), "second")
                await first.until("turn.done", "b")
            async with house.client(two, greet=False) as back:
                await back.hello(session=first.session, position=first.position)
                await other.until("turn.done", "a")
                await back.start("c")
                await house.worker.answer(await house.worker.jobs.get(), "third")
                await back.until("turn.done", "c")
    assert list(back.seen) == ["c"]


async def test_turns_that_cannot_be_looked_up_are_a_gap(house, monkeypatch):
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    async with house.client(one) as first:
        await first.start("a")
        await house.worker.answer(await house.worker.jobs.get(), "first")
        await first.until("turn.done", "a")

    async def down(*_, **__):
        raise Unavailable("the store is away")

    monkeypatch.setattr(house.store, "after", down)
    async with house.client(two, greet=False) as second:
        welcome = await second.hello(session=first.session, position=first.position)
    assert (welcome["resumed"], welcome["gap"]) == (True, True)


async def test_turns_that_cannot_be_put_in_order_are_a_gap(house, monkeypatch):
    """The store is away for one read: of the turn in which the client stopped reading, not of the turn after it."""
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    async with house.client(one) as first:
        await first.start("a")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Status(0, "generating"), Delta(1, 0, "so "))
        await first.until_text("a", "so ")
        position = first.position
        await house.worker.finish(job, "so on", 2)
        await first.until("turn.done", "a")
        await first.start("b")
        await house.worker.answer(await house.worker.jobs.get(), "later")
        await first.until("turn.done", "b")
    rows = house.store.rows

    async def away_once(keys):
        monkeypatch.setattr(house.store, "rows", rows)
        raise Unavailable("the store is away")

    monkeypatch.setattr(house.store, "rows", away_once)
    async with house.client(two, greet=False) as second:
        assert (await second.hello(session=first.session, position=position, pending=["a"]))["gap"]
        assert (await second.until("turn.done"))["turn"] == "a"


async def test_after_any_gap_a_running_turn_is_told_anew(house, monkeypatch):
    """A client need not know which of its turns the gap is about."""
    gateway = await house.gateway()
    async with house.client(gateway) as first:
        await first.start("a")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Status(0, "generating"), Delta(1, 0, "so "))
        await first.until_text("a", "so ")

    async def down(*_, **__):
        raise Unavailable("the store is away")

    monkeypatch.setattr(house.store, "after", down)
    async with house.client(gateway, greet=False) as second:
        assert (await second.hello(session=first.session, position=first.position, pending=["a"]))["gap"]
        await second.until_text("a", "so ")
        await house.worker.emit(job, Delta(2, 3, "on"))
        await second.until_text("a", "so on")


async def test_two_sockets_follow_one_session(house):
    gateway = await house.gateway()
    async with house.client(gateway) as one, house.client(gateway, greet=False) as two:
        await two.hello(session=one.session)
        await one.start("a")
        job = await house.worker.jobs.get()
        await house.worker.answer(job, "for ", "both")
        assert (await one.until("turn.done"))["text"] == (await two.until("turn.done"))["text"] == "for both"
        async with house.client(gateway, greet=False) as late:
            await late.hello(session=one.session, pending=["a"])
            assert (await late.until("turn.done"))["text"] == "for both"


async def test_a_socket_that_did_not_ask_is_told_of_new_turns_and_not_of_old_ones(house):
    """One client follows a session that another one asks in, and comes to the gateway where that one repeats itself."""
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    async with house.client(one) as first:
        await first.start("old")
        await house.worker.answer(await house.worker.jobs.get(), "read ", "elsewhere")
        await first.until("turn.done")
    async with house.client(two, greet=False) as follows, house.client(two, greet=False) as asks:
        await follows.hello(session=first.session, position=first.position)
        await asks.hello(session=first.session)
        await asks.start("old")
        assert (await asks.until("turn.done"))["text"] == "read elsewhere"
        await asks.start("new")
        await house.worker.answer(await house.worker.jobs.get(), "for ", "both")
        assert (await asks.until("turn.done", "new"))["text"] == "for both"
        assert (await follows.until("turn.done"))["turn"] == "new"
        told = [frame["type"] for frame in follows.frames if frame.get("turn") == "new"]
        assert told[:2] == ["turn.accepted", "turn.status"]
        assert not [frame for frame in follows.frames if frame.get("turn") == "old"]


async def test_a_turn_that_never_reached_a_worker_is_published_by_the_next_gateway(house):
    gateway = await house.gateway()
    session = gateway.hub.sessions.make(ANONYMOUS)
    async with house.client(gateway, greet=False) as client:
        await client.hello(session=session, pending=["a"])
        await client.start("a")
        job = await house.worker.jobs.get()
        assert job.again
        await client.until("turn.accepted")
        await house.worker.emit(job, Snapshot(0, Marks(), None))
        await house.worker.answer(job, "here")
        await client.until("turn.done")


async def test_sources_and_faults_reach_the_client(house):
    source = Source("p1", "a.md", "A", 1.5, "text", 0, 4, "test")
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.start("a")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Status(0, "routing"), Retrieval(1, "question", "kb", (source,)))
        found = await client.until("retrieval")
        assert found["sources"][0] == json.loads(msgspec.json.encode(source))
        await house.worker.emit(job, Refusal(job.submission, Fault("conflict", "another text")))
        error = await client.until("error")
    assert (error["code"], error["turn"]) == ("conflict", "a")


async def test_late_workers_are_told(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.start("a")
        job = await house.worker.jobs.get()
        await house.worker.answer(job, "over")
        await client.until("turn.done")
        await house.worker.emit(job, Delta(2, 4, "more"), fence=2)
        assert (await house.worker.heard.get(Stop)).fence == 0
        await house.worker.control.broadcast(Audience.GATEWAYS, Begin(job.key, 3, "worker-1"))
        assert (await house.worker.heard.get(Stop)).key == job.key
        stranger = msgspec.structs.replace(job, key=msgspec.structs.replace(job.key, turn="nobody"))
        await house.worker.emit(stranger, Delta(0, 0, "x"))
        leave = await house.worker.heard.get(Leave)
    assert (leave.key.turn, leave.gateway) == ("nobody", "gateway-1")


async def test_drain_lets_a_running_turn_end(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client, house.client(gateway) as idle:
        await client.start("a")
        job = await house.worker.jobs.get()
        await client.until("turn.accepted")
        drain = asyncio.create_task(gateway.drain(10))
        await client.until("draining")
        assert await idle.closed() == 4001
        await client.start("b")
        assert (await client.until("error"))["code"] == "overloaded"
        await house.worker.answer(job, "in time")
        await client.until("turn.done")
        assert await client.closed() == 4001
        await drain


async def test_a_socket_that_is_let_in_just_before_a_drain_is_sent_on(house, monkeypatch):
    gateway = await house.gateway()
    async with house.client(gateway) as busy:
        await busy.start("a")
        job = await house.worker.jobs.get()
        await busy.until("turn.accepted")
        drain = asyncio.create_task(gateway.drain(10))
        await busy.until("draining")
        monkeypatch.setattr(endpoint, "refusal", lambda *_: None)  # its request was looked at just before
        async with house.client(gateway, greet=False) as late:
            await late.until("draining")
            assert await late.closed() == 4001
        await house.worker.answer(job, "in time")
        await busy.until("turn.done")
        assert await busy.closed() == 4001
        await drain


async def test_a_drain_that_is_cut_short_closes_with_4001(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.start("a")
        await house.worker.jobs.get()
        await client.until("turn.accepted")
        drain = asyncio.create_task(gateway.drain(60))
        await client.until("draining")
        drain.cancel()
        assert await client.closed() == 4001
        await asyncio.wait({drain})


async def test_drain_closes_many_idle_sockets_one_after_another(house):
    gateway = await house.gateway()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(house.client(gateway)) for _ in range(30)]
        started = asyncio.get_running_loop().time()
        drain = asyncio.create_task(gateway.drain(10))

        async def end(client):
            frame = await client.until("draining")
            assert await client.closed() == 4001
            return frame["reconnect_in_ms"], asyncio.get_running_loop().time() - started

        ends = await asyncio.gather(*(end(client) for client in clients))
        await drain
    closed = sorted(at for _, at in ends)
    assert closed[-1] - closed[0] > 0.15, "30 sockets take 0.3 s"
    assert len({delay for delay, _ in ends}) > 20


async def test_a_drain_that_takes_too_long_leaves_the_turn_to_the_next_gateway(house):
    gateway, other = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    async with house.client(gateway) as client:
        await client.start("a")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "half "))
        await client.until_text("a", "half ")
        await gateway.drain(0.5)
        assert await client.closed() == 4001
    async with house.client(other, greet=False, known=client.seen) as again:
        await again.hello(session=client.session, position=client.position, pending=["a"])
        await house.worker.finish(job, "half done", 2)
        assert (await again.until("turn.done"))["text"] == "half done"
    assert again.seen["a"].restarts == 0


async def test_a_cancel_that_the_broker_does_not_confirm_is_repeated(house):
    gateway = await house.gateway(turns=TurnSettings(publish_s=0.1))
    async with house.client(gateway) as client:
        await client.start("a")
        await house.worker.jobs.get()
        await client.until("turn.accepted")
        house.broker.lose_confirms(2)
        await client.send(type="turn.cancel", turn="a")
        done = await client.until("turn.done")
        await house.worker.heard.get(Stop)
    assert done["status"] == "cancelled"


async def test_a_pause_of_the_loop_is_followed_by_a_watch(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.start("a")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "x"))
        await client.until_text("a", "x")
        gateway.hub.dispatch.watch_all("pause")
        attach = await house.worker.heard.get(Attach)
    assert attach.keys == (job.key,)


async def test_one_trace_from_the_socket_to_the_job(house, tmp_path):
    file = tmp_path / "spans.jsonl"
    tracing.setup("gateway", "g", CommonSettings(trace_file=str(file)))
    try:
        gateway = await house.gateway()
        async with house.client(gateway) as client:
            await client.start("a")
            await house.worker.answer(await house.worker.jobs.get(), "so")
            await client.until("turn.done")
    finally:
        await tracing.shutdown(2.0)
    spans = {span["name"]: span for span in map(json.loads, file.read_text().splitlines())}
    assert {"turn", "deliver"} <= set(spans)
    assert spans["deliver"]["parent_id"] == spans["turn"]["span_id"]
    job = next(headers for headers in house.worker.headers if headers["parley-kind"] == "retrieve")
    assert spans["turn"]["trace_id"] in job["traceparent"]


async def test_a_token_in_the_address_reaches_no_log(house, caplog):
    from websockets.asyncio.client import connect

    caplog.set_level(logging.DEBUG)
    logging.getLogger("websockets").setLevel(logging.WARNING)
    gateway = await house.gateway()
    caplog.clear()
    async with connect(f"ws://127.0.0.1:{gateway.port}/v1/connect?token=very-secret") as socket:
        await socket.send('{"type":"hello"}')
        await socket.recv()
    assert "very-secret" not in caplog.text


@pytest.mark.parametrize("answered", [True, False], ids=["its worker tells", "its worker is gone"])
async def test_a_cancel_at_another_gateway_keeps_the_text_the_first_one_delivered(house, answered):
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    async with house.client(one) as first:
        await first.start("a")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "so far"))
        await first.until_text("a", "so far")
    async with house.client(two, greet=False, known=first.seen) as second:
        await second.hello(session=first.session, position=first.position, pending=["a"])
        await second.send(type="turn.cancel", turn="a")
        if answered:
            await house.worker.heard.get(Attach)
            moved = msgspec.structs.replace(job, reply_to=("gateway-2",))
            await house.worker.emit(moved, Snapshot(1, Marks(), "so far"))
        done = await second.until("turn.done")
    assert done["status"] == "cancelled"
    assert done["text"] == "so far"
    assert second.seen["a"].restarts == 0


async def test_a_resume_that_is_refused_leaves_nothing(house):
    gateway = await house.gateway()
    session = gateway.hub.sessions.make(ANONYMOUS)
    async with house.client(gateway, greet=False) as client:
        await client.send(type="hello", session=session, pending=[""])
        assert (await client.until("error"))["code"] == "invalid"
        assert await client.closed() == 4109
    assert gateway.hub.registry.sessions == {}


async def test_sockets_that_come_and_go_leave_nothing(house):
    gateway = await house.gateway()
    hub = gateway.hub
    for _ in range(20):
        async with house.client(gateway) as client:
            await client.send(type="ping")
            await client.until("pong")
    async with asyncio.timeout(30):
        while hub.connections:
            hub.left.clear()
            await hub.left.wait()
    assert (hub.registry.sessions, hub.registry.turns, hub.per_identity) == ({}, {}, {})
