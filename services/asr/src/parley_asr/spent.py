"""Where the time of a stream's work goes."""

import time
from dataclasses import dataclass

from parley_asr.engine import Hypothesis, Outcome, Recognition, Samples
from parley_asr.vad import Vad


@dataclass(slots=True)
class Spent:
    """Seconds, of the work since they were last taken."""

    vad_s: float = 0.0
    engine_s: float = 0.0


class TimedVad:
    """A detector whose time is counted."""

    def __init__(self, vad: Vad, spent: Spent) -> None:
        self._vad = vad
        self._spent = spent

    def score(self, frame: Samples) -> float:
        """See ``vad.Vad``."""
        began = time.perf_counter()
        probability = self._vad.score(frame)
        self._spent.vad_s += time.perf_counter() - began
        return probability


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
