"""Rules 1 to 6 of the gateway's acceptance, one line each."""

import pytest

from parley_gateway.core.told import MAX_MARKS
from parley_gateway.core.turn import HOLD_S, TERMINAL_HOLD_S, Turn, Verdict
from parley_protocol.events import Delta, Marks, Retrieval, Snapshot, Status, Terminal, Transcript, TurnStatus
from parley_protocol.ids import TurnKey

pytestmark = pytest.mark.unit

KEY = TurnKey("t", "s", "u")
DONE = TurnStatus.COMPLETED


def running(text: str = "", *, fence: int = 1, n: int = 0) -> Turn:
    turn = Turn(KEY, fence=fence)
    turn.text = text
    turn.n = n
    return turn


def test_the_expected_delta_extends():
    turn = running("ab", n=3)
    assert turn.extend(1, Delta(3, 2, "c"))
    assert (turn.text, turn.n) == ("abc", 4)


@pytest.mark.parametrize(
    ("fence", "item"),
    [
        (1, Delta(2, 2, "x")),
        (1, Delta(4, 2, "x")),
        (2, Delta(3, 2, "x")),
        (0, Delta(3, 2, "x")),
        (1, Delta(3, 1, "x")),
    ],
)
def test_any_other_delta_does_not_extend(fence, item):
    turn = running("ab", n=3)
    assert not turn.extend(fence, item)
    assert turn.text == "ab"


@pytest.mark.parametrize(
    ("fence", "event", "verdict"),
    [
        (1, Delta(0, 0, "ab"), Verdict.DUPLICATE),
        (1, Delta(5, 4, "x"), Verdict.HELD),
        (1, Delta(3, 9, "x"), Verdict.GAP),
        (3, Delta(3, 2, "x"), Verdict.GAP),
        (0, Delta(3, 2, "x"), Verdict.SUPERSEDED),
        (0, Snapshot(9, Marks(), "zz"), Verdict.SUPERSEDED),
        (1, Snapshot(2, Marks(), "a"), Verdict.DUPLICATE),
        (1, Snapshot(4, Marks(), "abc"), Verdict.REPLACED),
        (1, Status(3, "generating"), Verdict.MARKED),
    ],
)
def test_verdicts(fence, event, verdict):
    assert running("ab", n=3).take(fence, event, 0.0) is verdict


@pytest.mark.parametrize(
    "item", [Status(1, "routing"), Transcript(1, "eh"), Retrieval(1, "question", "kb", ()), Delta(2, 1, "b")]
)
def test_an_item_that_comes_twice_counts_once(item):
    """Not even the number expected next may go back, or the run's own next item would be taken for an early one."""
    turn = running("ab", n=3)
    turn.take(1, Status(3, "generating"), 0.0)
    known = (turn.text, turn.n, turn.rev, turn.last, turn.restarts)
    assert turn.take(1, item, 0.1) is Verdict.DUPLICATE
    assert (turn.text, turn.n, turn.rev, turn.last, turn.restarts) == known
    assert turn.extend(1, Delta(4, 2, "c"))


def test_a_whole_batch_that_comes_twice_changes_nothing():
    turn = Turn(KEY)
    batch = (Status(0, "routing"), Retrieval(1, "question", "kb", ()), Delta(2, 0, "a"), Delta(3, 1, "b"))
    for _ in range(2):
        for item in batch:
            if not (isinstance(item, Delta) and turn.extend(1, item)):
                turn.take(1, item, 0.0)
    assert (turn.text, turn.n, len(turn.marks)) == ("ab", 4, 2)


@pytest.mark.parametrize("at", [0, 1, 3, 9])
def test_text_for_another_place_is_never_appended(at):
    """The number fits and the place does not: the run has another text, and only a snapshot can tell which."""
    turn = running("ab", n=3)
    item = Delta(3, at, "x")
    assert not turn.extend(1, item)
    assert turn.take(1, item, 0.0) is Verdict.GAP
    assert (turn.text, turn.n) == ("ab", 3)
    assert turn.extend(1, Delta(3, 2, "c"))


