"""How seats are measured."""

import pytest

from parley_asr import measure, sample
from parley_asr.engine import RATE
from parley_asr.engines.scripted import ScriptedSettings, ScriptedTranscriber

pytestmark = pytest.mark.unit


class Counting(ScriptedTranscriber):
    """Has used a tenth of a second of CPU for each second that it was given."""

    def __init__(self) -> None:
        super().__init__(ScriptedSettings())
        self.samples = 0

    def open(self, hint):
        recognition = super().open(hint)
        feed = recognition.feed

        def counted(samples) -> None:
            self.samples += samples.size
            feed(samples)

        recognition.feed = counted
        return recognition

    def spent_s(self) -> float:
        return self.samples / RATE / 10


def test_the_factor_is_of_cpu_time() -> None:
    assert measure.factor(Counting()) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("factor", "cores", "headroom", "most", "seats"),
    [(0.1, 1, 0.7, 64, 7), (0.1, 2, 0.7, 64, 14), (2.0, 1, 0.7, 64, 1), (0.0001, 8, 0.7, 64, 64), (0.0, 1, 0.7, 9, 9)],
)
def test_seats(factor: float, cores: int, headroom: float, most: int, seats: int) -> None:
    assert measure.seats(factor, cores, headroom, most) == seats


def test_a_sentence_and_what_stands_for_it() -> None:
    spoken = sample.sentence()
    assert 2.0 < spoken.size / RATE < 8.0
    assert 0.1 < abs(spoken).max() <= 1.0
    assert 0.1 < abs(sample.babble(1.0)).max() <= 1.0
