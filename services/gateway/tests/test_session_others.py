"""Which sockets of a session are told of a turn that one of them starts, and of rows that are too old."""

import pytest

from parley_gateway.core import effects as fx
from parley_gateway.core import flow
from parley_gateway.core.entry import Request
from parley_gateway.core.resume import Returning, over, resume
from parley_gateway.core.session import Session
from parley_protocol.client import Accepted
from parley_protocol.events import Delta, Marks, Snapshot, Status, Terminal, TurnStatus
from parley_protocol.position import Position
from parley_runtime.store.ports import TurnRow

pytestmark = pytest.mark.unit


class Reader:
    """Reads at once what its views have to write."""

    def __init__(self):
        self.read = []

    def push(self, frame):
        self.read.append(type(frame).__name__)

    def touch(self, view):
        while (frame := view.next_frame()) is not None:
            self.read.append(type(frame).__name__)


class Pair:
    """A session with two sockets, the first of which starts the turn ``a``."""

    def __init__(self, *, accepted=True):
        self.asks, self.follows = Reader(), Reader()
        self.session = Session("s", "t", "u", max_open=4)
        for socket in (self.asks, self.follows):
            self.session.attach(socket)
        request = Request(turn="a", text="?", kb="k", budget_s=100.0, digest="d")
        self.watched = []
        self.do(self.session.start(request, self.asks, 0.0))
        self.entry = self.session.entries["a"]
        self.entry.submissions = ("first", "again")
        if accepted:
            self.do(self.session.accept(self.entry, 0.1))

    def do(self, effects):
        for effect in effects:
            match effect:
                case fx.Touch(entry):
                    for view in entry.views:
                        view.sink.touch(view)
                case fx.Tell(entry, frame):
                    for view in entry.views:
                        view.sink.push(frame)
                case fx.TellOne(sink, frame):
                    assert isinstance(frame, Accepted)
                    sink.push(frame)
                case fx.Watch(_, cause, attach):
                    self.watched.append((cause, attach))

    def event(self, event, fence=1):
        self.do(flow.on_event(self.entry, fence, event, "w", 1.0)[1])

    def row(self, status, submission, fence=1):
        text = None if status is TurnStatus.OPEN else "whole"
        row = TurnRow(
            key=self.entry.turn.key, submission=submission, digest="d", base=1, fence=fence, status=status, text=text
        )
        self.do(flow.on_row(self.entry, row, 1.0))


WHOLE = ["Accepted", "AnswerDelta", "Done"]


def end(submission):
    return Terminal(0, TurnStatus.COMPLETED, "whole", submission=submission)


@pytest.mark.parametrize("accepted", [True, False])
def test_the_first_item_of_a_run_shows_that_the_turn_is_new(accepted):
    pair = Pair(accepted=accepted)
    assert pair.follows.read == []
    pair.event(Status(0, "routing"))
    pair.event(Delta(1, 0, "x"))
    assert pair.asks.read == pair.follows.read == ["Accepted", "StatusFrame", "AnswerDelta"]


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize("submission", ["first", "again"])
def test_an_end_of_its_own_submission_is_told_to_everybody(accepted, submission):
    pair = Pair(accepted=accepted)
    pair.event(end(submission))
    assert pair.asks.read == pair.follows.read == WHOLE


@pytest.mark.parametrize("submission", ["another", ""])
def test_an_end_that_was_there_before_is_told_to_who_asked(submission):
    pair = Pair()
    pair.event(end(submission))
    assert pair.asks.read == WHOLE
    assert pair.follows.read == []
    assert pair.session.open == pair.session.line == []


@pytest.mark.parametrize(("submission", "told"), [("first", True), ("another", False)])
def test_a_closed_row_says_whose_turn_it_was(submission, told):
    pair = Pair()
    pair.row(TurnStatus.COMPLETED, submission)
    assert pair.asks.read == WHOLE
    assert pair.follows.read == (WHOLE if told else [])


def test_an_open_row_is_of_a_turn_that_nobody_has_read_to_its_end():
    pair = Pair(accepted=False)
    pair.row(TurnStatus.OPEN, "another", fence=2)
    assert pair.follows.read == []
    pair.event(Snapshot(0, Marks(status="generating"), "x"), fence=2)
    assert pair.asks.read == pair.follows.read == ["Accepted", "StatusFrame", "AnswerDelta"]


def test_a_later_run_may_not_know_that_the_turn_is_over_and_its_row_is_read():
    for status, told in ((TurnStatus.OPEN, True), (TurnStatus.COMPLETED, False)):
        pair = Pair()
        pair.event(Snapshot(0, Marks(), "wh"), fence=2)
        pair.event(Delta(1, 2, "o"), fence=2)
        assert pair.watched == [("begun", False)]
        assert pair.follows.read == []
        pair.row(status, "another", fence=2)
        assert bool(pair.follows.read) is told


