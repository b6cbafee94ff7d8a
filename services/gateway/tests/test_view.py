"""What one socket sees: coalescing, order of marks and text, resume."""

import pytest

from parley_gateway.core.turn import Turn
from parley_gateway.core.view import MAX_DELTA, View
from parley_protocol.client import AnswerDelta, Done, Restarted, RetrievalFrame, StatusFrame
from parley_protocol.events import Delta, Marks, Retrieval, Snapshot, Status, Terminal, TurnStatus
from parley_protocol.ids import TurnKey
from parley_protocol.position import decode_position, text_check

pytestmark = pytest.mark.unit

KEY = TurnKey("t", "s", "u")


class NoSink:
    def push(self, frame): ...

    def touch(self, view): ...


def frames(view):
    found = []
    while (frame := view.next_frame()) is not None:
        found.append(frame)
    return found


def feed(turn, *events, fence=1):
    for event in events:
        turn.take(fence, event, 0.0)


def test_a_view_that_is_behind_gets_one_delta():
    turn = Turn(KEY)
    view = View(turn, NoSink())
    feed(turn, Delta(0, 0, "a"), Delta(1, 1, "b"), Delta(2, 2, "c"))
    assert [frame.text for frame in frames(view)] == ["abc"]
    feed(turn, Delta(3, 3, "d"))
    assert [(frame.seq, frame.text) for frame in frames(view)] == [(1, "d")]


def test_marks_and_text_keep_their_order():
    turn = Turn(KEY)
    view = View(turn, NoSink())
    feed(turn, Status(0, "routing"), Delta(1, 0, "a"), Retrieval(2, "i", "r", ()), Delta(3, 1, "b"))
    found = frames(view)
    assert [type(frame) for frame in found] == [StatusFrame, AnswerDelta, RetrievalFrame, AnswerDelta]
    assert [frame.seq for frame in found] == [0, 1, 2, 3]


def test_the_position_names_what_was_read():
    turn = Turn(KEY)
    view = View(turn, NoSink())
    feed(turn, Status(0, "routing"), Delta(1, 0, "äb"))
    _, delta = frames(view)
    position = decode_position(delta.position)
    assert (position.turn, position.seq, position.fence, position.n, position.at) == ("u", 1, 1, 2, 2)
    assert position.check == text_check("äb")
    assert not position.done


def test_restarts_are_told_once_and_the_text_begins_anew():
    turn = Turn(KEY)
    view = View(turn, NoSink())
    feed(turn, Delta(0, 0, "old"))
    frames(view)
    feed(turn, Snapshot(1, Marks(), "new "), fence=2)
    feed(turn, Snapshot(1, Marks(), "newer"), fence=3)
    restarted, delta = frames(view)
    assert isinstance(restarted, Restarted)
    assert (delta.text, decode_position(delta.position).check) == ("newer", text_check("newer"))


@pytest.mark.parametrize(("again", "texts"), [("old and more", [" and more"]), ("new", [None, "new"])])
def test_a_text_that_is_told_anew_is_compared_with_what_was_written(again, texts):
    turn = Turn(KEY)
    view = View(turn, NoSink())
    feed(turn, Delta(0, 0, "old"))
    frames(view)
    turn.known = False  # another socket has read more of it elsewhere
    view.doubt()
    feed(turn, Snapshot(1, Marks(), again), fence=2)
    told = frames(view)
    assert [getattr(frame, "text", None) for frame in told] == texts
    assert decode_position(told[-1].position).check == text_check(again)


def test_done_comes_last_and_once():
    turn = Turn(KEY)
    view = View(turn, NoSink())
    feed(turn, Delta(0, 0, "a"), Terminal(1, TurnStatus.COMPLETED, "ab"))
    found = frames(view)
    assert [type(frame) for frame in found] == [AnswerDelta, Done]
    assert (found[0].text, found[1].text) == ("ab", "ab")
    assert decode_position(found[1].position).done
    assert frames(view) == []