def test_an_early_item_waits_for_the_one_before_it():
    turn = running("ab", n=3)
    assert turn.take(1, Delta(4, 3, "d"), 0.0) is Verdict.HELD
    assert turn.text == "ab"
    assert turn.take(1, Delta(3, 2, "c"), 0.01) is Verdict.EXTENDED
    assert (turn.text, turn.n) == ("abcd", 5)
    assert turn.hold_until == 0.0


def test_an_item_missing_for_too_long_is_a_gap():
    turn = running("ab", n=3)
    turn.take(1, Delta(4, 3, "d"), 0.0)
    assert turn.hold_expired(HOLD_S / 2) is Verdict.HELD
    assert turn.hold_expired(HOLD_S) is Verdict.GAP
    turn.take(1, Snapshot(4, Marks(), "abc"), 0.2)
    assert turn.text == "abcd"


def test_a_snapshot_that_continues_does_not_restart():
    turn = running("ab", n=3)
    turn.take(2, Snapshot(5, Marks(), "abcd"), 0.0)
    assert (turn.text, turn.n, turn.fence, turn.restarts) == ("abcd", 5, 2, 0)


def test_a_snapshot_with_another_text_restarts():
    turn = running("ab", n=3)
    turn.take(2, Snapshot(5, Marks(), "xy"), 0.0)
    assert (turn.text, turn.restarts) == ("xy", 1)


def test_a_later_run_that_says_the_same_again_takes_nothing_back():
    turn = running("abcd", n=9)
    turn.take(2, Snapshot(1, Marks(), "a"), 0.0)
    assert (turn.text, turn.n, turn.fence, turn.restarts) == ("abcd", 1, 2, 0)
    for n, at, text in ((1, 1, "bc"), (2, 3, "def"), (3, 6, "g")):
        assert turn.take(2, Delta(n, at, text), 0.0) is Verdict.EXTENDED
    assert (turn.text, turn.n, turn.restarts) == ("abcdefg", 4, 0)


@pytest.mark.parametrize(("text", "whole"), [("x", "abx"), ("cx", "abcx"), ("cdx", "abcdx")])
def test_a_later_run_that_differs_further_on_restarts_there(text, whole):
    turn = running("abcd", n=9)
    turn.take(2, Snapshot(2, Marks(), "ab"), 0.0)
    assert turn.take(2, Delta(2, 2, text), 0.0) is Verdict.EXTENDED
    assert (turn.text, turn.n) == (whole, 3)
    assert turn.restarts == (0 if whole.startswith("abcd") else 1)


def test_a_repeated_item_that_came_too_early_is_passed_over_in_its_turn():
    turn = running("abcd", n=9)
    turn.take(2, Snapshot(1, Marks(), "a"), 0.0)
    assert turn.take(2, Delta(2, 2, "cde"), 0.0) is Verdict.HELD
    assert turn.take(2, Delta(1, 1, "b"), 0.0) is Verdict.EXTENDED
    assert (turn.text, turn.n, turn.restarts) == ("abcde", 3, 0)


def test_a_terminal_that_ends_within_the_text_restarts():
    turn = running("abcd", n=9)
    turn.take(2, Snapshot(1, Marks(), "a"), 0.0)
    assert turn.take(2, Terminal(1, DONE, "a"), 0.0) is Verdict.FINISHED
    assert (turn.text, turn.restarts) == ("a", 1)


def test_a_snapshot_without_text_leaves_it():
    turn = running("ab", n=3)
    turn.take(2, Snapshot(1, Marks(status="routing"), None), 0.0)
    assert (turn.text, turn.fence, turn.n, turn.restarts) == ("ab", 2, 1, 0)


def test_a_status_that_came_before_the_last_item_is_told_before_it():
    turn = Turn(KEY)
    found = Retrieval(1, "question", "kb", ())
    turn.take(1, Snapshot(2, Marks(status="retrieving", retrieval=found), None), 0.0)
    assert [marked.mark for marked in turn.marks] == [Status(0, "retrieving"), found]


