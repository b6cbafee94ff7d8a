"""The recogniser that comes with a model: what it hears, and what it does not take for words."""

from collections.abc import Iterator

import numpy as np
import pytest
from voices import synthesised

from parley_asr.engine import RATE, Hint, Samples
from parley_asr.engines.moonshine import MoonshineSettings, MoonshineTranscriber

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def engine() -> Iterator[MoonshineTranscriber]:
    made = MoonshineTranscriber(MoonshineSettings(partial_ms=500))
    yield made
    made.close()
    made.close()


def heard(engine: MoonshineTranscriber, audio: Samples) -> str:
    recognition = engine.open(Hint())
    recognition.feed(audio)
    text = recognition.finish().text
    recognition.close()
    return text


@pytest.mark.parametrize(
    "question", ["What happens when a worker dies?", "What is a gateway?", "How many turns of a session may wait?"]
)
def test_questions_are_heard_word_for_word(engine: MoonshineTranscriber, question: str) -> None:
    assert heard(engine, synthesised(question)) == question


@pytest.mark.parametrize("samples", [0, 1, 160, RATE // 4, 3 * RATE])
def test_silence_and_hum_are_no_words(engine: MoonshineTranscriber, samples: int) -> None:
    assert heard(engine, np.zeros(samples, np.float32)) == ""
    hum = np.random.default_rng(7).normal(0, 0.003, samples).astype(np.float32)
    assert heard(engine, hum) == ""


def test_the_shortest_of_sounds_is_heard(engine: MoonshineTranscriber) -> None:
    assert isinstance(heard(engine, np.full(5, 0.5, np.float32)), str)


def test_words_are_told_while_one_speaks(engine: MoonshineTranscriber) -> None:
    audio = synthesised("How many turns of a session may wait?")
    recognition = engine.open(Hint())
    told = []
    for start in range(0, audio.size, 800):
        recognition.feed(audio[start : start + 800])
        told.append(recognition.partial())
    assert any(partial.text.startswith("How many") for partial in told[: len(told) * 3 // 4])
    assert told[-1].stable > 0
    assert recognition.finish().text == "How many turns of a session may wait?"
    recognition.close()


def test_only_english(engine: MoonshineTranscriber) -> None:
    assert engine.abilities.hears("en-GB")
    assert not engine.abilities.hears("zh")
