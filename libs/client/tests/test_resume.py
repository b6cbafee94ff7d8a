"""What a client remembers, and how a turn reads to its caller."""

import pytest

from parley_client.backoff import Backoff
from parley_client.errors import TurnLost, TurnRefused
from parley_client.resume import GapFound, Memory
from parley_client.turn import Turn
from parley_protocol.client import (
    Accepted,
    AnswerDelta,
    Done,
    ErrorFrame,
    Latency,
    Limits,
    Restarted,
    TurnStart,
    Welcome,
)
from parley_protocol.events import TurnStatus

pytestmark = pytest.mark.unit


async def _no_cancel(turn: str) -> None:
    raise AssertionError(turn)


def delta(seq: int, text: str, turn: str = "t") -> AnswerDelta:
    return AnswerDelta(turn=turn, seq=seq, position=f"p{seq}", text=text)


def done(seq: int, text: str, turn: str = "t") -> Done:
    latency = Latency(accepted_ms=1, first_token_ms=2, total_ms=3)
    return Done(
        turn=turn,
        seq=seq,
        position=f"p{seq}",
        status=TurnStatus.COMPLETED,
        text=text,
        usage=None,
        sources=(),
        latency=latency,
    )


def welcome(*, gap: bool = False) -> Welcome:
    limits = Limits(frame=1, text=1, queued_turns=1, rate=1)
    return Welcome(session="s1", resumed=gap, gap=gap, heartbeat_s=25, limits=limits)


def begun() -> tuple[Memory, Turn]:
    memory = Memory(session=None, position=None, token="x")
    turn = Turn("t", _no_cancel)
    memory.turns.begin(turn, TurnStart(turn="t", text="hi"))
    return memory, turn


def test_hello_names_session_position_and_the_turns_under_way() -> None:
    memory, _ = begun()
    assert memory.hello().pending == ()
    assert [start.turn for start in memory.turns.unsent] == ["t"]
    memory.take(welcome())
    memory.take(Accepted(turn="t"))
    memory.take(delta(0, "a"))
    hello = memory.hello()
    assert (hello.session, hello.position, hello.pending, hello.token) == ("s1", "p0", ("t",), "x")
    assert memory.turns.unsent == []
    memory.take(done(1, "a"))
    assert memory.hello().pending == ()


def test_frames_seen_before_are_dropped_and_a_hole_is_found() -> None:
    memory, turn = begun()
    memory.take(delta(0, "a"))
    memory.take(delta(0, "a"))
    memory.take(delta(1, "b"))
    assert turn.text == "ab"
    with pytest.raises(GapFound):
        memory.take(delta(3, "d"))
    assert turn.text == "ab"


async def test_after_a_gap_the_answer_may_go_on_where_it_was() -> None:
    memory, turn = begun()
    memory.take(delta(0, "a"))
    memory.take(welcome(gap=True))
    memory.take(delta(1, "b"))
    memory.take(done(2, "ab"))
    assert [type(event).__name__ async for event in turn] == ["AnswerDelta", "AnswerDelta", "Done"]


async def test_after_a_gap_a_reader_is_told_that_the_answer_is_sent_anew() -> None:
    memory, turn = begun()
    memory.take(delta(0, "old"))
    memory.take(welcome(gap=True))
    memory.take(delta(0, "new"))
    memory.take(done(1, "new"))
    assert [type(event).__name__ async for event in turn] == ["AnswerDelta", "Restarted", "AnswerDelta", "Done"]
    assert turn.text == "new"


def test_after_a_gap_the_answer_starts_afresh() -> None:
    memory, turn = begun()
    memory.take(delta(0, "old"))
    memory.take(welcome(gap=True))
    assert memory.hello().position is None
    memory.take(delta(0, "new"))
    assert turn.text == "new"


async def test_a_refusal_reaches_the_one_who_asked() -> None:
    memory, turn = begun()
    memory.take(ErrorFrame(code="overloaded", message="wait", retryable=True, retry_after_ms=1500, turn="t"))
    with pytest.raises(TurnRefused) as caught:
        await turn.done()
    assert (caught.value.code, caught.value.retryable, caught.value.retry_after_s) == ("overloaded", True, 1.5)
    assert memory.turns.unsent == []


async def test_a_turn_yields_its_events_in_order_and_ends_with_done() -> None:
    memory, turn = begun()
    memory.take(delta(0, "x"))
    memory.take(Restarted(turn="t", seq=1, position="p1", attempt=2))
    memory.take(delta(2, "y"))
    memory.take(done(3, "y"))
    events = [event async for event in turn]
    assert [type(event).__name__ for event in events] == ["AnswerDelta", "Restarted", "AnswerDelta", "Done"]
    assert turn.text == "y"
    assert turn.finished
    assert (await turn.done()).text == "y"


async def test_a_slow_reader_gets_neighbouring_deltas_joined() -> None:
    memory, turn = begun()
    for seq in range(1000):
        memory.take(delta(seq, "ab"))
    memory.take(done(1000, "ab" * 1000))
    events = [event async for event in turn]
    assert len(events) < 100
    assert "".join(event.text for event in events if isinstance(event, AnswerDelta)) == "ab" * 1000


