"""Turns of one session: order, bound, conflict, refusal, silence."""

import itertools

import pytest

from parley_gateway.core import effects as fx
from parley_gateway.core import flow
from parley_gateway.core.entry import Phase, Request
from parley_gateway.core.session import Session
from parley_gateway.core.watch import STEPS_S
from parley_protocol.client import Accepted, ErrorFrame
from parley_protocol.control import Begin, Prefix
from parley_protocol.events import Delta, Fault, Marks, Refusal, Snapshot, Terminal, TurnStatus
from parley_protocol.faults import FaultCode, ProtocolError
from parley_runtime.store.ports import TurnRow

pytestmark = pytest.mark.unit


class Socket:
    def push(self, frame): ...

    def touch(self, view): ...


def request(turn, text="?", budget_s=100.0):
    return Request(turn=turn, text=text, kb="k", budget_s=budget_s, digest=text)


@pytest.fixture
def socket():
    return Socket()


@pytest.fixture
def session(socket):
    made = Session("s", "t", "u", max_open=2)
    made.attach(socket)
    return made


def kinds(effects):
    return [type(effect).__name__ for effect in effects]


def test_only_the_first_of_two_turns_is_published(session, socket):
    assert kinds(session.start(request("a"), socket, 0.0)) == ["Opened", "Publish"]
    assert kinds(session.start(request("b"), socket, 0.0)) == ["Opened"]
    first = session.entries["a"]
    session.accept(first, 0.1)
    _, effects = flow.on_event(first, 1, Terminal(0, TurnStatus.COMPLETED, ""), "w", 0.2)
    assert kinds(effects) == ["Touch", "Touch", "Ended", "Publish"]
    assert effects[-1].entry.turn.key.turn == "b"


def test_too_many_turns_are_refused(session, socket):
    session.start(request("a"), socket, 0.0)
    session.start(request("b"), socket, 0.0)
    with pytest.raises(ProtocolError) as caught:
        session.start(request("c"), socket, 0.0)
    assert caught.value.code is FaultCode.OVERLOADED
    assert "c" not in session.entries


def ask_and_interrupt(session, socket, turn):
    session.start(request(turn), socket, 0.0, interrupt=True)


def ask_and_cancel(session, socket, turn):
    session.start(request(turn), socket, 0.0)
    session.cancel(turn, 0.0)


@pytest.mark.parametrize("ask", [ask_and_interrupt, ask_and_cancel])
def test_turns_that_cannot_be_ended_are_bounded_too(session, socket, ask):
    """Neither store nor broker answers: nothing that is ended by force comes to its end."""
    taken = []
    for number in range(50):
        try:
            ask(session, socket, str(number))
            taken.append(str(number))
        except ProtocolError as error:
            assert error.code is FaultCode.OVERLOADED
    assert taken == ["0", "1", "2", "3"], "twice as many as may wait"
    assert [len(held) for held in (session.open, session.line, session.entries)] == [4, 4, 4]


def test_an_interrupt_that_is_refused_ends_nothing(session, socket):
    for turn in ("a", "b", "c", "d"):
        ask_and_interrupt(session, socket, turn)
    with pytest.raises(ProtocolError):
        ask_and_interrupt(session, socket, "e")
    assert session.entries["d"].forced is None
    end = Terminal(0, TurnStatus.CANCELLED, "")
    flow.on_event(session.entries["a"], 1, end, "", 0.1)
    ask_and_interrupt(session, socket, "e")
    assert session.entries["d"].forced is TurnStatus.CANCELLED


def test_another_text_under_a_used_id_is_a_conflict(session, socket):
    session.start(request("a", "one"), socket, 0.0)
    with pytest.raises(ProtocolError) as caught:
        session.start(request("a", "two"), socket, 0.0)
    assert caught.value.code is FaultCode.CONFLICT


def test_an_event_before_the_confirm_says_accepted_first(session, socket):
    session.start(request("a"), socket, 0.0)
    entry = session.entries["a"]
    _, effects = flow.on_event(entry, 1, Delta(0, 0, "x"), "w", 0.1)
    assert isinstance(effects[0].frame, Accepted)
    assert session.accept(entry, 0.2) == []


