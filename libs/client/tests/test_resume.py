"""What a client remembers, and how a turn reads to its caller."""

import pytest

from parley_client.backoff import Backoff
from parley_client.errors import TurnRefused
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
    memory.begin(TurnStart(turn="t", text="hi"), turn)
    return memory, turn


def test_hello_names_session_position_and_the_turns_under_way() -> None:
    memory, _ = begun()
    assert memory.hello().pending == ()
    assert [start.turn for start in memory.unsent()] == ["t"]
    memory.take(welcome())
    memory.take(Accepted(turn="t"))
    memory.take(delta(0, "a"))
    hello = memory.hello()
    assert (hello.session, hello.position, hello.pending, hello.token) == ("s1", "p0", ("t",), "x")
    assert memory.unsent() == []
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
    assert memory.unsent() == []


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
