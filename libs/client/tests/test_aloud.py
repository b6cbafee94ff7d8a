"""Answers that are spoken on after a reconnect: one listener, any number of connections."""

import pytest

from parley_client.aloud import MOST, Aloud
from parley_client.errors import TurnLost
from parley_client.turn import Turn
from parley_protocol.client import AnswerFlush, AnswerSpeak, AnswerSpoken, Done, ErrorFrame, Latency, Voice
from parley_protocol.events import Fault, TurnStatus
from parley_protocol.speech import AnswerAudio

pytestmark = pytest.mark.unit
RATE = 8000
VOICE = Voice(rate=RATE)
LATENCY = Latency(accepted_ms=1, first_token_ms=2, total_ms=3)


async def _no_cancel(turn: str) -> None:
    raise AssertionError(turn)


def accepted(aloud: Aloud, id: str = "t") -> Turn:
    turn = Turn(id, _no_cancel)
    turn.taken.set()
    aloud.want(turn, VOICE)
    return turn


def heard(aloud: Aloud, sentence: int, at: int, samples: int, turn: str = "t") -> int:
    """Where the listener finds it."""
    return aloud.audio(AnswerAudio(turn=turn, sentence=sentence, at=at, rate=RATE), bytes(2 * samples)).at


def test_nothing_is_asked_for_where_nothing_was_spoken() -> None:
    aloud = Aloud()
    assert aloud.again() == []
    assert heard(aloud, 0, 400, 100, "unknown") == 400
    assert aloud.sound(AnswerFlush(turn="unknown", ms=7)) == AnswerFlush(turn="unknown", ms=7)


def test_an_answer_of_which_nothing_came_begins_at_its_beginning() -> None:
    aloud = Aloud()
    accepted(aloud)
    assert aloud.again() == [(None, AnswerSpeak(turn="t", speak=VOICE))]


def test_the_sentence_that_was_being_said_is_said_again_and_places_count_on() -> None:
    aloud = Aloud()
    accepted(aloud)
    assert [heard(aloud, 0, 0, 800), heard(aloud, 1, 800, 400), heard(aloud, 1, 1200, 400)] == [0, 800, 1200]
    assert aloud.again() == [(AnswerFlush(turn="t", ms=100), AnswerSpeak(turn="t", speak=VOICE, sentence=1))]
    assert [heard(aloud, 1, 0, 1600), heard(aloud, 2, 1600, 80)] == [800, 2400]
    assert aloud.again() == [(AnswerFlush(turn="t", ms=300), AnswerSpeak(turn="t", speak=VOICE, sentence=2))]
    assert aloud.again() == [(None, AnswerSpeak(turn="t", speak=VOICE, sentence=2))]
    assert heard(aloud, 2, 0, 80) == 2400
    assert aloud.sound(AnswerSpoken(turn="t", ms=10)) == AnswerSpoken(turn="t", ms=310)
    assert aloud.again() == []


def test_what_was_taken_back_is_said_again() -> None:
    aloud = Aloud()
    accepted(aloud)
    heard(aloud, 0, 0, 800)
    heard(aloud, 1, 800, 800)
    assert aloud.sound(AnswerFlush(turn="t", ms=50)) == AnswerFlush(turn="t", ms=50)
    assert aloud.again() == [(AnswerFlush(turn="t", ms=0), AnswerSpeak(turn="t", speak=VOICE, sentence=0))]


def test_an_answer_that_was_ended_is_not_spoken_on() -> None:
    aloud = Aloud()
    accepted(aloud)
    heard(aloud, 0, 0, 800)
    aloud.sound(AnswerFlush(turn="t", ms=50, ended=True))
    assert aloud.again() == []


def test_a_turn_that_is_asked_anew_brings_its_own_voice_and_a_lost_one_none() -> None:
    aloud = Aloud()
    asked, lost = Turn("asked", _no_cancel), accepted(aloud, "lost")
    aloud.want(asked, VOICE)
    lost.fail(TurnLost("gone"))
    assert aloud.again() == []
    asked.accepted.set()
    asked.taken.set()
    assert [speak.turn for _, speak in aloud.again()] == ["asked"]


def test_who_cannot_be_spoken_to_is_told_so() -> None:
    aloud = Aloud()
    turn = accepted(aloud)
    heard(aloud, 0, 0, 800)
    error = ErrorFrame(code="not_found", message="gone", retryable=False, turn="t")
    assert aloud.refused(error) is None  # it is the turn that was refused
    turn.feed(
        Done(
            turn="t",
            seq=0,
            position="p",
            status=TurnStatus.COMPLETED,
            text="a",
            usage=None,
            sources=(),
            latency=LATENCY,
        )
    )
    fault = Fault("not_found", "gone", False)
    assert aloud.refused(error) == AnswerSpoken(turn="t", ms=100, fault=fault)
    assert aloud.again() == []
    assert aloud.refused(ErrorFrame(code="invalid", message="?", retryable=False)) is None


def test_answers_of_which_no_end_is_told_are_not_kept_for_ever() -> None:
    aloud = Aloud()
    for number in range(MOST + 3):
        accepted(aloud, f"t{number}")
    asked = [speak.turn for _, speak in aloud.again()]
    assert (len(asked), asked[0]) == (MOST, "t3")
