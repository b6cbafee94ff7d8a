"""Windows: what is heard of a long segment, and how often."""

import numpy as np
import pytest

from parley_asr.batching import Batcher
from parley_asr.engine import RATE, Hint, Outcome
from parley_asr.windows import WINDOW_S, WindowRecognition

pytestmark = pytest.mark.unit


def places(seconds: float, piece: int) -> list[float]:
    """Seconds of the window that each hearing takes, where a segment comes in pieces of so many samples."""
    heard: list[float] = []

    def hear(windows):
        heard.extend(window.audio.size / RATE for window in windows)
        return [Outcome("words") for _ in windows]

    line = Batcher(hear, most=1, wait_s=0.0, name="test")
    recognition = WindowRecognition(line, Hint(), RATE)
    audio = np.zeros(round(seconds * RATE), np.float32)
    for at in range(0, audio.size, piece):
        recognition.feed(audio[at : at + piece])
    recognition.finish()
    recognition.close()
    line.close()
    return heard


def test_the_work_for_a_segment_without_a_pause_grows_with_its_length() -> None:
    heard = places(2 * WINDOW_S, RATE // 10)
    assert heard[:4] == [1, 2, 3, 4]
    assert heard[-1] == WINDOW_S
    assert sum(heard) < 5 * 2 * WINDOW_S  # it would be 16 times its length with one each second
    gaps = np.diff([0, *heard[: heard.index(WINDOW_S)]])
    assert max(gaps) <= WINDOW_S / 4  # captions go on


def test_the_places_do_not_depend_on_how_the_audio_comes() -> None:
    assert places(20, 777) == places(20, RATE) == places(20, 5 * RATE)