def test_a_socket_that_asks_too_or_has_gone_is_told_once_or_not():
    pair = Pair()
    request = pair.entry.request
    pair.do(pair.session.start(request, pair.follows, 0.2))
    pair.event(Status(0, "routing"))
    assert pair.asks.read == pair.follows.read == ["Accepted", "StatusFrame"]
    pair = Pair()
    pair.session.detach(pair.follows, 0.2)
    pair.event(Status(0, "routing"))
    assert pair.follows.read == []
    assert [view.sink for view in pair.entry.views] == [pair.asks]


@pytest.mark.parametrize(("ago_s", "gap"), [(0.0, False), (599.0, False), (600.0, True), (4000.0, True)])
def test_a_window_is_counted_by_the_stores_clock(ago_s, gap):
    session, socket = Session("s", "t", "u", max_open=4), Reader()
    row = TurnRow(
        key=session.key("a"),
        submission="x",
        digest="d",
        base=1,
        fence=1,
        status=TurnStatus.COMPLETED,
        text="whole",
        closed_ago_s=ago_s,
    )
    position = Position("a", 3, 1, 2, 0, 0)
    client = back(session, position, ["a"], {"a": row})
    assert resume(session, socket, client).gap is gap


def back(session, position, pending=(), rows=None, after=()):
    return Returning(position, pending, rows or {}, after, now=1.0, window_s=600.0, budget_s=100.0, over=over(session))


def ended(session, turn):
    """The row of a turn that is over."""
    return TurnRow(
        key=session.key(turn), submission="s", digest="", base=1, fence=1, status=TurnStatus.COMPLETED, text="whole"
    )


def had_elsewhere(session, *turns):
    """Somebody else asks here for turns that have ended at another gateway, in this order."""
    for turn in turns:
        entry = session.follow(turn, 1, 0.0, 100.0, over=True)
        flow.on_row(entry, ended(session, turn), 0.0)


def test_an_end_that_was_read_is_not_told_again_though_it_came_to_be_held_here_late():
    session, socket = Session("s", "t", "u", max_open=4), Reader()
    had_elsewhere(session, "newer", "older")
    result = resume(session, socket, back(session, Position("newer", 3, 1, 2, 0, 0, done=True)))
    assert (result.gap, result.effects) == (False, [])
    assert [view.sink for entry in session.entries.values() for view in entry.views] == []


def test_an_end_that_was_not_read_is_told_from_the_start_though_it_came_to_be_held_here_early():
    session, socket = Session("s", "t", "u", max_open=4), Reader()
    had_elsewhere(session, "newer", "older")
    asks = back(session, Position("older", 3, 1, 2, 0, 0, done=True), after=[ended(session, "newer")])
    for effect in resume(session, socket, asks).effects:
        socket.touch(effect.entry.views[0])
    assert socket.read == ["AnswerDelta", "Done"]


def test_a_turn_that_ends_while_the_store_is_asked_is_told():
    pair = Pair()
    late = Reader()
    asks = back(pair.session, None)
    flow.on_row(pair.entry, ended(pair.session, "a"), 0.5)
    pair.do(resume(pair.session, late, asks).effects)
    assert late.read == ["AnswerDelta", "Done"]


def beside(session, rows):
    """A client that has read all of ``newest``, which it had elsewhere, comes back to a session that runs here."""
    position = Position("newest", 3, 1, 2, 0, 0, done=True)
    return back(session, position, rows={"newest": ended(session, "newest"), **rows})


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize(("submission", "told"), [("first", True), ("another", False)])
def test_a_turn_that_is_asked_for_here_while_the_store_is_asked_is_told_if_it_is_new(submission, told, accepted):
    pair = Pair(accepted=accepted)
    late = Reader()
    pair.do(resume(pair.session, late, beside(pair.session, {})).effects)
    assert late.read == []
    pair.event(end(submission))
    assert pair.asks.read == WHOLE
    assert late.read == (WHOLE if told else [])


@pytest.mark.parametrize(("submission", "told"), [("first", True), ("another", False)])
def test_so_is_one_that_has_come_to_its_end_meanwhile(submission, told):
    pair = Pair()
    late = Reader()
    asks = beside(pair.session, {})
    pair.event(end(submission))
    pair.do(resume(pair.session, late, asks).effects)
    assert late.read == (WHOLE if told else [])
    assert pair.asks.read == WHOLE


def test_one_that_ran_here_and_has_no_row_yet_is_new():
    pair = Pair()
    late = Reader()
    pair.do(resume(pair.session, late, beside(pair.session, {"a": None})).effects)
    pair.event(end("another"))
    assert late.read == ["AnswerDelta", "Done"]


def test_who_comes_back_without_a_position_has_read_nothing():
    pair = Pair()
    late = Reader()
    pair.do(resume(pair.session, late, back(pair.session, None)).effects)
    pair.event(end("another"))
    assert late.read == ["AnswerDelta", "Done"]
