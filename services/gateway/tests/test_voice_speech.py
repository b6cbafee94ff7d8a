"""One answer as it is spoken, without sockets or workers: the test is the clock and the synthesizer."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley_gateway.voice.mouth_settings import MouthSettings
from parley_gateway.voice.source import CHUNK
from parley_gateway.voice.speech import Ask, Speech, Step
from parley_protocol.audio import Spoken
from parley_protocol.events import Fault

pytestmark = pytest.mark.unit

RATE = 8000
CHAR = RATE // 20
"""Samples of one character: 50 ms."""


class World:
    """A speech, an answer that grows, a worker and a listener."""

    def __init__(self, text: str = "", *, ended: bool = False, first: int = 0, **settings: Any) -> None:
        self.speech = Speech(MouthSettings(**settings), RATE, first=first)
        self.text, self.ended = text, ended
        self.now = 100.0
        self.asks: list[Ask] = []
        self.sent: list[tuple[int, int, int]] = []
        self.wait_s: float | None = None
        self.over = False

    def step(self, forward_s: float = 0.0) -> Step:
        self.now += forward_s
        while True:
            step = self.speech.step(self.now)
            self.asks += step.asks
            self.sent += [(piece.sentence, piece.at, len(piece.pcm) // 2) for piece in step.pieces]
            self.wait_s, self.over = step.wait_s, step.over
            if not self.speech.hungry:
                return step
            more = self.text[self.speech.script.at : self.speech.script.at + CHUNK]
            if more:
                self.speech.script.feed(more)
            elif self.ended:
                self.speech.script.end()
            else:
                return step

    def say(self, ask: Ask, *, parts: int = 2, fault: Fault | None = None, drop: int = 0) -> None:
        """The worker's answer; the last ``drop`` parts get lost."""
        pcm = bytes(2 * CHAR * len(ask.text))
        size = -(-len(pcm) // parts) // 2 * 2
        for part in range(parts - drop):
            last = part == parts - 1
            data = pcm[part * size :] if last else pcm[part * size : (part + 1) * size]
            self.speech.on_spoken(
                Spoken("s", ask.index, ask.attempt, part, data, RATE, last, fault if last else None), self.now
            )

    def run(self, seconds: float) -> None:
        """Time passes, and every sentence asked for is said at once."""
        end = self.now + seconds
        said = 0
        while self.now < end and not self.over:
            self.step()
            for ask in self.asks[said:]:
                self.say(ask)
            said = len(self.asks)
            self.step(0.05)


def test_a_sentence_is_asked_for_when_it_is_over_and_sent_as_it_comes() -> None:
    world = World("One here. Tw")
    world.step()
    assert world.asks == [Ask(0, 0, "One here.")]
    assert world.sent == []
    world.say(world.asks[0])
    world.step()
    assert sum(count for _, _, count in world.sent) == 0.4 * RATE
    world.text += "o there. A"
    world.step()
    assert world.asks[1:] == [Ask(1, 0, "Two there.")]


def test_it_looks_only_so_far_ahead() -> None:
    world = World("One here. Two here. Three here. Four here. Five here. ", ahead=2)
    world.step()
    assert [ask.index for ask in world.asks] == [0, 1, 2]
    for ask in world.asks[:3]:
        world.say(ask)
    world.step()
    assert len(world.asks) == 3
    world.step(0.2)  # the first sentence, 450 ms, has been sent
    assert [ask.index for ask in world.asks] == [0, 1, 2, 3]


def test_a_long_answer_is_read_as_it_is_needed() -> None:
    world = World("This is one of very many sentences. " * 5000, ended=True)
    world.step()
    assert world.speech.script.at <= 2 * CHUNK
    world.run(60)
    assert world.speech.script.at < 60 * 20 + 3 * CHUNK
    assert world.speech.playout.tape.held < 2 * RATE * 40


def test_the_end_has_been_heard() -> None:
    world = World("One. Two.", ended=True)
    world.run(0.29)
    assert not world.over
    assert world.speech.heard_at(world.now) in range(6, 8)
    world.run(0.5)
    assert world.over
    assert world.speech.playout.sent == 8 * CHAR
    assert world.speech.heard_at(world.now) == 9


@pytest.mark.parametrize(("ms", "heard"), [(0, 0), (120, 2), (440, 8), (460, 14), (700, 19), (5000, 22)])
def test_what_was_heard_at_a_moment(ms: int, heard: int) -> None:
    """A citation is heard with the sentence before it, which it belongs to."""
    world = World("One here. [1] Two here", ended=True, lead_s=3.0)
    world.step()
    for ask in world.asks:
        world.say(ask)
    world.step()
    assert [ask.text for ask in world.asks] == ["One here.", "Two here"]
    assert world.speech.heard_at(world.now + ms / 1000) == heard


def test_a_lost_job_is_asked_for_again_and_goes_on_where_it_was() -> None:
    world = World("One here. Two here. A", ask_s=2.0, lead_s=5.0)
    world.step()
    world.say(world.asks[0], drop=1)
    world.say(world.asks[1])
    world.step()
    before = sum(count for _, _, count in world.sent)
    assert world.wait_s is not None
    assert world.wait_s <= 2.0
    world.step(2.0)
    assert world.asks[2:] == [Ask(0, 1, "One here.")]
    world.say(world.asks[0])  # the first attempt comes after all: of no use any more
    world.step()
    assert sum(count for _, _, count in world.sent) == before
    world.say(world.asks[2])
    world.step()
    assert sum(count for _, _, count in world.sent) == 9 * CHAR + 9 * CHAR
    assert [at for _, at, _ in world.sent] == sorted(at for _, at, _ in world.sent)


def test_nobody_speaks_at_all() -> None:
    world = World("One here. Two here. ", ask_s=1.0, attempts=3, ended=True)
    world.step()
    for _ in range(3):
        world.step(1.0)
    assert [ask.attempt for ask in world.asks if ask.index == 0] == [0, 1, 2]
    assert world.over
    assert world.speech.fault is not None
    assert world.speech.fault.retryable


def test_a_sentence_that_cannot_be_said_is_left_out() -> None:
    world = World("One here. Two here. ", ended=True, lead_s=5.0)
    world.step()
    world.speech.on_spoken(Spoken("s", 0, 0, 0, b"", RATE, True, Fault("invalid", "nothing to say", False)), world.now)
    world.say(world.asks[1])
    world.step()
    assert {sentence for sentence, _, _ in world.sent} == {1}
    world.step(5)
    assert world.over
    assert world.speech.fault is None


def test_an_answer_of_which_no_sentence_could_be_said_says_why() -> None:
    world = World("One here. Two here. ", ended=True)
    world.step()
    refused = Fault("engine_failed", "the key was refused", False)
    for ask in world.asks:
        world.speech.on_spoken(Spoken("s", ask.index, 0, 0, b"", RATE, True, refused), world.now)
    world.step()
    assert (world.over, world.speech.fault) == (True, refused)


def test_a_failure_that_may_pass_is_tried_again_at_once() -> None:
    world = World("One here. ", ended=True)
    world.step()
    world.say(world.asks[0], parts=1, fault=Fault("engine_failed", "cut off", True))
    world.step()
    assert world.asks[1:] == [Ask(0, 1, "One here.")]


def test_audio_of_the_wrong_rate_number_or_size_is_dropped() -> None:
    world = World("One here. ", ended=True, longest_s=1.0)
    world.step()
    speech = world.speech
    assert not speech.on_spoken(Spoken("s", 0, 0, 0, bytes(10), 16_000), world.now)
    assert not speech.on_spoken(Spoken("s", 0, 0, 1, bytes(10), RATE), world.now)
    assert not speech.on_spoken(Spoken("s", 7, 0, 0, bytes(10), RATE), world.now)
    assert speech.orders.dropped == 30
    assert speech.on_spoken(Spoken("s", 0, 0, 0, bytes(2 * RATE * 3), RATE), world.now)
    assert speech.playout.tape.held == 2 * RATE


def test_after_a_pause_it_goes_on_with_the_word_that_was_not_heard() -> None:
    world = World("Alpha beta gamma delta. ", ended=True)
    world.step()
    world.say(world.asks[0])
    world.step()
    world.now += 0.35
    assert world.speech.pause(world.now) == round(0.35 * RATE)  # within "beta"
    world.step(3.0)
    before = len(world.sent)
    world.speech.resume(world.now)
    world.step()
    assert world.sent[before][1] == 6 * CHAR
    world.run(10)
    assert world.over
    assert world.speech.heard_at(world.now) == 24


def test_a_restart_that_says_the_same_goes_on() -> None:
    world = World("One here. Two here. Thr", lead_s=2.0)
    world.step()
    for ask in world.asks:
        world.say(ask)
    world.step()
    asked = len(world.asks)
    world.text = "One here. Two here. Three is new. A"
    assert world.speech.restart(world.text, world.now) is None
    world.step()
    assert [ask.text for ask in world.asks[asked:]] == ["Three is new."]


def test_a_restart_that_differs_takes_back_what_was_not_heard() -> None:
    world = World("One here. Two here. Three here. A", lead_s=2.0)
    world.step()
    for ask in world.asks:
        world.say(ask)
    world.step()
    world.now += 0.1
    world.text = "One here. Other things. A"
    assert world.speech.restart(world.text, world.now) == 9 * CHAR
    asked, sent = len(world.asks), len(world.sent)
    world.step()
    assert [ask.text for ask in world.asks[asked:]] == ["Other things."]
    world.say(world.asks[0])
    world.say(world.asks[-1])
    world.step()
    assert world.sent[sent][1] == 9 * CHAR
    world.step(0.6)
    assert world.speech.heard_at(world.now) in range(14, 17)


def test_a_restart_from_the_first_word_on() -> None:
    world = World("One here. Two here. A")
    world.step()
    world.say(world.asks[0])
    world.step()
    world.text = "Quite another answer. A"
    assert world.speech.restart("", world.now) == 0
    world.step()
    assert world.asks[-1].text == "Quite another answer."


def test_long_silent_stretches_do_not_stop_it() -> None:
    world = World("Before. \n```\n" + "x = 1\n" * 2000 + "```\nAfter.", ended=True)
    world.step()
    assert [ask.text for ask in world.asks] == ["Before.", "After."]


@given(
    st.lists(st.sampled_from(["One here. ", "你好。", "- item\n", "word ", "[1] ", "Stop! "]), max_size=12), st.data()
)
def test_all_is_said_once_whatever_gets_lost(pieces: list[str], data: st.DataObject) -> None:
    world = World("".join(pieces), ended=True, attempts=20, ask_s=0.3)
    done: set[tuple[int, int]] = set()
    for _ in range(400):
        world.step(0.1)
        for ask in world.asks:
            if (ask.index, ask.attempt) not in done:
                done.add((ask.index, ask.attempt))
                lost = data.draw(st.integers(0, 2)) if ask.attempt < 3 else 0
                world.say(ask, drop=lost)
        if world.over:
            break
    assert world.over
    expected = 0
    for _, at, count in world.sent:
        assert at == expected
        expected += count
    said = {ask.index: ask.text for ask in world.asks}
    assert expected == sum(len(text) * CHAR for text in said.values())


def test_a_listener_without_room_is_sent_nothing_and_asked_for_no_more_than_ever() -> None:
    world = World("One here. Two here. Three here. Four here. Five here. A", lead_s=9.0)
    for _ in range(50):
        step = world.speech.step(world.now, room=False)
        world.asks += step.asks
        for ask in step.asks:
            world.say(ask)
        if world.speech.hungry and world.speech.script.at < len(world.text):
            world.speech.script.feed(world.text[world.speech.script.at :])
        assert step.pieces == []
        assert step.wait_s is None or step.wait_s >= 0.05
        world.now += 0.05
    assert len(world.asks) == 3
    world.step()
    assert world.sent[0][1] == 0


def test_a_listener_who_has_heard_the_beginning_hears_the_rest() -> None:
    world = World("One here. Two here. Three here. ", ended=True, first=1)
    world.step()
    assert world.speech.heard_at(world.now) == 9
    world.run(10)
    assert [ask.text for ask in world.asks] == ["Two here.", "Three here."]
    assert world.sent[0][:2] == (1, 0)
    assert {sentence for sentence, _, _ in world.sent} == {1, 2}
    assert world.speech.heard_at(world.now) == len(world.text)


def test_the_rest_may_be_far_into_a_long_answer() -> None:
    world = World("This is said. " * 60, ended=True, first=55)
    world.run(20)
    assert [ask.index for ask in world.asks] == [55, 56, 57, 58, 59]
    assert world.over


def test_nothing_is_left_to_say_behind_the_end() -> None:
    world = World("One here. Two here. ", ended=True, first=9)
    world.run(5)
    assert world.over
    assert world.asks == []


def test_what_an_answer_says_anew_is_said_however_far_its_listener_was() -> None:
    world = World("One here. Two here. Three here. A", first=2)
    world.step()
    world.text = "One here. Quite other things. And more. A"
    world.speech.restart(world.text, world.now)
    world.run(2)
    assert [ask.text for ask in world.asks] == ["Three here.", "Quite other things.", "And more."]
