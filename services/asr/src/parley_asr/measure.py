"""How much an engine can keep up with: hears a sentence, and counts."""

from parley_asr.engine import RATE, Hint, Samples, Transcriber
from parley_asr.sample import sentence


def factor(engine: Transcriber) -> float:
    """CPU seconds of work per second of speech: what others do on the machine meanwhile does not count. Blocks."""
    audio = sentence()
    _decode(engine, audio[: RATE // 2])  # whatever the first run loads is not counted
    before = engine.spent_s()
    _decode(engine, audio)
    return (engine.spent_s() - before) * RATE / audio.size


def _decode(engine: Transcriber, audio: Samples) -> None:
    recognition = engine.open(Hint())
    try:
        for start in range(0, audio.size, RATE // 10):
            recognition.feed(audio[start : start + RATE // 10])
        recognition.finish()
    finally:
        recognition.close()


def seats(factor_: float, cores: float, headroom: float, most: int) -> int:
    """Streams that ``cores`` keep up with, at least one."""
    return max(1, min(most, int(cores * headroom / max(factor_, 1e-6) + 1e-6)))