def test_a_long_text_is_cut_into_frames():
    turn = Turn(KEY)
    view = View(turn, NoSink())
    feed(turn, Delta(0, 0, "x" * (2 * MAX_DELTA + 1)))
    assert [len(frame.text) for frame in frames(view)] == [MAX_DELTA, MAX_DELTA, 1]


def resumed(turn, position):
    view = View(turn, NoSink())
    view.resume(position)
    return view


def test_resume_sends_the_suffix_and_no_mark_twice():
    turn = Turn(KEY)
    first = View(turn, NoSink())
    feed(turn, Status(0, "generating"), Delta(1, 0, "ab"))
    position = decode_position(frames(first)[-1].position)
    feed(turn, Delta(2, 2, "cd"), Status(3, "ending"))
    found = frames(resumed(turn, position))
    assert [type(frame) for frame in found] == [AnswerDelta, StatusFrame]
    assert (found[0].seq, found[0].text) == (2, "cd")


def test_resume_between_two_marks_sends_the_second():
    turn = Turn(KEY)
    first = View(turn, NoSink())
    feed(turn, Status(0, "routing"), Status(1, "retrieving"))
    position = decode_position(frames(first)[0].position)
    assert [frame.stage for frame in frames(resumed(turn, position))] == ["retrieving"]


@pytest.mark.parametrize(("read", "missed"), [(1, ["RetrievalFrame"]), (2, [])])
def test_resume_elsewhere_before_there_is_text_repeats_no_mark(read, missed):
    turn = Turn(KEY)
    first = View(turn, NoSink())
    found = Retrieval(1, "question", "kb", ())
    feed(turn, Status(0, "retrieving"), found)
    position = decode_position(frames(first)[read - 1].position)
    other = Turn(KEY, known=False)
    view = resumed(other, position)
    feed(other, Snapshot(2, Marks(status="retrieving", retrieval=found), None))
    assert [type(frame).__name__ for frame in frames(view)] == missed


def test_resume_of_another_text_restarts():
    turn = Turn(KEY)
    first = View(turn, NoSink())
    feed(turn, Delta(0, 0, "old"))
    position = decode_position(frames(first)[-1].position)
    other = Turn(KEY, fence=2, known=False)
    view = resumed(other, position)
    assert frames(view) == []
    feed(other, Snapshot(1, Marks(), "new text"), fence=2)
    restarted, delta = frames(view)
    assert isinstance(restarted, Restarted)
    assert (restarted.seq, delta.text) == (1, "new text")


def test_resume_after_done_sends_nothing():
    turn = Turn(KEY)
    first = View(turn, NoSink())
    feed(turn, Terminal(0, TurnStatus.COMPLETED, "a"))
    position = decode_position(frames(first)[-1].position)
    assert frames(resumed(turn, position)) == []


def test_resume_elsewhere_repeats_no_mark_that_was_seen():
    turn = Turn(KEY)
    first = View(turn, NoSink())
    found = Retrieval(1, "question", "kb", ())
    feed(turn, Status(0, "routing"), found, Status(2, "generating"), Delta(3, 0, "ab"))
    positions = [decode_position(frame.position) for frame in frames(first)]
    marks = Marks(status="generating", retrieval=found)
    for events in ([Snapshot(5, marks, "abcd")], [Terminal(5, TurnStatus.COMPLETED, "abcd", marks=marks)]):
        missed = []
        for position in positions:
            other = Turn(KEY, known=False)
            view = resumed(other, position)
            feed(other, *events)
            missed.append([type(frame).__name__ for frame in frames(view)][:3])
        assert missed[0][:3] == ["RetrievalFrame", "StatusFrame", "AnswerDelta"]
        assert missed[1][:2] == ["StatusFrame", "AnswerDelta"]
        assert missed[2][0] == missed[3][0] == "AnswerDelta"
