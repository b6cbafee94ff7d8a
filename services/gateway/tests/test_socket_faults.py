"""Interleavings of the turn protocol's third section, as one client sees them: whatever goes missing, the row and a
snapshot tell.
"""

import msgspec
import pytest

from parley_gateway.config import LimitSettings, TurnSettings
from parley_gateway.core.session import FOLLOW_GRACE_S
from parley_protocol.client import Degraded
from parley_protocol.control import Attach, Begin, Stop
from parley_protocol.events import Delta, Marks, Snapshot, Status, TurnStatus
from parley_protocol.work import Record
from parley_runtime.clock import SystemClock

from .conftest import counted

pytestmark = pytest.mark.unit


@pytest.fixture
def jump(monkeypatch):
    """Lets monotonic time pass at once, as for a process that was stopped."""
    passed = [0.0]
    real = SystemClock.monotonic
    monkeypatch.setattr(SystemClock, "monotonic", lambda clock: real(clock) + passed[0])

    def jump(seconds):
        passed[0] += seconds

    return jump


def to(job, *gateways):
    return msgspec.structs.replace(job, reply_to=gateways)


async def begun(client, house, text="one ", **fields):
    await client.start("a", **fields)
    job = await house.worker.jobs.get()
    await house.worker.emit(job, Delta(0, 0, text))
    await client.until_text("a", text)
    return job


async def test_after_a_pause_the_row_is_read_before_a_deadline_ends_the_turn(house, jump):
    """H25: stopped for an hour, while the turn was answered and its terminal went to nobody."""
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        job = await begun(client, house, deadline_ms=60_000)
        await house.worker.finish(to(job, "nobody"), "one two", 2)
        jump(3600.0)
        done = await client.until("turn.done")
    assert (done["status"], done["text"]) == ("completed", "one two")
    assert house.worker.records.all == [], "nothing was ended by force"


async def test_after_a_pause_every_open_turn_is_watched(house, jump):
    """H25, found by the pulse: no silence has to tell."""
    gateway = await house.gateway()
    before = counted("parley_watches_total", cause="pause")
    async with house.client(gateway) as client:
        job = await begun(client, house)
        jump(1.5)
        assert (await house.worker.heard.get(Attach)).keys == (job.key,)
        assert counted("parley_watches_total", cause="pause") > before
        await house.worker.emit(job, Snapshot(2, Marks(), "one two"))
        await client.until_text("a", "one two")


async def test_after_a_pause_an_open_turn_past_its_deadline_expires(house, jump):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await begun(client, house, deadline_ms=60_000)
        jump(3600.0)
        done = await client.until("turn.done")
    assert (done["status"], done["text"], done["fault"]["code"]) == ("expired", "one ", "expired")


async def test_a_lost_batch_is_asked_for_again(house):
    """H18 from the gateway's side: what comes after a hole waits 50 ms, then the owner is asked."""
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        job = await begun(client, house)
        await house.worker.emit(job, Delta(2, 8, "three"))
        assert (await house.worker.heard.get(Attach)).keys == (job.key,)
        assert client.seen["a"].text == "one "
        await house.worker.emit(job, Snapshot(3, Marks(), "one two three"))
        await client.until_text("a", "one two three")
    assert client.seen["a"].restarts == 0


async def test_a_queue_that_is_gone_is_replaced_and_every_turn_watched(house):
    """H17: what lay in the old queue is never read; order comes from numbers."""
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        job = await begun(client, house)
        (old,) = [name for name in house.broker.server.queues if name.startswith("parley.events.gateway-1.")]
        house.broker.delete_queue(old)
        assert (await house.worker.heard.get(Attach)).keys == (job.key,)
        (new,) = [name for name in house.broker.server.queues if name.startswith("parley.events.gateway-1.")]
        assert new != old
        await house.worker.emit(job, Snapshot(2, Marks(), "one two"))
        await client.until_text("a", "one two")
        await house.worker.finish(job, "one two", 2)
        await client.until("turn.done")


async def test_a_job_that_finds_no_queue_is_not_accepted(house):
    """H21: the broker confirms what it could route nowhere."""
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        house.broker.kill("worker-1")  # which would declare it again
        house.broker.delete_queue("parley.retrieve")
        await client.start("a")
        error = await client.until("error")
    assert (error["code"], error["turn"], error["retryable"]) == ("unavailable", "a", True)
    assert "turn.accepted" not in [frame["type"] for frame in client.frames]


