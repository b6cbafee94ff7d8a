"""The judge against conversations written by hand: a clean one passes, and whatever breaks a promise is found."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from .judge import Scale, judge
from .seen import Audio, Frame, Line, Lost, Row, Said, Saying, Sight, Talk

pytestmark = pytest.mark.unit

SCALE = Scale(8000, 10)
"""80 samples are a character."""
LINES = (Line("one"), Line("two", over=True), Line("zero", over=True, backchannel=True), Line("three"))
TEXT = "t1 t2 t3."
PART = "t1 t2 "


def frame(type: str, turn: str, seq: int | None = None, **fields: Any) -> Frame:
    return Frame({"type": type, "turn": turn, **({} if seq is None else {"seq": seq}), **fields})


def told(turn: str, question: str, text: str, status: str = "completed") -> list[Frame]:
    """A turn from its transcript to its end."""
    return [
        frame("transcript.final", turn, 0, text=question),
        frame("turn.accepted", turn),
        frame("answer.delta", turn, 1, text=text),
        frame("turn.done", turn, 2, status=status, text=text),
    ]


def clean() -> Talk:
    """The answer to one is cut off by two, zero holds the answer to two up, and three is asked when that is over."""
    one, two, three = told("h.0", "one", PART, "cancelled"), told("h.1", "two", TEXT), told("h.3", "three", TEXT)
    sights: list[Sight] = [
        Saying(0),
        Said(0),
        *one[:3],
        Audio("h.0", 0, 400),
        Saying(1),
        frame("answer.flush", "h.0", ms=20),
        frame("answer.flush", "h.0", ms=20, ended=True),
        one[3],
        Said(1),
        *two[:3],
        Audio("h.1", 0, 400),
        Audio("h.1", 400, 80),
        Saying(2),
        frame("answer.flush", "h.1", ms=40),
        Said(2),
        Audio("h.1", 240, 480),
        two[3],
        frame("answer.spoken", "h.1", ms=90),
        Saying(3),
        Said(3),
        *three,
        Audio("h.3", 0, 720),
        frame("answer.spoken", "h.3", ms=90),
    ]
    rows = [
        Row("h.0", "one", "cancelled", PART, 2),
        Row("h.1", "two", "completed", TEXT, None),
        Row("h.3", "three", "completed", TEXT, None),
    ]
    return Talk(LINES, sights, rows, over=True)


def found(talk: Talk, *, mortal: bool = False) -> list[str]:
    return judge(talk, SCALE, mortal=mortal)


def test_a_clean_conversation_passes() -> None:
    assert found(clean()) == []


def after(talk: Talk, one: object, *more: Any) -> Talk:
    """``more`` behind the last sight that equals ``one``."""
    place = len(talk.sights) - talk.sights[::-1].index(one)  # type: ignore[arg-type]
    talk.sights[place:place] = more
    return talk


def without(talk: Talk, type: str, turn: str) -> Talk:
    """Without such frames of that turn."""
    talk.sights = [
        sight
        for sight in talk.sights
        if not (isinstance(sight, Frame) and sight.data["type"] == type and sight.data["turn"] == turn)
    ]
    return talk


def row(talk: Talk, number: int, **changes: Any) -> Talk:
    talk.rows[number] = replace(talk.rows[number], **changes)
    return talk


def asked_twice() -> Talk:
    talk = clean()
    talk.rows.append(Row("h.4", "three", "completed", TEXT, None))
    return talk


def never_asked() -> Talk:
    talk = clean()
    del talk.rows[2]
    return talk


def disorder() -> Talk:
    talk = clean()
    talk.rows.reverse()
    return talk


def backchannel_asked() -> Talk:
    talk = clean()
    talk.rows.append(Row("h.2", "zero", "completed", TEXT, None))
    return talk


def misheard() -> Talk:
    return after(
        without(clean(), "transcript.final", "h.3"), Said(3), frame("transcript.final", "h.3", 0, text="three four")
    )


def endless() -> Talk:
    return without(clean(), "turn.done", "h.3")


def two_ends() -> Talk:
    done = told("h.0", "one", PART, "cancelled")[3]
    return after(clean(), done, frame("turn.done", "h.0", 3, status="cancelled", text=PART))


def skipped() -> Talk:
    return without(clean(), "answer.delta", "h.3")


def other_text() -> Talk:
    return row(clean(), 1, text=TEXT + "t4.")


def other_status() -> Talk:
    return row(clean(), 0, status="completed")


def cancelled_by_nobody() -> Talk:
    done = told("h.3", "three", TEXT)[3]
    done.data["status"] = "cancelled"
    talk = clean()
    talk.sights[talk.sights.index(told("h.3", "three", TEXT)[3])] = done
    return row(talk, 2, status="cancelled", heard=1)


def audio_after_the_flush() -> Talk:
    return after(clean(), frame("answer.flush", "h.0", ms=20, ended=True), Audio("h.0", 160, 80))


def audio_leaps() -> Talk:
    return after(clean(), Audio("h.1", 400, 80), Audio("h.1", 560, 80))


def audio_goes_on_too_late() -> Talk:
    talk = clean()
    talk.sights[talk.sights.index(Audio("h.1", 240, 480))] = Audio("h.1", 480, 240)
    return talk


def nothing_goes_on() -> Talk:
    talk = clean()
    talk.sights.remove(Audio("h.1", 240, 480))
    return without(talk, "answer.spoken", "h.1")


def heard_too_much() -> Talk:
    return row(clean(), 0, heard=len(PART) + 1)


def heard_unsent() -> Talk:
    """More than was sent as sound, though the text is long enough."""
    long = PART * 20
    talk = row(clean(), 0, text=long, heard=100)
    talk.sights[talk.sights.index(told("h.0", "one", PART)[2])] = frame("answer.delta", "h.0", 1, text=long)
    place = talk.sights.index(told("h.0", "one", PART, "cancelled")[3])
    talk.sights[place] = frame("turn.done", "h.0", 2, status="cancelled", text=long)
    return talk


def heard_forgotten() -> Talk:
    return row(clean(), 0, heard=None)


def given_up() -> Talk:
    return after(clean(), Said(3), frame("error", "h", code="overloaded", message="", retryable=True))


def lost() -> Talk:
    return after(clean(), Said(3), Lost())


def unfinished() -> Talk:
    talk = clean()
    talk.over = False
    return talk


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (asked_twice, "asked 2 times: 'three'"),
        (never_asked, "never asked: 'three'"),
        (disorder, "asked in the order ['three', 'two', 'one']"),
        (backchannel_asked, "asked 1 times: 'zero'"),
        (misheard, "h.3 was heard as ['three four'], asked as 'three'"),
        (endless, "h.3 has 0 ends"),
        (two_ends, "turn.done of h.0 after its end"),
        (skipped, "seq 2 of h.3 in place of 1"),
        (skipped, "the deltas of h.3 are not its text"),
        (other_text, "h.1 was told completed, stored completed: 't1 t2 t3.t4.'"),
        (other_status, "h.0 was told cancelled, stored completed: 't1 t2 '"),
        (cancelled_by_nobody, "h.3 ended cancelled"),
        (audio_after_the_flush, "audio of h.0 after the flush that ended it"),
        (audio_leaps, "audio of h.1 at 560 in place of 480"),
        (audio_goes_on_too_late, "audio of h.1 at 480 in place of 328"),
        (nothing_goes_on, "h.1 did not go on after the backchannel"),
        (heard_too_much, "7 of 6 characters heard of h.0"),
        (heard_unsent, "100 characters heard of h.0, of which 5 were sent"),
        (heard_forgotten, "what was heard of h.0 is not kept"),
        (given_up, "error overloaded: the stream was given up"),
        (lost, "the socket was lost"),
        (unfinished, "no end"),
    ],
)
def test_what_breaks_a_promise_is_found(broken: Callable[[], Talk], what: str) -> None:
    assert what in found(broken())


def dies(*before: Any) -> Talk:
    """The gateway goes while three is being said; it is said again on another stream."""
    talk = clean()
    place = talk.sights.index(Said(3)) + 1
    talk.sights[place:] = [*before, Lost(), Saying(3), Said(3), *told("i.0", "three", TEXT)]
    talk.rows[2] = Row("i.0", "three", "completed", TEXT, None)
    return talk


def test_what_had_not_been_accepted_when_its_gateway_went_may_be_asked_once_more() -> None:
    heard = told("h.3", "three", TEXT)
    assert found(dies(heard[0]), mortal=True) == []
    both = dies(heard[0])
    both.rows.insert(2, Row("h.3", "three", "completed", TEXT, None))
    assert found(both, mortal=True) == []
    both.rows.insert(2, Row("h.9", "three", "completed", TEXT, None))
    assert found(both, mortal=True) == ["asked 3 times: 'three'"]


def test_what_had_been_accepted_may_not() -> None:
    heard = told("h.3", "three", TEXT)
    twice = dies(*heard[:2])
    twice.rows.insert(2, Row("h.3", "three", "completed", TEXT, None))
    assert found(twice, mortal=True) == ["asked 2 times: 'three'", "h.3 has 0 ends"]