def test_marks_of_a_snapshot_are_delivered_where_they_differ():
    turn = running()
    found = Retrieval(1, "question", "kb", ())
    turn.take(1, Status(0, "routing"), 0.0)
    turn.take(1, found, 0.0)
    turn.take(1, Snapshot(4, Marks(status="generating", retrieval=Retrieval(7, "question", "kb", ())), None), 0.0)
    assert [marked.mark for marked in turn.marks] == [Status(0, "routing"), found, Status(3, "generating")]


def test_begin_raises_the_fence_before_it_is_answered():
    turn = running("ab", n=3)
    assert turn.begin(2)
    assert turn.take(1, Delta(3, 2, "x"), 0.0) is Verdict.SUPERSEDED
    assert not turn.begin(1)
    assert turn.begin(2)


def test_a_terminal_waits_for_the_last_items():
    turn = running("ab", n=3)
    assert turn.take(1, Terminal(4, DONE, "abc"), 0.0) is Verdict.HELD
    assert turn.take(1, Delta(3, 2, "c"), 0.1) is Verdict.FINISHED
    assert (turn.text, turn.closed, turn.restarts) == ("abc", True, 0)


def test_the_item_that_a_terminal_waits_for_never_goes_the_short_way():
    turn = running("ab", n=3)
    turn.take(1, Terminal(4, DONE, "abc"), 0.0)
    assert not turn.extend(1, Delta(3, 2, "c"))
    assert turn.take(1, Delta(3, 2, "c"), 0.0) is Verdict.FINISHED


def test_a_terminal_does_not_wait_for_ever():
    turn = running("ab", n=3)
    turn.take(1, Terminal(9, DONE, "abc"), 0.0)
    assert turn.hold_expired(TERMINAL_HOLD_S) is Verdict.FINISHED
    assert turn.text == "abc"


@pytest.mark.parametrize(("fence", "text", "restarts"), [(1, "abc", 0), (9, "abc", 0), (0, "xyz", 1), (2, "", 1)])
def test_a_terminal_is_never_fenced(fence, text, restarts):
    turn = running("ab", n=3)
    assert turn.take(fence, Terminal(3, DONE, text), 0.0) is Verdict.FINISHED
    assert (turn.text, turn.restarts) == (text, restarts)


def test_a_terminal_without_text_confirms_what_was_delivered():
    turn = running("ab", n=3)
    turn.take(1, Terminal(3, TurnStatus.CANCELLED), 0.0)
    assert (turn.text, turn.restarts) == ("ab", 0)


def test_nothing_counts_after_the_end():
    turn = running("ab", n=3)
    turn.close(Terminal(3, DONE, "ab"))
    assert not turn.extend(1, Delta(3, 2, "c"))
    assert turn.take(5, Delta(3, 2, "c"), 0.0) is Verdict.CLOSED
    assert turn.take(5, Terminal(3, TurnStatus.FAILED, "zz"), 0.0) is Verdict.CLOSED
    assert turn.text == "ab"


def test_frozen_output_stays_until_the_terminal():
    turn = running("ab", n=3)
    turn.freeze()
    assert not turn.extend(1, Delta(3, 2, "c"))
    assert turn.take(1, Delta(3, 2, "c"), 0.0) is Verdict.FROZEN
    assert not turn.begin(2)
    assert turn.take(1, Terminal(9, TurnStatus.CANCELLED, "ab"), 0.0) is Verdict.FINISHED


def test_an_unknown_text_waits_for_a_snapshot():
    turn = Turn(KEY, fence=2, known=False)
    assert turn.take(2, Delta(4, 4, "e"), 0.0) is Verdict.HELD
    assert turn.take(2, Snapshot(4, Marks(), "abcd"), 0.0) is Verdict.REPLACED
    assert (turn.text, turn.known, turn.restarts) == ("abcde", True, 0)


def test_superseded_marks_are_forgotten_in_bulk():
    turn = running()
    for number in range(MAX_MARKS + 1):
        turn.take(1, Transcript(number, f"hypothesis {number}"), 0.0)
    assert [marked.mark for marked in turn.marks] == [Transcript(MAX_MARKS, f"hypothesis {MAX_MARKS}")]