async def test_the_same_turn_at_two_gateways_is_one_turn(house):
    """H5: both submissions are first deliveries; the store lets one of them run, and both clients see it."""
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    async with house.client(one) as first, house.client(two, greet=False) as second:
        await second.hello(session=first.session)
        job = await begun(first, house)
        await second.start("a")
        await second.until("turn.accepted")
        while (await house.worker.heard.get(Attach)).gateway != "gateway-2":
            pass  # the first one is told nothing for so long, too
        both = to(job, "gateway-1", "gateway-2")
        await house.worker.emit(to(job, "gateway-2"), Snapshot(1, Marks(), "one "))
        await house.worker.emit(both, Delta(1, 4, "two"))
        await house.worker.finish(both, "one two", 2)
        ends = [await client.until("turn.done") for client in (first, second)]
    assert [(done["status"], done["text"]) for done in ends] == [("completed", "one two")] * 2
    assert len(house.worker.jobs.all) == 1


async def test_another_gateway_keeps_the_order_of_a_sessions_turns(house):
    """H26: the next turn is not published before the one that was begun elsewhere has ended."""
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    async with house.client(one) as first:
        job = await begun(first, house)
    async with house.client(two, greet=False, known=first.seen) as second:
        await second.hello(session=first.session, position=first.position, pending=["a"])
        await second.start("b")
        await house.worker.heard.get(Attach)
        assert [each.key.turn for each in house.worker.jobs.all] == ["a"]
        await house.worker.emit(to(job, "gateway-2"), Snapshot(1, Marks(), "one "))
        await house.worker.finish(to(job, "gateway-2"), "one two", 2)
        await second.until("turn.done", "a")
        assert (await house.worker.jobs.get()).key.turn == "b"


async def test_a_run_that_is_ending_is_followed_by_its_row(house):
    """H16: the record went out with the old followers, so the terminal reaches them only."""
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    async with house.client(one) as first:
        job = await begun(first, house)
    async with house.client(two, greet=False, known=first.seen) as second:
        await second.hello(session=first.session, position=first.position, pending=["a"])
        await house.worker.heard.get(Attach)
        await house.worker.emit(to(job, "gateway-2"), Snapshot(2, Marks(), "one two", ending=True))
        await second.until_text("a", "one two")
        await house.worker.finish(to(job, "gateway-1"), "one two", 2)
        done = await second.until("turn.done")
    assert done["text"] == "one two"


async def test_an_answer_far_above_the_outbox_is_delivered(house):
    """H20: text is read from the turn by a cursor; the bound counts only what must be kept for this client."""
    gateway = await house.gateway(limits=LimitSettings(connect_rate=0, outbox=4096))
    text = "word " * 60_000
    async with house.client(gateway, max_size=None) as client:
        job = await begun(client, house, text[:5])
        await house.worker.emit(job, Snapshot(9, Marks(), text))
        await house.worker.finish(job, text, 9)
        done = await client.until("turn.done")
    assert done["text"] == client.seen["a"].text == text


async def test_frames_without_a_place_to_wait_close_the_socket(house):
    """The other half of H20: what cannot be made again later is bounded."""
    gateway = await house.gateway(limits=LimitSettings(connect_rate=0, outbox=4096, message_rate=0))
    async with house.client(gateway) as client:
        client.socket.transport.pause_reading()
        (connection,) = gateway.hub.connections.values()
        while not connection.closing:
            connection.outbox.push(Degraded(reason="x" * 1000))
            await client.send(type="ping")
        assert connection.closing == 4008
        client.socket.transport.resume_reading()


async def test_a_cancel_that_comes_after_the_record_tells_what_was_stored(house):
    """H23: the row decides who was first."""
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        job = await begun(client, house)
        await house.worker.finish(to(job, "nobody"), "one two", 2)
        await client.send(type="turn.cancel", turn="a")
        done = await client.until("turn.done")
    assert (done["status"], done["text"]) == ("completed", "one two")
    assert client.seen["a"].restarts == 0