def test_a_refused_turn_is_forgotten_and_the_next_goes_on(session, socket):
    session.start(request("a"), socket, 0.0)
    session.start(request("b"), socket, 0.0)
    effects = session.refuse(session.entries["a"], FaultCode.OVERLOADED, "full", 0.1, retry_after_ms=5)
    assert kinds(effects) == ["Tell", "Touch", "Ended", "Publish"]
    assert isinstance(effects[0].frame, ErrorFrame)
    assert effects[0].frame.retryable
    assert list(session.entries) == ["b"]


def test_the_first_stage_may_refuse_a_submission(session, socket):
    session.start(request("a"), socket, 0.0)
    entry = session.entries["a"]
    entry.submissions = ("mine",)
    assert flow.on_event(entry, 1, Refusal("other", Fault("conflict", "no")), "w", 0.1)[1] == []
    effects = flow.on_event(entry, 1, Refusal("mine", Fault("conflict", "no")), "w", 0.1)[1]
    assert effects[0].frame.code == "conflict"


def test_a_silent_turn_is_watched_on_schedule(session, socket):
    session.start(request("a"), socket, 0.0)
    entry = session.entries["a"]
    session.accept(entry, 0.0)
    times = []
    now = 0.0
    while now < 8.0:
        now = entry.due()
        times += [round(now, 3) for effect in flow.on_tick(entry, now) if isinstance(effect, fx.Watch)]
    start = times[0]
    assert start == 2.0
    assert [round(at - start, 3) for at in times[:5]] == list(STEPS_S)
    assert [round(late - early, 3) for early, late in itertools.pairwise(times[4:])] == [2.0, 2.0, 2.0]


def test_the_deadline_reads_the_row_before_it_ends_the_turn(session, socket):
    session.start(request("a", budget_s=1.0), socket, 0.0)
    entry = session.entries["a"]
    session.accept(entry, 0.0)
    (watch,) = flow.on_tick(entry, 1.0)
    assert (watch.cause, watch.attach) == ("deadline", False)
    flow.on_row_unread(entry, 1.1)
    assert not entry.turn.frozen
    assert kinds(flow.on_tick(entry, entry.due())) == ["Watch"] or entry.due() > 2.0
    flow.on_tick(entry, 2.2)
    (record,) = flow.on_row(entry, None, 2.3)
    assert record.status is TurnStatus.EXPIRED
    assert entry.turn.frozen


def test_no_run_is_stopped_before_the_forced_record_is_confirmed(session, socket):
    session.start(request("a"), socket, 0.0)
    entry = session.entries["a"]
    session.accept(entry, 0.0)
    session.cancel("a", 0.1)
    begin = Begin(entry.turn.key, 2, "w")
    assert flow.on_event(entry, 1, Delta(0, 0, "late"), "w", 0.2)[1] == []
    told = fx.SendPrefix("w", Prefix(entry.turn.key, 2, "g", ""))
    assert flow.on_begin(entry, begin, "g") == [told]
    entry.recorded = True
    (stop,) = flow.on_event(entry, 1, Delta(0, 0, "late"), "w", 0.3)[1]
    assert (stop.fence, stop.to) == (0, "w")
    assert flow.on_begin(entry, begin, "g") == [told, fx.SendStop(entry.turn.key, 0, "w")]


def test_a_turn_that_is_being_ended_says_what_it_has_delivered_whoever_asks(session, socket):
    """Somebody else may be about to end it, and that record may come first: both must hold the same text."""
    session.start(request("a"), socket, 0.0)
    entry = session.entries["a"]
    session.accept(entry, 0.0)
    flow.on_event(entry, 3, Snapshot(1, Marks(), "said"), "w", 0.1)
    session.cancel("a", 0.2)
    assert entry.turn.frozen
    for fence in (1, 3, 4):
        begin = Begin(entry.turn.key, fence, "rag")
        assert flow.on_begin(entry, begin, "g") == [fx.SendPrefix("rag", Prefix(begin.key, fence, "g", "said"))]
    flow.on_event(entry, 3, Terminal(1, TurnStatus.CANCELLED, "said"), "w", 0.3)
    assert flow.on_begin(entry, begin, "g") == [fx.SendStop(entry.turn.key, 0, "rag")]


