"""Where the time of a stream's work goes."""

import time

from parley_asr.engine import Hypothesis, Outcome, Recognition, Samples
from parley_runtime.telemetry import names
from parley_runtime.telemetry.metrics import counter

_audio = counter(names.AUDIO_SECONDS).inc
_work_all = counter(names.LISTEN_WORK_SECONDS).labels("all").inc
_work_vad = counter(names.LISTEN_WORK_SECONDS).labels("vad").inc
_work_engine = counter(names.LISTEN_WORK_SECONDS).labels("engine").inc


class Spent:
    """Counts one stream's seconds, of audio and of work."""

    def __init__(self) -> None:
        self.engine_s = 0.0
        """Of the engine's work that has not been counted yet."""
        self._audio_s = self._work_s = 0.0

    @property
    def factor(self) -> float:
        """Seconds of work per second of audio so far."""
        return round(self._work_s / self._audio_s, 4) if self._audio_s else 0.0

    def cut(self, audio_s: float, work_s: float, vad_s: float) -> None:
        """So much audio has been cut; the detector's share of the work is ``vad_s``."""
        self._audio_s += audio_s
        self._work_s += work_s
        _audio(audio_s)
        _work_all(work_s)
        _work_vad(vad_s)

    def wrote(self, work_s: float) -> None:
        """Words have been written down."""
        self._work_s += work_s
        _work_all(work_s)
        _work_engine(self.engine_s)
        self.engine_s = 0.0


class TimedRecognition:
    """A recognition whose time is counted."""

    def __init__(self, recognition: Recognition, spent: Spent) -> None:
        self._recognition = recognition
        self._spent = spent

    def feed(self, samples: Samples) -> None:
        """See ``engine.Recognition``."""
        began = time.perf_counter()
        self._recognition.feed(samples)
        self._spent.engine_s += time.perf_counter() - began

    def partial(self) -> Hypothesis:
        """See ``engine.Recognition``."""
        return self._recognition.partial()

    def finish(self) -> Outcome:
        """See ``engine.Recognition``."""
        began = time.perf_counter()
        outcome = self._recognition.finish()
        self._spent.engine_s += time.perf_counter() - began
        return outcome

    def close(self) -> None:
        """See ``engine.Recognition``."""
        self._recognition.close()
