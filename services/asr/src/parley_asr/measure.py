"""How much an engine can keep up with: decodes a few seconds of something like speech, and counts."""

import numpy as np

from parley_asr.engine import RATE, Hint, Samples, Transcriber

SECONDS = 2.0


def babble(seconds: float = SECONDS) -> Samples:
    """Voiced sounds that change as syllables do. The same each time."""
    time_s = np.arange(int(seconds * RATE), dtype=np.float64) / RATE
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    formant = 500 + 300 * np.sin(2 * np.pi * 1.9 * time_s)
    second = 1500 + 600 * np.sin(2 * np.pi * 1.3 * time_s + 1)
    voice = np.zeros_like(time_s)
    for harmonic in range(1, 30):
        hz = harmonic * pitch
        gain = np.exp(-(((hz - formant) / 120) ** 2)) + 0.5 * np.exp(-(((hz - second) / 200) ** 2)) + 0.02
        voice += gain * np.sin(harmonic * phase)
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4.0 * time_s)
    noise = np.random.default_rng(1).standard_normal(time_s.size) * 0.01
    loud = voice * syllables
    audio: Samples = (0.3 * loud / np.abs(loud).max() + noise).astype(np.float32)
    return audio


def factor(engine: Transcriber) -> float:
    """CPU seconds of work per second of speech: what others do on the machine meanwhile does not count. Blocks."""
    audio = babble()
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


def seats(factor_: float, cores: int, headroom: float, most: int) -> int:
    """Streams that ``cores`` keep up with, at least one."""
    return max(1, min(most, int(cores * headroom / max(factor_, 1e-6))))
