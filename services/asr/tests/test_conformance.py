"""What every engine promises, on every engine. Whisper and sherpa-onnx run on models of random weights: what is tested
is that they load, batch, and hear the same audio as the same text.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from hearing import hear, heard, pcm
from voices import synthesised

from parley_asr.engine import RATE, Hint, Hypothesis, Outcome, Samples, Transcriber
from parley_asr.engines.moonshine import MoonshineSettings, MoonshineTranscriber
from parley_asr.engines.pocketsphinx import PocketsphinxSettings, PocketsphinxTranscriber
from parley_asr.engines.scripted import ScriptedSettings, ScriptedTranscriber, speak
from parley_asr.engines.sherpa import SherpaSettings, SherpaTranscriber
from parley_asr.engines.whisper import WhisperSettings, WhisperTranscriber
from parley_asr.listener import Listener, Parts
from parley_asr.vad import EnergyVad
from parley_protocol.audio import Hearing, Mark

pytestmark = pytest.mark.unit

STREAMS = 4


def noise(seed: int) -> Samples:
    """1.3 seconds of bursts, for models that find words in anything."""
    chance = np.random.default_rng(seed)
    loudness = np.repeat(chance.random(13), RATE // 10)
    return (chance.standard_normal(loudness.size) * loudness * 0.2).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """An engine, and audio for :data:`STREAMS` streams."""

    engine: Any
    audio: list[Samples]


Make = Callable[[Path], Case]


def _scripted(_: Path) -> Case:
    audio = [speak(["one", "two"]), speak(["three"]), speak(["four", "five", "six"]), speak(["seven"])]
    return Case(ScriptedTranscriber(ScriptedSettings()), audio)


def _pocketsphinx(folder: Path) -> Case:
    engine = PocketsphinxTranscriber(PocketsphinxSettings(decoders=2, vocabularies=str(folder)))
    engine.start()
    return Case(engine, [synthesised(text, around_s=0.1) for text in ("good morning", "yes", "no", "water")])


def _moonshine(_: Path) -> Case:
    engine = MoonshineTranscriber(MoonshineSettings(partial_ms=300))
    return Case(engine, [synthesised(text, around_s=0.1) for text in ("good morning", "yes", "no", "water")])


def _whisper(folder: Path) -> Case:
    model = str(tiny.whisper(folder / "whisper"))
    settings = WhisperSettings(model=model, partial_ms=500, wait_ms=50.0, device="cpu", threads=1)
    return Case(WhisperTranscriber(settings), [noise(seed) for seed in range(STREAMS)])


def _sherpa(folder: Path) -> Case:
    settings = SherpaSettings(model=str(tiny.sherpa(folder / "sherpa")), wait_ms=50.0, threads=1)
    return Case(SherpaTranscriber(settings), [noise(seed) for seed in range(STREAMS)])


CASES: dict[str, Make] = {
    "scripted": _scripted,
    "pocketsphinx": _pocketsphinx,
    "moonshine": _moonshine,
    "whisper": _whisper,
    "sherpa": _sherpa,
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    made = CASES[request.param](tmp_path_factory.mktemp(request.param))
    yield made
    made.engine.close()


@pytest.fixture(scope="module")
def offline(case: Case) -> list[Outcome]:
    """Each stream's audio in one piece, one stream after the other."""
    return [decoded(case.engine, audio, audio.size)[0] for audio in case.audio]


def decoded(engine: Transcriber, audio: Samples, step: int) -> tuple[Outcome, list[Hypothesis]]:
    recognition = engine.open(Hint())
    partials = []
    for start in range(0, audio.size, step):
        recognition.feed(audio[start : start + step])
        partials.append(recognition.partial())
    outcome = recognition.finish()
    recognition.close()
    return outcome, partials


def test_partials_only_extend_what_is_certain_and_the_last_word_holds_it(case: Case) -> None:
    outcome, partials = decoded(case.engine, case.audio[0], 960)
    certain = ""
    for partial in partials:
        assert 0 <= partial.stable <= len(partial.text)
        assert partial.text.startswith(certain)
        assert partial.stable >= len(certain)
        certain = partial.text[: partial.stable]
    assert outcome.text.startswith(certain)
    assert outcome.text


@pytest.mark.parametrize("step", [960, 777])
def test_odd_pieces_are_heard_as_the_whole(case: Case, offline: list[Outcome], step: int) -> None:
    assert decoded(case.engine, case.audio[1], step)[0] == offline[1]


def test_streams_at_once_hear_what_each_hears_alone(case: Case, offline: list[Outcome]) -> None:
    found: dict[int, Outcome] = {}

    def one(index: int) -> None:
        found[index] = decoded(case.engine, case.audio[index], 1600)[0]

    threads = [threading.Thread(target=one, args=(index,)) for index in range(STREAMS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [found[index] for index in range(STREAMS)] == offline
    if case.engine.abilities.batch > 1:
        assert case.engine.batcher.largest > 1


def test_words_lie_in_order_within_the_audio(case: Case, offline: list[Outcome]) -> None:
    for outcome, audio in zip(offline, case.audio, strict=True):
        at = 0.0
        for word in outcome.words:
            assert word.text
            assert at <= word.start_s <= word.end_s <= audio.size / RATE + 1.0
            at = word.start_s
            assert 0 <= word.confidence <= 1


def test_an_end_in_mid_word(case: Case) -> None:
    audio = case.audio[0][: case.audio[0].size // 2 + 123]
    assert decoded(case.engine, audio, 960)[0] == decoded(case.engine, audio, audio.size)[0]


def test_who_comes_second_does_not_wait_for_the_first_to_end(case: Case, offline: list[Outcome]) -> None:
    first = case.engine.open(Hint())
    first.feed(case.audio[0][:8000])
    assert decoded(case.engine, case.audio[1], 1600)[0] == offline[1]
    first.feed(case.audio[0][8000:])
    assert first.finish() == offline[0]
    first.close()


def test_silence_gives_no_text(case: Case) -> None:
    listener = Listener(Hearing(), 0, 0, Parts(EnergyVad, lambda: case.engine.open(Hint())))
    (last,) = heard(hear(listener, pcm(np.zeros(RATE, np.float32)), mark=Mark.COMMIT))
    assert last.text == ""


def test_what_is_given_up_leaves_nothing_behind(case: Case, offline: list[Outcome]) -> None:
    for _ in range(3):
        recognition = case.engine.open(Hint())
        recognition.feed(case.audio[2][:3200])
        recognition.close()
        recognition.close()
    assert decoded(case.engine, case.audio[1], 1600)[0] == offline[1]
