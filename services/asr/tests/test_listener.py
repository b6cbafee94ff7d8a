"""The pure core: what is heard, and that it is a function of the audio since the last boundary."""

import random
from collections.abc import Callable

import numpy as np
import pytest
from hearing import SCRIPT, hear, heard, pcm
from hypothesis import given, settings
from hypothesis import strategies as st

from parley_asr.engines.scripted import WORDS, ScriptedRecognition, speak
from parley_asr.listener import Listener, Parts
from parley_asr.silero import SileroModel
from parley_protocol.audio import Endpointing, Heard, Hearing, Mark, Partial, SpeechStarted, SpeechStopped

pytestmark = pytest.mark.unit

BY_SILENCE = Hearing(by_silence=True)
TALK = Hearing()


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * 16_000), np.float32)


def test_push_to_talk_hears_what_was_said_before_the_commit() -> None:
    listener = Listener(TALK, 0, 0, SCRIPT)
    events = hear(listener, pcm(np.concatenate((silence(0.3), speak(["one", "two", "three"])))), mark=Mark.COMMIT)
    (last,) = heard(events)
    assert (last.utterance, last.text, last.keep) == (0, "one two three", listener.taken)
    assert [word.text for word in last.words] == ["one", "two", "three"]
    assert 260 <= last.words[0].start_ms <= 340
    assert isinstance(events[0], SpeechStarted)
    partials = [event.text for event in events if isinstance(event, Partial)]
    assert partials == ["one", "one two", "one two three"]
    times = [event.ms for event in events if isinstance(event, Partial)]
    assert times == sorted(times)
    assert last.words[0].end_ms <= times[0]
    assert times[-1] <= 300 + 3 * 240 + 32


def test_a_commit_of_silence_is_answered_by_an_empty_last_word() -> None:
    listener = Listener(TALK, 0, 7, SCRIPT)
    (last,) = hear(listener, pcm(silence(1.0)), mark=Mark.COMMIT)
    assert last == Heard(7, "", 32_000, start_ms=0, end_ms=1000, marked=True)


def test_silence_ends_an_utterance_and_a_pause_is_told_before() -> None:
    audio = np.concatenate((silence(0.5), speak(["four", "five"], silence_s=1.0), speak(["six"], silence_s=1.0)))
    events = hear(Listener(BY_SILENCE, 0, 0, SCRIPT), pcm(audio))
    first, second = heard(events)
    assert (first.text, second.text) == ("four five", "six")
    assert first.keep < second.keep
    order = [type(event).__name__ for event in events if not (isinstance(event, Partial) and not event.paused)]
    assert order == ["SpeechStarted", "Partial", "SpeechStopped", "Heard"] * 2
    paused = [event for event in events if isinstance(event, Partial) and event.paused]
    assert [event.text for event in paused] == ["four five", "six"]
    assert all(event.stable == len(event.text) for event in paused)


def test_speech_that_resumes_takes_the_pause_back() -> None:
    audio = np.concatenate((speak(["one"], silence_s=0.4), speak(["two"], silence_s=1.0)))
    events = hear(Listener(BY_SILENCE, 0, 0, SCRIPT), pcm(audio))
    (last,) = heard(events)
    assert last.text == "one two"
    paused = [(event.text, event.paused) for event in events if isinstance(event, Partial)]
    assert ("one", True) in paused
    assert paused[paused.index(("one", True)) + 1] == ("one", False)
    assert [word.text for word in last.words] == ["one", "two"]
    assert last.words[1].start_ms - last.words[0].end_ms == pytest.approx(480, abs=40)


def test_an_utterance_that_is_too_long_is_cut_and_goes_on() -> None:
    words = [WORDS[index % 13] for index in range(40)]
    hearing = Hearing(endpointing=Endpointing(longest_ms=4000, pause_ms=2000, silence_ms=2000))
    events = hear(Listener(hearing, 0, 0, SCRIPT), pcm(speak(words)), mark=Mark.COMMIT)
    found = heard(events)
    assert len(found) >= 3
    assert [last.cut for last in found] == [True] * (len(found) - 1) + [False]
    assert " ".join(last.text for last in found) == " ".join(words)
    assert [last.utterance for last in found] == list(range(len(found)))


def test_clear_forgets_and_is_a_boundary() -> None:
    listener = Listener(TALK, 0, 0, SCRIPT)
    hear(listener, pcm(speak(["one", "two"])), mark=Mark.CLEAR)
    assert listener.keep == listener.taken
    (last,) = heard(hear(listener, pcm(speak(["three"])), mark=Mark.COMMIT))
    assert (last.utterance, last.text) == (0, "three")