async def test_what_another_session_had_accepted_is_lost_and_the_rest_is_asked_again() -> None:
    memory, accepted = begun()
    memory.take(welcome())
    memory.take(delta(0, "a"))
    waiting = Turn("later", _no_cancel)
    memory.turns.begin(waiting, TurnStart(turn="later", text="hi"))
    memory.take(Welcome(session="s2", resumed=False, gap=True, heartbeat_s=25, limits=welcome().limits))
    with pytest.raises(TurnLost, match="session"):
        await accepted.done()
    assert [start.turn for start in memory.turns.unsent] == ["later"]
    assert (memory.session, memory.position, memory.hello().pending) == ("s2", None, ())
    assert not waiting.finished


def test_a_cancel_is_remembered_until_the_turn_is_over() -> None:
    memory, _ = begun()
    memory.turns.cancel("t")
    memory.turns.cancel("unknown")
    assert memory.turns.cancels == ["t"]
    memory.take(done(0, ""))
    assert memory.turns.cancels == []


async def test_a_turn_that_was_given_up_ignores_what_still_comes() -> None:
    memory, turn = begun()
    memory.turns.give_up(turn, TurnLost("no end came"))
    memory.take(delta(0, "late"))
    memory.take(done(1, "late"))
    with pytest.raises(TurnLost):
        await turn.done()
    assert (turn.text, memory.turns.unsent, memory.position) == ("", [], None)


def test_backoff_grows_is_jittered_and_resets() -> None:
    import random

    backoff = Backoff(first_s=0.2, most_s=10.0, least_s=0.02, rng=random.Random(7))
    delays = [backoff.next() for _ in range(50)]
    assert all(0.02 <= delay <= 10.0 for delay in delays)
    assert max(delays) > 5.0
    assert len(set(delays)) == 50
    assert delays[0] <= 0.2
    backoff.reset()
    assert backoff.next() <= 0.2


def overheard(*frames: AnswerDelta | Done) -> tuple[Memory, Turn]:
    """A client that was told these before it asked for the turn; it is not accepted yet."""
    memory = Memory(session="s1", position=None, token=None)
    for frame in frames:
        memory.take(frame)
    turn = Turn("t", _no_cancel)
    memory.turns.begin(turn, TurnStart(turn="t", text="hi"))
    return memory, turn


def test_a_turn_that_was_told_before_it_was_asked_for_goes_on_where_it_is() -> None:
    memory, turn = overheard(delta(0, "one "))
    memory.take(delta(1, "two "))
    assert (turn.text, memory.position, turn.accepted.is_set()) == ("", None, False)
    memory.take(Accepted(turn="t"))
    assert (turn.text, memory.position) == ("one two ", "p1")
    memory.take(delta(2, "three"))
    memory.take(done(3, "one two three"))
    assert turn.text == "one two three"
    assert [type(event).__name__ for event in turn.take()] == 3 * ["AnswerDelta"] + ["Done"]


def test_what_was_told_to_its_end_before_it_is_accepted_is_told_anew() -> None:
    memory, turn = overheard(delta(0, "one "))
    memory.take(done(1, "one "))
    memory.take(Accepted(turn="t"))
    assert (turn.text, memory.position) == ("", None)
    memory.take(delta(0, "one "))
    memory.take(done(1, "one "))
    assert turn.text == "one "


def test_what_a_connection_told_of_a_turn_not_asked_for_ends_with_it() -> None:
    """No position: the next one tells it from its start, in frames of another size perhaps."""
    memory, turn = overheard(delta(0, "one "), delta(1, "two "))
    assert (memory.hello().position, memory.turns.unsent[0].turn) == (None, "t")
    for frame in (delta(0, "one two "), Accepted(turn="t"), done(1, "one two ")):
        memory.take(frame)
    assert turn.text == "one two "


def test_a_refused_text_leaves_what_was_told_of_the_turn_to_the_next_who_asks() -> None:
    memory, refused = overheard(delta(0, "one "))
    memory.take(ErrorFrame(code="conflict", message="no", retryable=False, retry_after_ms=None, turn="t"))
    assert refused.finished
    turn = Turn("t", _no_cancel)
    memory.turns.begin(turn, TurnStart(turn="t", text="hi"))
    memory.take(Accepted(turn="t"))
    assert (turn.text, refused.text) == ("one ", "")


def test_only_the_turn_that_is_told_at_present_is_kept() -> None:
    memory, turn = overheard(delta(0, "one "), delta(0, "more", turn="later"))
    memory.take(Accepted(turn="t"))
    assert turn.text == ""


def test_a_turn_heard_of_from_its_middle_cannot_be_taken_over() -> None:
    memory, _ = overheard(delta(1, "two "))
    memory.take(Accepted(turn="t"))
    with pytest.raises(GapFound):
        memory.take(delta(2, "three"))
    assert (memory.hello().position, memory.hello().pending) == (None, ("t",))
