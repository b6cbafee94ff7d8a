"""Voice activity: a probability of speech for each frame of 512 samples."""

from typing import Protocol

import numpy as np

from parley_asr.engine import Samples


class Vad(Protocol):
    """Of one stream, since its boundary. Called off the loop, by one thread at a time."""

    def score(self, frame: Samples) -> float:
        """Probability that somebody speaks, 0 to 1. Depends on the frames so far alone."""
        ...


class VadModel(Protocol):
    """Of the process."""

    @property
    def name(self) -> str: ...

    def stream(self) -> Vad:
        """A detector that has heard nothing yet."""
        ...


class EnergyVad:
    """Louder than the room has been: a fallback that needs no model."""

    ABOVE = 3.0
    QUIETEST = 0.004
    FALLS, RISES = 0.2, 0.005

    def __init__(self) -> None:
        self._floor = self.QUIETEST

    def score(self, frame: Samples) -> float:
        """See :class:`Vad`."""
        level = float(np.sqrt(np.mean(np.square(frame, dtype=np.float64))))
        rate = self.FALLS if level < self._floor else self.RISES
        ratio = level / max(self._floor, self.QUIETEST)
        self._floor += rate * (level - self._floor)
        return min(1.0, ratio / (2 * self.ABOVE))


class EnergyModel:
    """Makes :class:`EnergyVad`."""

    name = "energy"

    def stream(self) -> Vad:
        """See :class:`VadModel`."""
        return EnergyVad()