def test_long_silence_moves_the_boundary_and_keeps_memory_flat() -> None:
    listener = Listener(BY_SILENCE, 0, 0, SCRIPT)
    keeps, held = set(), 0
    for _ in range(60):
        assert hear(listener, pcm(silence(1.0))) == []
        keeps.add(listener.keep)
        held = max(held, listener.cutter.kept)
    assert len(keeps) >= 12
    assert listener.taken - listener.keep < 6 * 32_000
    assert held < 3 * 32_000


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(lambda chance, second: np.zeros(16_000), id="zeros"),
        pytest.param(lambda chance, second: chance.standard_normal(16_000) * 0.001, id="noise"),
        pytest.param(
            lambda chance, second: 0.1 + 0.02 * np.sin(np.arange(16_000) * np.pi / 160), id="hum on an offset"
        ),
    ],
)
def test_silence_as_microphones_make_it_gives_no_word_and_holds_nothing(
    kind: Callable[[np.random.Generator, int], np.ndarray],
) -> None:
    def engine() -> ScriptedRecognition:
        raise AssertionError("an engine was asked for")

    chance = np.random.default_rng(1)
    listener = Listener(BY_SILENCE, 0, 0, Parts(SileroModel().stream, engine))
    held = []
    for second in range(30):
        assert listener.feed(pcm(kind(chance, second).astype(np.float32))) == []
        held.append(listener.taken - listener.keep)
    assert max(held[10:]) <= max(held[:10]) <= 6 * 32_000
    (last,) = listener.feed(b"", Mark.END)
    assert isinstance(last, Heard)
    assert (last.text, last.words) == ("", ())


def test_a_short_word_that_is_committed_is_heard() -> None:
    hearing = Hearing(endpointing=Endpointing(start_ms=400))
    (last,) = heard(hear(Listener(hearing, 0, 0, SCRIPT), pcm(speak(["nine"])), mark=Mark.COMMIT))
    assert last.text == "nine"


def test_an_offset_and_clipping_are_no_speech_and_do_not_hide_it() -> None:
    offset = silence(2.0) + np.float32(0.3)
    assert hear(Listener(BY_SILENCE, 0, 0, SCRIPT), pcm(offset)) == []
    loud = np.clip(speak(["two", "five"], silence_s=1.0) * 8, -1, 1) * np.float32(0.6) + np.float32(0.35)
    (last,) = heard(hear(Listener(BY_SILENCE, 0, 0, SCRIPT), pcm(loud)))
    assert last.text == "two five"


# ---- the boundary rule


def spoken(chance: random.Random) -> bytes:
    parts = []
    for _ in range(chance.randint(1, 4)):
        words = chance.choices(WORDS, k=chance.randint(0, 4))
        parts.append(speak(words, silence_s=chance.uniform(0.0, 1.4)))
    return pcm(np.concatenate((*parts, silence(0.8))))


HEARINGS = [
    Hearing(by_silence=by_silence, endpointing=Endpointing(longest_ms=longest, silence_ms=silence_ms))
    for by_silence in (False, True)
    for longest in (2500, 30_000)
    for silence_ms in (300, 600)
]


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(HEARINGS), st.integers(0, 2**32))
def test_any_cut_and_any_number_of_workers_hear_the_same(hearing: Hearing, seed: int) -> None:
    chance = random.Random(seed)
    audio = spoken(chance)
    undisturbed = heard(Listener(hearing, 0, 0, SCRIPT).feed(audio, Mark.END))
    listener = Listener(hearing, 0, 0, SCRIPT)
    found: list[Heard] = []
    at = 0
    while at < len(audio):
        size = chance.choice((1, 641, 1920, chance.randint(1, 40_001)))
        found += heard(listener.feed(audio[at : at + size]))
        at = min(len(audio), at + size)
        if chance.random() < 0.1:  # the worker is killed: another one begins at the last boundary
            number = found[-1].utterance + 1 if found else 0
            listener = Listener(hearing, listener.keep, number, SCRIPT)
            at = listener.taken
    found += heard(listener.feed(b"", Mark.END))
    assert found == undisturbed


@pytest.mark.parametrize("mark", [Mark.COMMIT, Mark.CLEAR])
def test_marks_in_the_middle_of_anything(mark: Mark) -> None:
    audio = pcm(speak(["one", "two", "three", "four"], silence_s=0.5))
    for cut in range(1, len(audio), 7919):
        listener = Listener(BY_SILENCE, 0, 0, SCRIPT)
        events = listener.feed(audio[:cut], mark)
        keep, number = listener.keep, len(heard(events))
        rest = heard(listener.feed(audio[cut:], Mark.END))
        other = Listener(BY_SILENCE, keep, number, SCRIPT)
        assert heard(other.feed(audio[keep:], Mark.END)) == rest
        assert cut - keep in (0, 1)


def test_speech_stops_are_told_in_push_to_talk_too() -> None:
    audio = np.concatenate((speak(["one"], silence_s=1.0), speak(["two"], silence_s=1.0)))
    events = hear(Listener(TALK, 0, 0, SCRIPT), pcm(audio), mark=Mark.COMMIT)
    assert [type(one).__name__ for one in events if isinstance(one, SpeechStarted | SpeechStopped)] == [
        "SpeechStarted",
        "SpeechStopped",
        "SpeechStarted",
        "SpeechStopped",
    ]
    assert [last.text for last in heard(events)] == ["one two"]
