"""An engine for tests and benchmarks: the words are in the samples. Never chosen by ``auto``.

A word is a tone of a pitch of its own; :func:`speak` says some, and the engine reads them back, whatever rate and
encoding they went through on their way.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parley_asr.engine import RATE, Abilities, Hint, Hypothesis, Outcome, Said, Samples
from parley_asr.engines.inprocess import InProcess
from parley_runtime.config import setting

NAME = "scripted"

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
"""What can be said."""
WORD_S = 0.16
GAP_S = 0.08

_WINDOW = RATE // 50
_LOWEST_HZ, _STEP_HZ = 500, 200
_LOUD = 0.02
_LONG = 4
"""Windows that a word lasts for at least."""


def speak(words: Sequence[str], *, rate: int = RATE, silence_s: float = 0.0) -> Samples:
    """Audio in which ``words`` are said, and ``silence_s`` of silence after them."""
    parts: list[Samples] = []
    time_s = np.arange(int(WORD_S * rate)) / rate
    for word in words:
        tone = 0.4 * np.sin(2 * np.pi * (_LOWEST_HZ + _STEP_HZ * WORDS.index(word)) * time_s)
        parts += [tone.astype(np.float32), np.zeros(int(GAP_S * rate), np.float32)]
    parts.append(np.zeros(int(silence_s * rate), np.float32))
    return np.concatenate(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedSettings:
    """How hard it pretends to work."""

    factor: float = setting(
        "PARLEY_ASR_SCRIPT_FACTOR",
        0.0,
        "Seconds of work per second of audio that the scripted recogniser makes up",
        zero="none",
        minimum=0,
        maximum=10,
    )


class ScriptedRecognition:
    """Reads tones, window by window from the segment's beginning."""

    def __init__(self, factor: float = 0.0) -> None:
        self._factor = factor
        self._left: Samples = np.zeros(0, np.float32)
        self._windows = 0
        self._run = 0
        self._tone = -1
        self._words: list[Said] = []

    def feed(self, samples: Samples) -> None:
        """See ``engine.Recognition``."""
        if self._factor:
            _work(self._factor * samples.size / RATE)
        left = np.concatenate((self._left, samples))
        whole = left.size // _WINDOW
        for index in range(whole):
            self._window(left[index * _WINDOW : (index + 1) * _WINDOW])
        self._left = left[whole * _WINDOW :]

    def partial(self) -> Hypothesis:
        """See ``engine.Recognition``."""
        text = " ".join(said.text for said in self._words)
        return Hypothesis(text, len(text))

    def finish(self) -> Outcome:
        """See ``engine.Recognition``."""
        self._over()
        return Outcome(self.partial().text, tuple(self._words))

    def close(self) -> None:
        """See ``engine.Recognition``."""

    def _window(self, samples: Samples) -> None:
        tone = -1
        if float(np.sqrt(np.mean(np.square(samples)))) > _LOUD:
            peak = int(np.abs(np.fft.rfft(samples)).argmax()) * RATE // _WINDOW
            tone = round((peak - _LOWEST_HZ) / _STEP_HZ)
        if tone != self._tone:
            self._over()
            self._tone, self._run = tone, 0
        self._run += 1
        self._windows += 1

    def _over(self) -> None:
        if 0 <= self._tone < len(WORDS) and self._run >= _LONG:
            end = self._windows * _WINDOW / RATE
            self._words.append(Said(WORDS[self._tone], end - self._run * _WINDOW / RATE, end, 1.0))
        self._tone, self._run = -1, 0


def _work(seconds: float) -> None:
    time.sleep(seconds)  # on a thread of the pool, as an engine's own work is


class ScriptedTranscriber(InProcess):
    """See ``engine.Transcriber``."""

    name = NAME
    model = "tones"
    abilities = Abilities()

    def __init__(self, settings: ScriptedSettings) -> None:
        self._settings = settings

    def open(self, _: Hint) -> ScriptedRecognition:
        """See ``engine.Transcriber``."""
        return ScriptedRecognition(self._settings.factor)

    def close(self) -> None:
        """See ``engine.Transcriber``."""