def test_a_cancelled_turn_in_the_queue_is_recorded_in_its_order(session, socket):
    session.start(request("a"), socket, 0.0)
    session.start(request("b"), socket, 0.0)
    assert session.cancel("b", 0.1) == []
    assert session.entries["b"].turn.frozen
    effects = flow.on_event(session.entries["a"], 1, Terminal(0, TurnStatus.COMPLETED, ""), "w", 0.2)[1]
    assert [
        (effect.entry.turn.key.turn, effect.status) for effect in effects if isinstance(effect, fx.PublishRecord)
    ] == [("b", TurnStatus.CANCELLED)]
    assert not any(isinstance(effect, fx.Publish) for effect in effects)
    assert session.advance() == []
    with pytest.raises(ProtocolError):
        session.cancel("nobody", 0.1)


def test_a_disconnect_changes_nothing(session, socket):
    session.start(request("a"), socket, 0.0)
    session.detach(socket, 0.1)
    entry = session.entries["a"]
    assert entry.views == []
    assert session.accept(entry, 0.2) != []
    assert entry.phase is Phase.RUNNING


class Reader(Socket):
    """Reads at once what its views have to write."""

    def __init__(self):
        self.read = []

    def touch(self, view):
        while (frame := view.next_frame()) is not None:
            self.read.append((frame.turn, type(frame).__name__))


def carry_out(effects):
    for effect in effects:
        if isinstance(effect, fx.Touch):
            for view in effect.entry.views:
                view.sink.touch(view)


def test_a_turn_that_ends_in_the_queue_is_told_in_its_order():
    reader = Reader()
    session = Session("s", "t", "u", max_open=3)
    session.attach(reader)
    for turn in ("a", "b", "c"):
        session.start(request(turn), reader, 0.0)
    first, second, third = (session.entries[turn] for turn in ("a", "b", "c"))
    session.accept(first, 0.1)
    carry_out(flow.on_event(first, 1, Delta(0, 0, "x"), "w", 0.2)[1])
    session.cancel("b", 0.3)
    carry_out(flow.on_event(second, 1, Terminal(0, TurnStatus.CANCELLED, ""), "w", 0.4)[1])
    assert second.ended
    assert reader.read == [("a", "AnswerDelta")]
    carry_out(flow.on_event(first, 1, Terminal(1, TurnStatus.COMPLETED, "x"), "w", 0.5)[1])
    assert reader.read == [("a", "AnswerDelta"), ("a", "Done"), ("b", "Done")]
    session.accept(third, 0.6)
    carry_out(flow.on_event(third, 1, Delta(0, 0, "z"), "w", 0.7)[1])
    assert reader.read[3:] == [("c", "AnswerDelta")]


def test_a_later_turn_at_work_shows_that_the_end_of_the_one_before_was_missed():
    reader = Reader()
    session = Session("s", "t", "u", max_open=3)
    session.attach(reader)
    first, second = (session.follow(turn, 1, 0.0, 100.0) for turn in ("a", "b"))
    for entry in (first, second):
        session.view(entry, reader)
        entry.watch.flowed(0.0)
    assert first.due() > 1.0
    carry_out(flow.on_event(second, 1, Snapshot(1, Marks(status="generating"), "y"), "w", 1.0)[1])
    assert reader.read == []
    assert first.due() <= 1.0
    carry_out(flow.on_event(first, 1, Terminal(0, TurnStatus.COMPLETED, "x"), "w", 1.1)[1])
    assert [turn for turn, _ in reader.read] == ["a", "a", "b", "b"]
    assert reader.read[1] == ("a", "Done")


def test_a_refused_turn_does_not_hold_up_the_next():
    reader = Reader()
    session = Session("s", "t", "u", max_open=3)
    session.attach(reader)
    for turn in ("a", "b"):
        session.start(request(turn), reader, 0.0)
    session.refuse(session.entries["a"], FaultCode.OVERLOADED, "full", 0.1)
    second = session.entries["b"]
    session.accept(second, 0.2)
    carry_out(flow.on_event(second, 1, Delta(0, 0, "x"), "w", 0.3)[1])
    assert reader.read == [("b", "AnswerDelta")]


def test_a_turn_that_is_over_is_told_before_one_that_runs(session, socket):
    running = session.follow("b", 1, 0.0, 100.0)
    late = session.follow("a", 1, 0.0, 100.0, over=True)
    assert not late.turn.waits
    assert list(session.entries) == ["a", "b"]
    row = TurnRow(
        key=late.turn.key, submission="s", digest="", base=1, fence=1, status=TurnStatus.COMPLETED, text="whole"
    )
    flow.on_row(late, row, 0.0)
    assert late.ended
    assert session.line == [running]
    assert not running.turn.waits
