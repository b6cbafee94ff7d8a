"""How much of a stream's audio there is."""

import pytest

from parley_gateway.voice.config import EarSettings
from parley_gateway.voice.meter import OPUS, Meter
from parley_protocol.audio import Hearing

pytestmark = pytest.mark.unit


def test_bytes_are_seconds_of_speech() -> None:
    meter = Meter(Hearing(rate=8000), EarSettings(), 5.0)
    assert meter.seconds(16_000, 5.0) == 1.0
    meter.add(160_000, 6.0)
    assert meter.seconds(8000, 60.0) == 0.5


def test_compressed_ones_are_as_many_as_their_pace_tells() -> None:
    meter = Meter(Hearing(encoding=OPUS, rate=48_000), EarSettings(), 0.0)
    for second in range(1, 11):
        meter.add(3000, float(second))
    assert meter.seconds(6000, 10.0) == 2.0
