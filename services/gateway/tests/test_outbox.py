"""One pass per loop turn, bounds, stalls: the outbox on a wire that a test can fill and drain."""

import asyncio

import pytest

from parley_gateway.core.turn import Turn
from parley_gateway.core.view import View
from parley_gateway.outbox import CHUNK, Flusher, Outbox
from parley_gateway.wire import Binary
from parley_protocol.client import Pong
from parley_protocol.codec import decode_server
from parley_protocol.events import Delta
from parley_protocol.faults import CloseCode
from parley_protocol.ids import TurnKey

pytestmark = pytest.mark.unit


class FakeWire:
    def __init__(self):
        self.lost = False
        self.aborted = False
        self.room = asyncio.Event()
        self.room.set()
        self.writes = []

    @property
    def writable(self):
        return self.room.is_set()

    def write(self, payloads):
        self.writes.append([bytes(each) if type(each) is Binary else decode_server(each.decode()) for each in payloads])

    async def drained(self):
        await self.room.wait()

    def abort(self):
        self.lost = self.aborted = True


@pytest.fixture
async def wire():
    return FakeWire()


@pytest.fixture
def slows():
    return []


@pytest.fixture
async def told():
    return asyncio.Event()


@pytest.fixture
async def outbox(wire, slows, told):
    def on_slow(code, reason):
        slows.append((code, reason))
        told.set()

    made = Outbox(wire, Flusher(), text=True, limit=4096, send_s=0.05, on_slow=on_slow)
    yield made
    made.drop()
    await asyncio.sleep(0)


def running():
    return Turn(TurnKey("t", "s", "u"))


def say(turn, view, text):
    assert turn.extend(1, Delta(turn.n, len(turn.text), text))
    view.sink.touch(view)


async def settle():
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_one_loop_turn_brings_is_one_write(outbox, wire):
    turn = running()
    view = View(turn, outbox)
    outbox.push(Pong())
    for word in ("a", "b", "c"):
        say(turn, view, word)
    assert wire.writes == []
    await settle()
    ((pong, delta),) = wire.writes
    assert (type(pong), delta.text) == (Pong, "abc")
    assert outbox.empty


async def test_a_full_socket_gets_the_rest_in_one_delta(outbox, wire, slows):
    turn = running()
    view = View(turn, outbox)
    wire.room.clear()
    for word in ("a", "b", "c"):
        say(turn, view, word)
        await settle()
    assert wire.writes == []
    wire.room.set()
    await settle()
    assert [[frame.text for frame in write] for write in wire.writes] == [["abc"]]
    assert slows == []


async def test_a_socket_that_stays_full_is_given_up(outbox, wire, slows, told):
    wire.room.clear()
    outbox.push(Pong())
    async with asyncio.timeout(30):
        await told.wait()
    assert [code for code, _ in slows] == [CloseCode.SLOW_CLIENT]


async def test_more_than_the_bound_is_too_slow(outbox, wire, slows):
    wire.room.clear()
    for _ in range(4096 // len('{"type":"pong"}') + 1):
        outbox.push(Pong())
    assert [code for code, _ in slows] == [CloseCode.SLOW_CLIENT]


async def test_a_long_answer_is_handed_over_in_chunks(outbox, wire):
    turn = running()
    view = View(turn, outbox)
    say(turn, view, "x" * (3 * CHUNK * 2))
    await settle()
    assert sum(len(frame.text) for write in wire.writes for frame in write) == 3 * CHUNK * 2
    assert len(wire.writes) == 3


async def test_nothing_is_written_to_a_lost_socket(outbox, wire):
    wire.lost = True
    outbox.push(Pong())
    await settle()
    assert wire.writes == []


async def test_an_end_that_came_too_early_is_written_after_the_older_one(outbox, wire):
    older, younger = running(), running()
    views = [View(turn, outbox) for turn in (older, younger)]
    younger.waits = True
    say(younger, views[1], "too early")
    say(older, views[0], "first")
    younger.waits = False
    outbox.touch(views[1])
    await settle()
    assert [frame.text for payloads in wire.writes for frame in payloads] == ["first", "too early"]


async def test_a_socket_that_cannot_be_written_holds_up_no_other(monkeypatch):
    flusher = Flusher()
    bad, good = FakeWire(), FakeWire()
    kept = {"text": True, "limit": 4096, "send_s": 1, "on_slow": lambda code, reason: None}
    outboxes = [Outbox(each, flusher, **kept) for each in (bad, good)]

    def broken(payloads):
        raise RuntimeError("a defect")

    monkeypatch.setattr(bad, "write", broken)
    for _ in range(2):
        for outbox in outboxes:
            outbox.push(Pong())
        await settle()
    assert bad.aborted
    assert [len(write) for write in good.writes] == [1, 1]


async def test_audio_keeps_its_place_among_frames(outbox, wire):
    outbox.push(Pong())
    outbox.push_audio(Binary(b"one"))
    outbox.push_audio(Binary(b"two"))
    outbox.push(Pong())
    await asyncio.sleep(0)
    assert wire.writes == [[Pong(), b"one", b"two", Pong()]]


async def test_audio_that_nobody_takes_is_within_the_bound(outbox, wire, slows):
    wire.room.clear()
    for _ in range(4):
        outbox.push_audio(Binary(bytes(1000)))
    assert slows == []
    outbox.push_audio(Binary(bytes(1000)))
    assert [code for code, _ in slows] == [CloseCode.SLOW_CLIENT]
