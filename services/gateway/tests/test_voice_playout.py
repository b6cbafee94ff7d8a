"""Pacing and accounting of an answer's audio, on a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley_gateway.voice.playout import KEPT_S, Playout

pytestmark = pytest.mark.unit

RATE = 1000
LEAD_S = 0.4


def opened(*samples: int, whole: bool = True) -> Playout:
    """Clips of so many samples each; sample k of all is the number k."""
    playout, at = Playout(RATE, lead_s=LEAD_S, frame_s=0.1), 0
    for index, count in enumerate(samples):
        clip = playout.tape.open(index)
        clip.pcm += b"".join((at + k).to_bytes(2, "little") for k in range(count))
        clip.whole = whole
        at += count
    return playout


def sent(playout: Playout, now: float) -> list[tuple[int, int, int]]:
    """(sentence, at, samples) of what may be sent now."""
    pieces = playout.due(now)
    for piece in pieces:
        assert piece.pcm[:2] == piece.at.to_bytes(2, "little")
    return [(piece.sentence, piece.at, len(piece.pcm) // 2) for piece in pieces]


def test_it_is_kept_the_lead_ahead_and_no_more() -> None:
    playout = opened(1000)
    assert sent(playout, 0.0) == [(0, 0, 100), (0, 100, 100), (0, 200, 100), (0, 300, 100)]
    assert sent(playout, 0.0) == []
    assert playout.wait_s(0.0) == pytest.approx(0.1)
    assert sent(playout, 0.1) == [(0, 400, 100)]
    assert sent(playout, 0.95) == [(0, 500, 100), (0, 600, 100), (0, 700, 100), (0, 800, 100)]


def test_clips_follow_each_other_without_a_gap() -> None:
    playout = opened(150, 0, 250)
    assert sent(playout, 0.0) == [(0, 0, 100), (0, 100, 50), (2, 150, 100), (2, 250, 100), (2, 350, 50)]
    assert not playout.over(0.3)
    assert playout.wait_s(0.3) == pytest.approx(0.1)
    assert playout.over(0.4)


def test_a_sentence_that_has_not_come_holds_up_the_next() -> None:
    playout = Playout(RATE, lead_s=LEAD_S, frame_s=0.1)
    first, second = playout.tape.open(0), playout.tape.open(1)
    second.pcm += bytes(2 * 50)
    second.whole = True
    assert sent(playout, 0.0) == []
    assert playout.wait_s(0.0) is None
    first.pcm += bytes(2 * 30)
    first.whole = True
    assert [piece.at for piece in playout.due(1.0)] == [0, 30]


def test_time_without_audio_is_not_played() -> None:
    playout = Playout(RATE, lead_s=LEAD_S, frame_s=0.1)
    clip = playout.tape.open(0)
    clip.pcm += bytes(2 * 100)
    playout.due(0.0)
    assert playout.heard(5.0) == 100
    assert playout.due(5.0) == []
    clip.pcm += bytes(2 * 100)
    playout.due(6.0)
    assert playout.heard(6.0) == 100
    assert playout.heard(6.05) == 150
    assert playout.heard(60.0) == 200


def test_what_the_client_says_counts_for_a_while() -> None:
    playout = opened(5000)
    now = 0.0
    for _ in range(30):
        playout.due(now)
        now += 0.1
    assert playout.heard(now) == 3000
    playout.report(1000, now)
    assert playout.heard(now) == 1000
    assert playout.heard(now + 0.2) == 1200
    assert playout.heard(now + 60) == 2000  # a second after the last word, whatever the clock says
    playout.report(10**9, now)
    assert playout.heard(now) == playout.sent


def test_which_sentence_is_being_heard() -> None:
    playout = opened(100, 50, 150)
    playout.due(0.0)
    assert playout.tape.place(0) == (0, 0.0)
    assert playout.tape.place(25) == (0, 0.25)
    assert playout.tape.place(100) == (0, 1.0)
    assert playout.tape.place(125) == (1, 0.5)
    assert playout.tape.place(225) == (2, 0.5)
    assert Playout(RATE, lead_s=1, frame_s=1).tape.place(10) is None


def test_a_pause_takes_back_what_was_not_heard() -> None:
    playout = opened(300, 300)
    playout.due(0.0)
    assert playout.pause(0.25) == 250
    assert playout.sent == 250
    assert playout.due(9.0) == []
    assert playout.wait_s(9.0) is None
    assert playout.heard(9.0) == 250
    playout.resume(10.0)
    assert sent(playout, 10.0) == [(0, 250, 50), (1, 300, 100), (1, 400, 100), (1, 500, 100)]
    assert playout.heard(10.1) == 350


def test_going_back_to_a_word_within_the_sentence_before() -> None:
    playout = opened(300, 300)
    playout.due(0.0)
    playout.due(0.2)
    assert playout.pause(0.35) == 350
    playout.back(0, 0.5, 0.35)
    playout.resume(1.0)
    assert sent(playout, 1.0)[:3] == [(0, 150, 100), (0, 250, 50), (1, 300, 100)]


def test_sentences_that_are_dropped() -> None:
    playout = opened(200, 200, 200)
    playout.due(0.0)
    assert playout.sent == 400
    assert playout.drop_from(2, 0.1) is False
    assert playout.drop_from(1, 0.1) is True
    assert (playout.sent, playout.heard(0.1)) == (200, 100)
    clip = playout.tape.open(3)
    clip.pcm += bytes(2 * 100)
    clip.whole = True
    assert [piece.at for piece in playout.due(0.1)] == [200]


def test_what_was_played_is_let_go_even_of_a_client_that_says_nothing_was() -> None:
    playout = Playout(RATE, lead_s=LEAD_S, frame_s=0.1)
    now = 0.0
    for index in range(200):
        clip = playout.tape.open(index)
        clip.pcm += bytes(2 * 200)
        clip.whole = True
        playout.report(0, now)
        playout.due(now)
        now += 0.2
        assert playout.tape.held <= 2 * RATE * (KEPT_S + 1)


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=8),
    st.lists(st.tuples(st.floats(0, 0.5), st.sampled_from(["due", "due", "due", "pause", "report"])), max_size=40),
)
def test_nothing_is_lost_doubled_or_too_early(clips: list[int], moves: list[tuple[float, str]]) -> None:
    """Whatever happens: audio comes in order, never further ahead than a lead and a frame, and all of it in the end."""
    playout = opened(*clips)
    now, expected = 0.0, 0
    for wait, move in [*moves, *[(0.1, "due")] * (sum(clips) // 50 + 5)]:
        now += wait
        if move == "pause":
            heard = playout.pause(now)
            assert heard <= expected
            expected = heard
            playout.resume(now)
        elif move == "report":
            playout.report(round(playout.sent * 0.9), now)
        for piece in playout.due(now):
            assert piece.at == expected
            assert piece.pcm[:2] == piece.at.to_bytes(2, "little")
            expected += len(piece.pcm) // 2
        assert playout.sent == expected
        assert 0 <= playout.heard(now) <= playout.sent
    assert expected == sum(clips)
    assert playout.over(now + 10)