@pytest.mark.parametrize("ends", ["cancelled", "expired"])
async def test_a_gateway_that_only_follows_ends_a_turn_with_what_another_delivered(house, jump, ends):
    """The worker is gone, so nobody tells the second gateway the text; a socket at the first one has some of it."""
    one = await house.gateway("gateway-1", turns=TurnSettings(budget_s=1000))
    two = await house.gateway("gateway-2", turns=TurnSettings(budget_s=20))
    async with house.client(one) as first, house.client(two, greet=False) as second:
        job = await begun(first, house)
        await second.hello(session=first.session, pending=["a"])
        if ends == "cancelled":
            await second.send(type="turn.cancel", turn="a")
        else:
            jump(20 + FOLLOW_GRACE_S + 1)
        told = [await client.until("turn.done") for client in (first, second)]
    [row] = await house.store.rows([job.key])
    assert (row.status, row.text) == (ends, "one ")
    assert [(done["status"], done["text"]) for done in told] == [(ends, "one ")] * 2
    assert (first.seen["a"].restarts, second.seen["a"].restarts) == (0, 0)


async def test_a_turn_that_no_worker_has_taken_is_cancelled_elsewhere_without_asking_for_its_text(house):
    """There is no row, so nobody has spoken: the client need not wait for an answer that will not come."""
    two = await house.gateway("gateway-2")
    async with house.client(two) as first:
        pass
    async with house.client(two, greet=False) as second:
        await second.hello(session=first.session, pending=["a"])
        await second.send(type="turn.cancel", turn="a")
        record = await house.worker.records.get()
        done = await second.until("turn.done")
    assert (record.text, done["status"], done["text"]) == ("", "cancelled", "")
    assert not [heard for heard in house.worker.heard.all if isinstance(heard, Begin)]


async def test_a_forced_record_is_sent_again_until_the_broker_has_it(house):
    """H23: without a confirm nobody knows; with two records the row is closed once."""
    gateway = await house.gateway(turns=TurnSettings(publish_s=0.1))
    async with house.client(gateway) as client:
        await begun(client, house)
        house.worker.record = False
        house.broker.lose_confirms(1)
        await client.send(type="turn.cancel", turn="a")
        records = [await house.worker.records.get() for _ in range(2)]
        assert all(isinstance(record, Record) and record.forced for record in records)
        for record in records:
            await house.worker.close(record)
        done = await client.until("turn.done")
    assert (done["status"], done["text"]) == ("cancelled", "one ")


async def test_a_forced_record_that_was_confirmed_and_lost_is_sent_again(house, jump):
    """A queue can be deleted with what is in it."""
    gateway = await house.gateway()
    before = counted("parley_forced_again_total")
    async with house.client(gateway) as client:
        await begun(client, house)
        house.worker.record = False
        await client.send(type="turn.cancel", turn="a")
        lost = await house.worker.records.get()
        await house.worker.heard.get(Stop)  # it is confirmed
        jump(6.0)
        again = await house.worker.records.get()
        assert (again.key, again.status, again.text) == (lost.key, lost.status, lost.text)
        await house.worker.close(again)
        done = await client.until("turn.done")
    assert (done["status"], done["text"]) == ("cancelled", "one ")
    assert counted("parley_forced_again_total") == before + 1


async def test_a_terminal_waits_for_the_last_items_of_its_run(house):
    """H28: the record overtook them."""
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        job = await begun(client, house)
        await house.worker.tell(job, TurnStatus.COMPLETED, "one two", 3)
        await house.worker.emit(job, Delta(1, 4, "two"), Status(2, "generating"))
        await client.until("turn.done")
    assert (client.seen["a"].text, client.seen["a"].restarts) == ("one two", 0)
    assert client.seen["a"].statuses == ["generating"]


async def test_an_alarm_of_the_broker_is_said_and_its_end_too(house):
    gateway = await house.gateway(turns=TurnSettings(publish_s=5.0))
    async with house.client(gateway) as client:
        house.broker.block()
        await client.start("a")
        assert (await client.until("degraded"))["reason"]
        async with house.client(gateway) as late:
            await late.until("degraded")
            house.broker.unblock()
            await late.until("restored")
        await client.until("turn.accepted")
        await house.worker.answer(await house.worker.jobs.get(), "fine")
        await client.until("turn.done")
