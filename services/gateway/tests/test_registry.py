"""What a gateway holds, and for how long; timers of turns."""

import asyncio
from types import SimpleNamespace

import pytest

from parley_gateway import ticker
from parley_gateway.config import TurnSettings
from parley_gateway.core.entry import Request
from parley_gateway.core.watch import ENDING_FOR_S, SILENCE_S, WatchSchedule
from parley_gateway.identity import ANONYMOUS
from parley_gateway.registry import MAX_ENDED, Registry
from parley_gateway.ticker import Ticker
from parley_protocol.events import Terminal, TurnStatus
from parley_protocol.faults import ProtocolError
from parley_protocol.ids import TurnKey
from parley_runtime.errors import Overloaded

pytestmark = pytest.mark.unit


class Socket:
    def push(self, frame): ...

    def touch(self, view): ...


def ended_turn(registry, session, turn, now, text="x"):
    request = Request(turn=turn, text="?", kb="k", budget_s=9.0, digest="d")
    session.start(request, Socket(), now)
    entry = session.entries[turn]
    registry.opened(entry)
    entry.turn.close(Terminal(0, TurnStatus.COMPLETED, text))
    session.finish(entry, now)
    registry.ended(entry, now, taken=True)
    return entry


def test_an_ended_turn_is_kept_for_the_resume_window():
    registry = Registry(TurnSettings(resume_s=10.0))
    session = registry.session("s", ANONYMOUS)
    entry = ended_turn(registry, session, "a", 0.0)
    registry.sweep(9.9)
    assert registry.turns == {entry.turn.key: entry}
    registry.sweep(10.0)
    assert (registry.turns, session.entries, registry.sessions) == ({}, {}, {})


def test_ended_turns_are_bounded_in_bytes_oldest_first():
    registry = Registry(TurnSettings(resume_bytes=5000))
    session = registry.session("s", ANONYMOUS)
    for name in "abc":
        ended_turn(registry, session, name, 0.0, text="x" * 1000)
    assert list(session.entries) == ["b", "c"]


def test_a_text_beyond_ascii_counts_with_its_utf8():
    """1000 characters take 2 KB, and once they have been written to a socket 3 KB more."""
    registry = Registry(TurnSettings(resume_bytes=11_000))
    session = registry.session("s", ANONYMOUS)
    for name in "abc":
        ended_turn(registry, session, name, 0.0, text="答" * 1000)
    assert list(session.entries) == ["c"]


def test_of_an_ended_turn_the_question_is_let_go():
    registry = Registry(TurnSettings())
    session = registry.session("s", ANONYMOUS)
    entry = ended_turn(registry, session, "a", 0.0)
    assert (entry.request.text, entry.request.digest) == ("", "d")
    same = Request(turn="a", text="?", kb="k", budget_s=9.0, digest="d")
    session.start(same, Socket(), 1.0)
    with pytest.raises(ProtocolError):
        session.start(Request(turn="a", text="!", kb="k", budget_s=9.0, digest="other"), Socket(), 1.0)


def test_ended_turns_of_one_session_are_bounded():
    registry = Registry(TurnSettings())
    session = registry.session("s", ANONYMOUS)
    for number in range(MAX_ENDED + 5):
        ended_turn(registry, session, str(number), 0.0)
    assert len(session.entries) <= MAX_ENDED
    assert str(MAX_ENDED + 4) in session.entries


def test_a_turn_that_is_followed_again_outlives_what_was_kept_of_it_before():
    """Its events find it still, when the time of the one that was forgotten early has come."""
    registry = Registry(TurnSettings(resume_s=10.0))
    session = registry.session("s", ANONYMOUS)
    ended_turn(registry, session, "t", 0.0)
    for number in range(MAX_ENDED):
        ended_turn(registry, session, f"t{number}", 1.0)
    assert "t" not in session.entries, "forgotten for its session's bound"
    again = session.follow("t", 1, 2.0, 100.0)
    registry.opened(again)
    registry.sweep(10.5)
    assert registry.turns[again.turn.key] is again
    assert session.entries["t"] is again


def test_a_session_without_sockets_and_turns_costs_nothing():
    registry = Registry(TurnSettings())
    session = registry.session("s", ANONYMOUS)
    socket = Socket()
    session.attach(socket)
    registry.release(session)
    assert "s" in registry.sessions
    session.detach(socket, 1.0)
    registry.release(session)
    assert registry.sessions == {}


def test_sessions_are_bounded_and_finished_ones_make_room():
    registry = Registry(TurnSettings(max_sessions=2))
    first = registry.session("a", ANONYMOUS)
    ended_turn(registry, first, "t", 0.0)
    busy = registry.session("b", ANONYMOUS)
    busy.attach(Socket())
    registry.session("c", ANONYMOUS).attach(Socket())
    assert list(registry.sessions) == ["b", "c"]
    with pytest.raises(Overloaded):
        registry.session("d", ANONYMOUS)


def test_a_watch_that_goes_on_is_not_begun_again():
    watch = WatchSchedule(0.0)
    watch.start(1.0, "gap")
    watch.fire(1.0)
    assert watch.due == 1.1
    watch.start(1.05, "gap")
    assert watch.due == 1.1
    watch.flowed(1.1)
    assert (watch.due, watch.on) == (1.1 + SILENCE_S, False)


def test_an_ending_run_is_followed_by_quick_row_reads():
    watch = WatchSchedule(0.0)
    watch.ending(0.0)
    reads = 0
    while watch.due < ENDING_FOR_S:
        assert watch.fire(watch.due) is False
        reads += 1
    assert 15 <= reads <= 25
    assert watch.fire(watch.due) is True


class Clock:
    def monotonic(self):
        return asyncio.get_running_loop().time()

    def wall(self):
        return 0.0


class Promised:
    turn = SimpleNamespace(key=TurnKey("default", "s", "t"))

    def __init__(self, at):
        self.at = at
        self.due_at = 0.0
        self.ended = False

    def due(self):
        return self.at


async def test_the_ticker_keeps_promises_in_order():
    called = []
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def on_due(entry, now):
        assert now >= entry.at
        called.append(entry)
        entry.at = now + 1000
        if len(called) == 2:
            done.set()

    made = Ticker(Clock(), on_due)
    now = loop.time()
    late, early, moved = Promised(now + 0.04), Promised(now + 0.01), Promised(now + 0.02)
    for entry in (late, early, moved):
        made.promise(entry)
    moved.at = now + 1000
    async with asyncio.timeout(30):
        await done.wait()
    made.close()
    assert called == [early, late]


async def test_a_turn_that_fails_as_its_time_comes_keeps_no_other_from_being_looked_at(monkeypatch):
    monkeypatch.setattr(ticker, "AGAIN_S", 0.01)
    called = []
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def on_due(entry, now):
        called.append(entry)
        if entry is broken and called.count(broken) == 1:
            raise RuntimeError("defect")
        entry.at = now + 1000
        if {broken, sound} == {one for one in called if one.at > now}:
            done.set()

    made = Ticker(Clock(), on_due)
    at = loop.time() + 0.01
    broken, sound = Promised(at), Promised(at)
    for entry in (broken, sound):
        made.promise(entry)
    async with asyncio.timeout(30):
        await done.wait()
    made.close()
    assert called == [broken, sound, broken]
